"""The trainer of each objective: trl's, given rows that are encoded already."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    DataCollatorForSeq2Seq,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)
from trl import (
    DPOConfig,
    DPOTrainer,
    GRPOConfig,
    GRPOTrainer,
    KTOConfig,
    KTOTrainer,
    RewardConfig,
    RewardTrainer,
    RLOOConfig,
    RLOOTrainer,
    SFTConfig,
    SFTTrainer,
)

from trainers.methods._distill import DistillationSFTTrainer
from trainers.methods._loading import CannotTrain, load_tokenizer, precision
from trainers.methods._rewards import RULES, Rule
from trainers.plan import TrainingPlan


@dataclass(frozen=True)
class Parts:
    """What a trainer is made of: `arguments` are those that all trainers share."""

    plan: TrainingPlan
    model: Any
    tokenizer: Any
    train: Dataset
    held_out: Dataset | None
    arguments: dict[str, Any]
    callbacks: list[Any]


def make_trainer(parts: Parts) -> Trainer:
    """The trainer of the plan's objective. Raises `CannotTrain`."""
    make = {
        "sft": _sft,
        "pretrain": _sft,
        "classify": _classify,
        "dpo": _dpo,
        "kto": _kto,
        "reward": _reward,
        "rloo": _reinforce,
        "grpo": _reinforce,
        "distill": _distill,
    }
    try:
        trainer = make[parts.plan.recipe.objective](parts)
    except ValueError as error:
        raise CannotTrain(f"{parts.plan.recipe.objective}: {error}") from error
    if parts.plan.recipe.method == "qlora":
        # trl rounds what is trained above 4-bit weights to bfloat16: small steps would be lost in it, and heads that
        # rate would not fit the float32 below them.
        for parameter in parts.model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    return trainer


class _PreparedDPOTrainer(DPOTrainer):  # type: ignore[misc]  # trl has no types
    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset


class _PreparedKTOTrainer(KTOTrainer):  # type: ignore[misc]
    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, dataset_name: str) -> Any:
        return dataset.map(_mismatched, batched=True, batch_size=args.per_device_train_batch_size)


