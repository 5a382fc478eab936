"""Every format of the registry against its own cases: Korean, rounds, prefill, thinking, tools, policies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import prompt_formats
from prompt_formats import Conversation, PromptFormatError, built_in

CASES = Path(__file__).parent / "cases"
NOW = datetime(2026, 3, 1, 9, 30)


def read_cases() -> Iterator[Any]:
    for path in sorted(CASES.glob("*.json")):
        for name, cases in json.loads(path.read_text(encoding="utf-8")).items():
            for case in cases:
                yield pytest.param(path.stem, name, case, id=f"{name}-{case['case']}")


@pytest.mark.parametrize(("family", "name", "case"), list(read_cases()))
def test_case(family: str, name: str, case: dict[str, Any]) -> None:
    form = built_in()[name]
    assert form.family == family
    settings = {
        key: value
        for key, value in case.items()
        if key not in ("case", "messages", "expected", "error", "stops", "n_bos", "policies")
    }
    conversation = Conversation.from_chat(case["messages"])
    if "error" in case:
        with pytest.raises(PromptFormatError) as caught:
            prompt_formats.render(conversation, form, now=NOW, **settings)
        assert caught.value.kind == case["error"]
        return
    prompt = prompt_formats.render(conversation, form, now=NOW, **settings)
    assert prompt.prompt == case["expected"]
    assert [p for p in prompt.policies if not p.startswith("control_text")] == case.get("policies", [])
    if "stops" in case:
        assert (list(prompt.stops), prompt.n_bos) == (case["stops"], case["n_bos"])


def test_every_format_has_cases() -> None:
    tested = {name for path in CASES.glob("*.json") for name in json.loads(path.read_text(encoding="utf-8"))}
    assert tested == set(built_in())


@pytest.mark.parametrize("name", sorted(built_in()))
def test_the_last_question_stands_whole_and_last(name: str) -> None:
    """A property that needs no recorded string: texts stand in the order in which they were said."""
    form = built_in()[name]
    kwargs = {
        "firefunction-v2": {"functions": "[]"},
        "gigachat": {"additional_special_tokens": ["<|r|>", "<|m|>"]},
    }.get(name)
    texts = ("첫 질문 하나", "대답 둘", "마지막 질문 셋")
    talk = Conversation().add("user", texts[0]).add("assistant", texts[1]).add("user", texts[2])
    prompt = prompt_formats.render(talk, form, now=NOW, kwargs=kwargs).prompt
    places = [prompt.find(text) for text in texts]
    assert -1 not in places
    assert places == sorted(places)
    assert all(prompt.count(text) == 1 for text in texts)
