"""Previews of every kind of row by a real tokenizer, and that they count the tokens that training encodes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from results.store import Store
from trainers._sizes import data_size
from trainers.datasets import preview, read_rows
from trainers.datasets.rendering import format_and_tokenizer
from trainers.plan import TrainingPlan

Plan = Callable[..., TrainingPlan]


@pytest.mark.parametrize(
    ("kind", "values", "trained"),
    [
        ("text", {"objective": "pretrain"}, "{n}월에는 꽃이 핀다. The month is {n}.<|im_end|>"),
        ("labelled", {"objective": "classify", "method": "head"}, ""),
        ("chat", {}, "답은 {more}<|im_end|>"),
    ],
)
def test_previews_count_what_training_encodes(
    kind: str, values: dict[str, object], trained: str, plan_for: Plan, store: Store
) -> None:
    from trainers.methods._encoding import Encoder
    from trainers.methods._loading import load_tokenizer

    plan = plan_for(kind, **values)
    (row, _), *_ = read_rows(store.data_dir, plan.dataset.digest, plan.dataset.kind)
    (shown,) = preview(row, *format_and_tokenizer(plan.base.spec, store.data_dir))
    encoder = Encoder(plan, load_tokenizer(plan.base.path), store.data_dir, ("배송", "환불"))
    (encoded,) = encoder.rows(iter([row]))
    assert shown.tokens == len(encoded["input_ids"])
    said = "".join(piece.text for piece in shown.pieces if piece.trained)
    assert said.strip() == trained.format(n=0, more=1)
    assert (shown.trained_tokens > 0) == bool(trained)
    assert data_size(plan, store.data_dir).mean_tokens


def test_prompts_are_shown_as_they_are_asked_with_nothing_learned(plan_for: Plan, store: Store) -> None:
    plan = plan_for("prompts", objective="grpo", reinforcement={"rule": "short"})
    (row, _), *_ = read_rows(store.data_dir, plan.dataset.digest, "prompts")
    (shown,) = preview(row, *format_and_tokenizer(plan.base.spec, store.data_dir))
    (piece,) = shown.pieces
    assert (piece.trained, shown.trained_tokens) == (False, 0)
    assert piece.text == "<|im_start|>user\n질문 0<|im_end|>\n<|im_start|>assistant\n"
    assert shown.tokens > 10
