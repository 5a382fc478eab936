"""A model ready to be trained: loaded in its precision, with what the method trains and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainers.plan import TrainingPlan
from trainers.recipes import Recipe


class CannotTrain(Exception):
    """The model cannot be trained this way; the message is for people. `kind` names the sort of failure."""

    def __init__(self, message: str, kind: str = "rejected") -> None:
        super().__init__(message)
        self.kind = kind


def device() -> torch.device:
    """Where training runs: CUDA, then MPS, then the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def precision(recipe: Recipe) -> torch.dtype:
    """The dtype of the weights. On a CPU float32 unless bfloat16 is asked for; on a GPU adapters sit on bfloat16 while
    full fine-tuning keeps float32 master weights (and computes in bfloat16)."""
    if recipe.precision == "float32":
        return torch.float32
    if recipe.precision == "bfloat16":
        return torch.float32 if recipe.method == "full" and device().type == "cuda" else torch.bfloat16
    if device().type == "cuda" and torch.cuda.is_bf16_supported() and recipe.method != "full":
        return torch.bfloat16
    return torch.float32


def load_tokenizer(path: Path) -> Any:
    """The tokenizer of the base, with a padding token."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(plan: TrainingPlan, tokenizer: Any, labels: tuple[str, ...] = ()) -> Any:
    """The base with what the recipe's method trains on it. `labels` are the classes for objective classify.

    An adapter that the base already has is merged into it first. Raises `CannotTrain`.
    """
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    recipe = plan.recipe
    options: dict[str, Any] = {"dtype": precision(recipe), "trust_remote_code": False}
    if recipe.method == "qlora":
        options["quantization_config"] = _nf4(options["dtype"])
    heads = {"classify": len(labels), "reward": 1}
    try:
        if recipe.objective in heads:
            model = AutoModelForSequenceClassification.from_pretrained(
                plan.base.path,
                num_labels=heads[recipe.objective],
                pad_token_id=tokenizer.pad_token_id,
                **options,
            )
            if labels:
                model.config.id2label = dict(enumerate(labels))
                model.config.label2id = {label: number for number, label in enumerate(labels)}
        else:
            model = AutoModelForCausalLM.from_pretrained(plan.base.path, **options)
    except (OSError, ValueError) as error:
        raise CannotTrain(f"{plan.base.label} cannot be loaded: {error}") from error
    keep_differentiable(model)
    model.config.use_cache = False
    if plan.base.adapter is not None:
        model = _merged(model, plan.base.adapter)
    return with_method(model, recipe, tokenizer)


def keep_differentiable(model: nn.Module) -> None:
    """Turn bitsandbytes' inference-only layout of 4-bit weights on CPUs off: with it every training step after the
    first evaluation would drop the gradient through the frozen layers without an error. Call before any forward."""
    try:
        import bitsandbytes as bnb
    except ImportError:
        return
    for module in model.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            if getattr(module.weight.quant_state, "packing_format_for_cpu", False):
                raise CannotTrain(
                    "this 4-bit model has already run in eval mode: load it again before training"
                )
            module.support_avx512bf16_for_cpu = False


def with_method(model: Any, recipe: Recipe, tokenizer: Any) -> Any:
    """`model` with exactly the parameters trainable that the method trains."""
    from peft import IA3Config, LoraConfig, get_peft_model, prepare_model_for_kbit_training

    if recipe.method in ("full", "head"):
        if recipe.qat == "int8":
            from trainers.methods._qat import prepare

            prepare(model)
        return _choose_weights(model, recipe)
    if recipe.method == "qlora":
        model = prepare_model_for_kbit_training(
            model, use_gradient_checkpointing=recipe.optimiser.gradient_checkpointing
        )
    elif recipe.optimiser.gradient_checkpointing:
        model.enable_input_require_grads()
    task = "SEQ_CLS" if recipe.objective in ("classify", "reward") else "CAUSAL_LM"
    if recipe.method == "tool_tokens":
        return _with_tool_tokens(model, recipe, tokenizer)
    config: Any
    if recipe.method == "ia3":
        config = IA3Config(
            task_type=task,
            target_modules=list(recipe.ia3.targets) or None,
            feedforward_modules=list(recipe.ia3.feedforward) or None,
        )
    else:
        lora = recipe.lora
        targets = linear_names(model) if lora.targets == "all-linear" else list(lora.targets)
        config = LoraConfig(
            task_type=task,
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=targets,
            layers_to_transform=list(lora.layers) or None,
            use_dora=lora.dora,
            use_rslora=lora.rank_stabilised,
        )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise CannotTrain(f"{recipe.method} does not fit this model: {error}") from error


def linear_names(model: nn.Module) -> list[str]:
    """The last names of all linear modules inside the layers (not of the heads on top)."""
    import bitsandbytes as bnb

    kinds = (nn.Linear, bnb.nn.Linear4bit)
    found = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, kinds) and any(part.isdigit() for part in name.split("."))
    }
    if not found:
        raise CannotTrain("this model has no linear modules in numbered layers: name lora.targets")
    return sorted(found)


def trainable(model: nn.Module) -> tuple[int, int]:
    """(trainable parameters, all parameters); 4-bit weights count as the numbers that they hold."""
    if hasattr(model, "get_nb_trainable_parameters"):
        counted: Any = model
        count, total = counted.get_nb_trainable_parameters()
        return int(count), int(total)
    sizes = [
        (p.numel() * (2 if p.__class__.__name__ == "Params4bit" else 1), p.requires_grad)
        for p in model.parameters()
    ]
    return sum(n for n, grad in sizes if grad), sum(n for n, _ in sizes)


def _nf4(compute: torch.dtype) -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )


def _merged(model: Any, adapter: Path) -> Any:
    from peft import PeftModel

    return PeftModel.from_pretrained(model, adapter).merge_and_unload()


def _choose_weights(model: Any, recipe: Recipe) -> Any:
    if recipe.method == "head":
        for parameter in model.base_model.parameters():
            parameter.requires_grad_(False)
        return model
    if recipe.frozen_layers:
        layers = max((m for m in model.modules() if isinstance(m, nn.ModuleList)), key=len, default=None)
        count = 0 if layers is None else len(layers)
        if layers is None or max(recipe.frozen_layers) >= count:
            raise CannotTrain(f"frozen_layers: the model has the layers 0 to {count - 1}")
        for number in recipe.frozen_layers:
            for parameter in layers[number].parameters():
                parameter.requires_grad_(False)
    return model


def _with_tool_tokens(model: Any, recipe: Recipe, tokenizer: Any) -> Any:
    """New tokens whose embeddings alone are trained (ToolkenGPT, arXiv 2305.11554)."""
    from peft import TrainableTokensConfig, get_peft_model

    tokens = list(recipe.tool_tokens.tokens)
    known = [token for token in tokens if token in tokenizer.get_vocab()]
    if known:
        raise CannotTrain(f"tool_tokens.tokens: the model has {', '.join(known)} already; choose new names")
    tokenizer.add_tokens(tokens, special_tokens=False)
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(len(tokenizer))
    ids = tokenizer.convert_tokens_to_ids(tokens)
    # Where the head is tied to the embeddings, peft trains the rows of both as one.
    config = TrainableTokensConfig(
        task_type="CAUSAL_LM", token_indices=ids, target_modules=_token_modules(model)
    )
    return get_peft_model(model, config)


def _token_modules(model: Any) -> list[str]:
    def name_of(module: Any) -> str:
        path: str = next(name for name, found in model.named_modules() if found is module)
        return path.rpartition(".")[2]

    modules = [model.get_input_embeddings()]
    if not model.config.tie_word_embeddings:
        modules.append(model.get_output_embeddings())
    return [name_of(module) for module in modules]
