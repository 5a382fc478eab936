"""A recipe in the words of transformers' and trl's trainers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from trainers.methods._loading import device
from trainers.recipes import Recipe

_OPTIMISERS = {
    "adamw": "adamw_torch_fused",
    "adamw_8bit": "paged_adamw_8bit",
    "sgd": "sgd",
    "adafactor": "adafactor",
}


def common_arguments(recipe: Recipe, folder: Path, *, evaluates: bool) -> dict[str, Any]:
    """Arguments that all trainers share. Where held-out loss is watched, checkpoints fall on evaluations, so that the
    best one can be kept."""
    o, e = recipe.optimiser, recipe.evaluation
    watches = evaluates and e.every_steps > 0
    save = recipe.checkpoint_every
    if watches:
        save = max(1, round(save / e.every_steps)) * e.every_steps
    return {
        "output_dir": str(folder / "checkpoints"),
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "learning_rate": o.learning_rate,
        "lr_scheduler_type": o.schedule,
        "warmup_steps": o.warmup_share,
        "weight_decay": o.weight_decay,
        "max_grad_norm": o.max_grad_norm,
        "per_device_train_batch_size": o.batch_size,
        "per_device_eval_batch_size": o.batch_size,
        "gradient_accumulation_steps": o.gradient_accumulation,
        "num_train_epochs": o.epochs,
        "max_steps": o.max_steps or -1,
        "optim": _OPTIMISERS[o.kind],
        "gradient_checkpointing": o.gradient_checkpointing,
        "bf16": computes_in_bf16(recipe),
        "fp16": False,
        "use_cpu": device().type == "cpu",
        "logging_steps": 1,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": save,
        "save_total_limit": recipe.checkpoints_kept + (1 if watches else 0),
        "eval_strategy": "steps" if watches else "no",
        "eval_steps": e.every_steps if watches else None,
        "load_best_model_at_end": watches,
        "metric_for_best_model": "eval_loss" if watches else None,
        "greater_is_better": False if watches else None,
        "report_to": ["tensorboard"],
        "disable_tqdm": True,
        "dataloader_pin_memory": device().type == "cuda",
        # Trainers without one row of ids as their input count by themselves.
        "include_num_input_tokens_seen": "no" if recipe.objective in ("kto", "rloo", "grpo") else "all",
        "ddp_backend": "gloo" if recipe.processes > 1 and device().type == "cpu" else None,
    }


def computes_in_bf16(recipe: Recipe) -> bool:
    """Whether matrix products run in bfloat16 under autocast: on a GPU that has it, unless float32 is asked for."""
    cuda = device().type == "cuda" and torch.cuda.is_bf16_supported()
    return cuda and recipe.precision != "float32"
