"""A recipe: everything that makes a training run, as one typed document."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from results.store.datasets import DatasetKind

Objective = Literal["sft", "pretrain", "classify", "dpo", "kto", "reward", "rloo", "grpo", "distill"]
Method = Literal["full", "lora", "qlora", "ia3", "tool_tokens", "head"]
Precision = Literal["auto", "float32", "bfloat16"]

OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
METHODS: tuple[Method, ...] = get_args(Method)

DATASET_KINDS: dict[Objective, tuple[DatasetKind, ...]] = {
    "sft": ("chat",),
    "pretrain": ("text",),
    "classify": ("labelled",),
    "dpo": ("preference",),
    "kto": ("kto",),
    "reward": ("preference",),
    "rloo": ("prompts", "chat"),
    "grpo": ("prompts", "chat"),
    "distill": ("chat",),
}
"""The kinds of dataset that each objective learns from (of a chat, reinforcement learning takes the prompts)."""

OBJECTIVES_OF: dict[Method, tuple[Objective, ...]] = {
    "full": OBJECTIVES,
    "lora": OBJECTIVES,
    "qlora": OBJECTIVES,
    "ia3": ("sft", "pretrain", "classify", "dpo", "kto", "reward", "distill"),
    "tool_tokens": ("sft",),
    "head": ("classify", "reward"),
}
"""What each method can train for."""

Share = Annotated[float, Field(ge=0, le=1)]
Layers = tuple[Annotated[int, Field(ge=0)], ...]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Optimiser(_Section):
    """How weights are moved. A step sees `batch_size` x `gradient_accumulation` rows on each device; rows longer than
    `max_length` tokens are cut at their end. `max_steps` wins over `epochs`."""

    learning_rate: float = Field(default=2e-4, gt=0, le=10)
    schedule: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    warmup_share: Share = 0.03
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    max_grad_norm: float = Field(default=1.0, gt=0)
    batch_size: int = Field(default=4, ge=1)
    gradient_accumulation: int = Field(default=4, ge=1)
    epochs: float = Field(default=1.0, gt=0)
    max_steps: int | None = Field(default=None, ge=1)
    max_length: int = Field(default=1024, ge=8)
    packing: bool = False
    gradient_checkpointing: bool = False
    kind: Literal["adamw", "adamw_8bit", "sgd", "adafactor"] = "adamw"


class Lora(_Section):
    """LoRA (arXiv 2106.09685): `targets` are names of linear modules, or "all-linear"; `layers` the numbers of the
    layers that get one (all where empty)."""

    rank: int = Field(default=16, ge=1, le=1024)
    alpha: float = Field(default=32, gt=0)
    dropout: Share = 0.0
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    layers: Layers = ()
    dora: bool = False
    rank_stabilised: bool = False


class Ia3(_Section):
    """IA3 (arXiv 2205.05638): the modules whose outputs are scaled; peft's own choice for the architecture where
    empty."""

    targets: tuple[str, ...] = ()
    feedforward: tuple[str, ...] = ()


class ToolTokens(_Section):
    """New tokens trained alone (ToolkenGPT, arXiv 2305.11554), one for each tool."""

    tokens: tuple[str, ...] = ()


class Preference(_Section):
    """DPO (arXiv 2305.18290), KTO (arXiv 2402.01306) and reward models. `beta` holds the model near its reference."""

    beta: float = Field(default=0.1, gt=0)
    loss: Literal["sigmoid", "hinge", "ipo"] = "sigmoid"
    desirable_weight: float = Field(default=1.0, gt=0)
    undesirable_weight: float = Field(default=1.0, gt=0)


class Reinforcement(_Section):
    """RLOO (arXiv 2402.14740) or GRPO (arXiv 2402.03300): answers to each prompt are sampled and rated by a reward
    model (`reward_model`: the name of a finished training with objective reward, or a folder), and/or by a rule."""

    reward_model: str | None = None
    rule: Literal["none", "short", "korean", "json"] = "none"
    answers: int = Field(default=4, ge=2, le=64)
    max_answer_tokens: int = Field(default=128, ge=1)
    temperature: float = Field(default=1.0, gt=0, le=5)
    beta: float = Field(default=0.05, ge=0)


class Distillation(_Section):
    """Soft targets from a teacher of the roster with the same vocabulary (arXiv 1503.02531): the loss is
    `alpha` x cross-entropy + (1 - alpha) x temperature^2 x KL."""

    teacher: str | None = None
    alpha: Share = 0.5
    temperature: float = Field(default=2.0, gt=0, le=20)


class Evaluation(_Section):
    """Held-out loss every `every_steps` (0: at the end only), and when to stop early: after `patience` evaluations
    that were not better (0: never). The checkpoint with the least loss is the one kept."""

    every_steps: int = Field(default=50, ge=0)
    patience: int = Field(default=0, ge=0)
    rows: int = Field(default=256, ge=1)


class Recipe(_Section):
    """One training run: what is trained, on what, for what, and how.

    `base` is a roster model (`name`, `name@n` or an alias), `dataset` a dataset version; the new model is called
    `name`. `qat` trains all weights under the rounding that `torchao-int8` serves them with. `frozen_layers` are layer
    numbers that full fine-tuning leaves alone; `data_share` takes that share of the training rows (chosen by seed).
    """

    name: str = Field(min_length=1, max_length=120, pattern=r"^[^\s@/][^@/\n]*$")
    base: str = Field(min_length=1)
    dataset: str = Field(min_length=1)
    objective: Objective = "sft"
    method: Method = "lora"
    precision: Precision = "auto"
    qat: Literal["none", "int8"] = "none"
    seed: int = Field(default=0, ge=0, lt=2**31)
    data_share: float = Field(default=1.0, gt=0, le=1)
    frozen_layers: Layers = ()
    optimiser: Optimiser = Optimiser()
    lora: Lora = Lora()
    ia3: Ia3 = Ia3()
    tool_tokens: ToolTokens = ToolTokens()
    preference: Preference = Preference()
    reinforcement: Reinforcement = Reinforcement()
    distillation: Distillation = Distillation()
    evaluation: Evaluation = Evaluation()
    checkpoint_every: int = Field(default=50, ge=1)
    checkpoints_kept: int = Field(default=2, ge=1, le=50)
    processes: int = Field(default=1, ge=1, le=64)
    allow_contaminated: bool = False
    licence: str | None = None
    note: str | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.objective not in OBJECTIVES_OF[self.method]:
            able = [method for method in METHODS if self.objective in OBJECTIVES_OF[method]]
            raise ValueError(
                f"method {self.method} cannot train for {self.objective}; {self.objective} works with {', '.join(able)}"
            )
        if self.objective == "distill" and self.distillation.teacher is None:
            raise ValueError("objective distill needs a teacher: set distillation.teacher to a roster model")
        rl = self.reinforcement
        if self.objective in ("rloo", "grpo") and rl.reward_model is None and rl.rule == "none":
            raise ValueError(
                f"objective {self.objective} needs something that rates answers: set reinforcement.reward_model "
                "(a model trained with objective reward) or reinforcement.rule"
            )
        if self.method == "tool_tokens" and not self.tool_tokens.tokens:
            raise ValueError("method tool_tokens needs the tokens: set tool_tokens.tokens, one for each tool")
        if self.method != "full" and self.frozen_layers:
            raise ValueError(
                "frozen_layers is for method full; choose the layers of adapters with lora.layers"
            )
        if self.qat != "none" and (
            self.method != "full" or self.objective not in ("sft", "pretrain", "distill")
        ):
            raise ValueError("qat is for method full with objective sft, pretrain or distill")
        if self.optimiser.packing and self.objective not in ("sft", "pretrain"):
            raise ValueError("optimiser.packing works for sft and pretrain")
        return self

    def digest(self) -> str:
        """SHA-256 over what shapes the weights (not the note, the name or the licence)."""
        shaping = self.model_dump(mode="json", exclude={"name", "note", "licence", "checkpoints_kept"})
        if self.qat == "none":
            del shaping["qat"]  # added later: older recipes keep their digest
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()