def _mismatched(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Completions moved on by one within a batch: KTO's estimate of the distance to the reference needs pairs that
    do not belong together (arXiv 2402.01306)."""
    return {**rows, "KL_completion_ids": [rows["completion_ids"][-1], *rows["completion_ids"][:-1]]}


def _shared(parts: Parts) -> dict[str, Any]:
    return {
        "model": parts.model,
        "train_dataset": parts.train,
        "eval_dataset": parts.held_out,
        "processing_class": parts.tokenizer,
        "callbacks": parts.callbacks,
    }


def _sft_config(parts: Parts) -> SFTConfig:
    o = parts.plan.recipe.optimiser
    return SFTConfig(**parts.arguments, max_length=o.max_length, packing=o.packing)


def _sft(parts: Parts) -> Trainer:
    if parts.plan.recipe.method == "tool_tokens":
        # trl's loss multiplies by the head's weight itself, past the rows that are trained on it.
        return Trainer(
            args=TrainingArguments(**parts.arguments),
            data_collator=DataCollatorForSeq2Seq(parts.tokenizer),
            **_shared(parts),
        )
    return SFTTrainer(args=_sft_config(parts), **_shared(parts))


def _distill(parts: Parts) -> Trainer:
    plan = parts.plan
    if plan.teacher is None:
        raise CannotTrain("objective distill needs a teacher")
    teacher = AutoModelForCausalLM.from_pretrained(
        plan.teacher, dtype=precision(plan.recipe), trust_remote_code=False
    )
    theirs = load_tokenizer(plan.teacher).get_vocab()
    if theirs != parts.tokenizer.get_vocab():
        raise CannotTrain(
            "the teacher has another vocabulary than the base, so its soft targets mean other tokens: choose a teacher "
            "of the same family, or train on its answers with objective sft"
        )
    for parameter in teacher.parameters():
        parameter.requires_grad_(False)
    return DistillationSFTTrainer(
        args=_sft_config(parts), teacher=teacher, distillation=plan.recipe.distillation, **_shared(parts)
    )


def _classify(parts: Parts) -> Trainer:
    return Trainer(
        args=TrainingArguments(**parts.arguments),
        data_collator=DataCollatorWithPadding(parts.tokenizer),
        compute_metrics=_accuracy,
        **_shared(parts),
    )


def _accuracy(prediction: Any) -> dict[str, float]:
    """Accuracy and macro F1 over the classes that occur."""
    guessed, right = np.argmax(prediction.predictions, axis=-1), np.asarray(prediction.label_ids)
    scores = []
    for label in np.unique(right):
        true = int(((guessed == label) & (right == label)).sum())
        scores.append(2 * true / (int((guessed == label).sum()) + int((right == label).sum())))
    return {"accuracy": float((guessed == right).mean()), "f1": float(np.mean(scores))}


def _dpo(parts: Parts) -> Trainer:
    recipe = parts.plan.recipe
    args = DPOConfig(
        **parts.arguments,
        max_length=recipe.optimiser.max_length,
        beta=recipe.preference.beta,
        loss_type=[recipe.preference.loss],
    )
    return _PreparedDPOTrainer(args=args, **_shared(parts))


def _kto(parts: Parts) -> Trainer:
    recipe = parts.plan.recipe
    if recipe.optimiser.batch_size < 2:
        raise CannotTrain("objective kto compares rows within a batch: set optimiser.batch_size to 2 or more")
    args = KTOConfig(
        **parts.arguments,
        max_length=recipe.optimiser.max_length,
        beta=recipe.preference.beta,
        desirable_weight=recipe.preference.desirable_weight,
        undesirable_weight=recipe.preference.undesirable_weight,
    )
    return _PreparedKTOTrainer(args=args, **_shared(parts))


def _reward(parts: Parts) -> Trainer:
    args = RewardConfig(**parts.arguments, max_length=parts.plan.recipe.optimiser.max_length)
    return RewardTrainer(args=args, **_shared(parts))


def _reinforce(parts: Parts) -> Trainer:
    recipe = parts.plan.recipe
    how = recipe.reinforcement
    batch, steps = (
        parts.arguments["per_device_train_batch_size"],
        parts.arguments["gradient_accumulation_steps"],
    )
    if (batch * steps) % how.answers:
        raise CannotTrain(
            f"a step sees {batch * steps} answers (batch_size x gradient_accumulation), which must be a multiple of "
            f"reinforcement.answers ({how.answers})"
        )
    config, trainer = (RLOOConfig, RLOOTrainer) if recipe.objective == "rloo" else (GRPOConfig, GRPOTrainer)
    args = config(
        **parts.arguments,
        num_generations=how.answers,
        max_completion_length=how.max_answer_tokens,
        temperature=how.temperature,
        beta=how.beta,
    )
    rewards, tokenizers = _reward_functions(parts.plan)
    shared = _shared(parts)
    # Sampled answers have no held-out loss.
    shared["eval_dataset"] = None
    return trainer(args=args, reward_funcs=rewards, reward_processing_classes=tokenizers, **shared)


def _reward_functions(plan: TrainingPlan) -> tuple[list[Rule | Any], list[Any]]:
    functions: list[Rule | Any] = []
    tokenizers: list[Any] = []
    if plan.reward_model is not None:
        model, tokenizer = load_reward_model(plan.reward_model)
        functions.append(model)
        tokenizers.append(tokenizer)
    rule = plan.recipe.reinforcement.rule
    if rule != "none":
        functions.append(RULES[rule])
        tokenizers.append(None)
    return functions, tokenizers


def load_reward_model(folder: Path) -> tuple[Any, Any]:
    """A trained reward model, its adapter merged in, and its tokenizer."""
    if (folder / "adapter_config.json").is_file():
        from peft import AutoPeftModelForSequenceClassification

        model = AutoPeftModelForSequenceClassification.from_pretrained(
            folder, num_labels=1
        ).merge_and_unload()
    else:
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=1, trust_remote_code=False
        )
    tokenizer = load_tokenizer(folder)
    model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer
