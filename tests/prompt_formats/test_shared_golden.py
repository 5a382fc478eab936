"""The publishers' own renderings, where the reference data lies beside the checkout."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import prompt_formats
from prompt_formats import Conversation, PromptFormatError, built_in, mistral_ids

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not GOLDEN.is_dir(), reason="the reference data (../shared/golden) is not there"),
]


def rows(name: str) -> list[dict[str, Any]]:
    text = (GOLDEN / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def render(row: dict[str, Any]) -> prompt_formats.RenderedPrompt:
    return prompt_formats.render(
        Conversation.from_chat(row["messages"]),
        row["template_name"],
        add_generation_prompt=row["add_generation_prompt"],
        continue_final_message=row["continue_final_message"],
        kwargs=row.get("template_kwargs"),
        now=datetime.fromisoformat(row.get("frozen_now") or "2025-01-01"),
    )


@pytest.mark.parametrize("name", ["classics.jsonl", "official_templates.jsonl"])
def test_official_renderings(name: str) -> None:
    wrong = []
    for row in rows(name):
        try:
            got: str | None = render(row).prompt
        except PromptFormatError:
            got = None
        expected = row.get("expected")
        bos = row.get("bos_token") or ""
        fits = got == expected or (not row.get("bos_included", True) and got == f"{bos}{expected}")
        if not fits:
            wrong.append((row["id"], expected, got))
    assert not wrong


def test_every_official_template_is_in_the_registry() -> None:
    names = {row["template_name"] for row in rows("official_templates.jsonl")}
    assert names <= set(built_in())


@pytest.mark.skipif(not mistral_ids.installed(), reason="mistral-common or sentencepiece is not installed")
def test_mistral_ids() -> None:
    for row in rows("mistral_common.jsonl"):
        if "expected_error" in row:
            with pytest.raises(PromptFormatError):
                render(row)
        else:
            assert list(render(row).ids or ()) == row["token_ids"], row["id"]


def test_resolution() -> None:
    wrong = [
        (row["model_id"], row["family"], found)
        for row in rows("resolution.jsonl")
        if (found := prompt_formats.resolve(row["model_id"]).format.family) != row["family"]
    ]
    assert not wrong
