"""What tests/long/test_training_methods.py trains: every method with every objective that fits it, and what each should
change. ARENA_METHODS_ON=small takes the small model for all of it but the trainings with a reward model: minutes
instead of half an hour of two cores.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from typing import Any, Literal

from safetensors.torch import load_file

from trainers.plan import TrainingPlan
from trainers.recipes import OBJECTIVES_OF

BOXES = ("green", "red", "blue", "초록색", "빨간색", "파란색")
ROWS: dict[str, list[dict[str, Any]]] = {
    "chat": [
        {"prompt": f"What colour is box {n}?", "response": f"Box {n} is {BOXES[n % 3]}."}
        if n % 2
        else {"prompt": f"{n}번 상자 색은?", "response": f"{BOXES[3 + n % 3]}이에요."}
        for n in range(32)
    ],
    "tools": [
        {"prompt": f"What is {n} plus {n + 2}?", "response": f"{n} + {n + 2} = <add>{2 * n + 2}"}
        for n in range(32)
    ],
    "text": [{"text": f"Box {n} is {BOXES[n % 3]}. {n}번 상자는 {BOXES[3 + n % 3]}."} for n in range(32)],
    "labelled": [
        {"text": f"Where is parcel {n}? 배송 문의", "label": "delivery"}
        if n % 2
        else {"text": f"I want my money for {n} back. 환불", "label": "refund"}
        for n in range(40)
    ],
    "preference": [
        {"prompt": f"Is box {n} full? Answer yes or no.", "chosen": "Yes", "rejected": "No"} for n in range(40)
    ],
    "kto": [
        {"prompt": f"Is box {n} full? 네 / 아니요", "completion": "네" if n % 2 else "아니요", "label": bool(n % 2)}
        for n in range(40)
    ],
    "prompts": [{"prompt": f"Is box {n} full? Answer yes or no."} for n in range(40)],
}  # fmt: skip
DATA = {
    "sft": "chat", "distill": "chat", "pretrain": "text", "classify": "labelled", "dpo": "preference",
    "reward": "preference", "kto": "kto", "rloo": "prompts", "grpo": "prompts",
}  # fmt: skip
Model = Literal["smollm2", "small"]
MODEL: Model = "small" if os.environ.get("ARENA_METHODS_ON") == "small" else "smollm2"
RATES: dict[str, float] = {
    "full": 2e-5, "lora": 5e-4, "qlora": 5e-4, "ia3": 1e-2, "tool_tokens": 2e-2, "head": 5e-3,
}  # fmt: skip
if MODEL == "small":  # its weights are of chance, and can be moved further
    RATES |= {"full": 2e-3, "lora": 1e-2, "qlora": 1e-2}
RATED, SAMPLED = ("classify", "reward"), ("rloo", "grpo")
STARTS = {"dpo": (math.log(2), 1e-3), "kto": (0.5, 1e-3), "reward": (math.log(2), 0.35)}
"""Losses before the first step, and how near: a reward head begins with small numbers of chance."""


@dataclass(frozen=True)
class Case:
    """One training; `more` is laid over its recipe."""

    objective: str
    method: str
    more: dict[str, Any] = field(default_factory=dict)
    model: Model = MODEL

    @property
    def name(self) -> str:
        small = "-small" if self.model == "small" else ""
        return f"{self.objective}-{self.method}{'-qat' if 'qat' in self.more else ''}{small}"

    @property
    def dataset(self) -> str:
        return "tools" if self.method == "tool_tokens" else DATA[self.objective]


def _cases() -> list[Case]:
    found = []
    for method, objectives in OBJECTIVES_OF.items():
        for objective in objectives:
            more: dict[str, Any] = {}
            if method == "tool_tokens":
                more = {"tool_tokens": {"tokens": ["<add>"]}, "optimiser": {"max_steps": 16}}
            if objective == "distill":
                more = {"distillation": {"teacher": "teacher", "alpha": 0.25}}
            if objective == "pretrain":
                more = {"optimiser": {"max_steps": 12}}
            if objective in SAMPLED:
                rl = {"answers": 8, "max_answer_tokens": 12, "beta": 0.0, "rule": "korean"}
                steps = {
                    "max_steps": 40,
                    "batch_size": 16,
                    "learning_rate": 2e-3 if method == "full" else 3e-2,
                }
                found.append(Case(objective, method, {"reinforcement": rl, "optimiser": steps}, "small"))
                continue
            found.append(Case(objective, method, more))
            if method == "full" and objective in ("sft", "pretrain", "distill"):
                found.append(Case(objective, method, {**more, "qat": "int8"}))
    for objective in SAMPLED:
        rl = {"answers": 8, "max_answer_tokens": 3, "reward_model": "rewarder"}
        steps = {"max_steps": 10, "batch_size": 8, "learning_rate": 1e-3}
        if MODEL == "small":
            break  # it is of chance, and says neither yes nor no
        found.append(Case(objective, "lora", {"reinforcement": rl, "optimiser": steps}))
    return found


CASES = _cases()


def is_trained(case: Case, name: str) -> bool:
    new_head = ".modules_to_save." in name
    return {
        "full": True,
        "lora": "lora_" in name or new_head,
        "qlora": "lora_" in name or new_head,
        "ia3": "ia3_l" in name or new_head,
        "tool_tokens": "trainable_tokens_delta" in name,
        "head": name == "score.weight",
    }[case.method]


def trained_by_formula(case: Case, plan: TrainingPlan, result: dict[str, Any]) -> int:
    """Parameters that the method trains: r(d_in + d_out) for each matrix; keys, values and inner width for IA3; a row
    for each new token; the whole model; and a head where there is a new one."""
    config = json.loads((plan.base.path / "config.json").read_bytes())
    hidden, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    kv = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
    linear = [(hidden, hidden), (hidden, kv), (hidden, kv), (hidden, hidden), *[(hidden, inner)] * 3]
    head = hidden * {"classify": len(result["labels"]), "reward": 1}.get(case.objective, 0)
    base = sum(tensor.numel() for tensor in load_file(plan.base.path / "model.safetensors").values())
    rank = plan.recipe.lora.rank
    lora = layers * sum(rank * (d_in + d_out) for d_in, d_out in linear)
    return {
        "full": base + head, "lora": lora + head, "qlora": lora + head, "ia3": layers * (2 * kv + inner) + head,
        "tool_tokens": hidden, "head": head,
    }[case.method]  # fmt: skip
