"""From raw prompts back to conversations."""

from __future__ import annotations

from datetime import datetime

import pytest

from prompt_formats import Conversation, InvalidInput, built_in, render
from prompt_formats.unrender import unrender

TALK = (
    Conversation()
    .add("system", "친절하게 답해.")
    .add("user", "서울은 어디?")
    .add("assistant", "한국의 수도입니다.")
    .add("user", "인구는?")
)
NEED_ARGUMENTS = {"firefunction-v2", "gigachat"}
NOT_TRIED = {name for name, form in built_in().items() if form.encoder} | {"plain"} | NEED_ARGUMENTS


@pytest.mark.parametrize("name", sorted(set(built_in()) - NOT_TRIED))
def test_every_formats_prompts_come_back(name: str) -> None:
    """The format that made the prompt is among the exact candidates, with a conversation that renders the same."""
    form = built_in()[name]
    talk = Conversation(messages=TALK.messages[1:])
    prompt = render(talk, form, now=datetime(2024, 3, 5)).prompt
    found = unrender(prompt)
    exact = {candidate.format: candidate for candidate in found.candidates if candidate.exact}
    assert name in exact
    assert exact[name].conversation == talk
    assert found.candidates[0].format == name or found.ambiguous or found.candidates[0].exact


def test_system_texts_come_back() -> None:
    for name in ("llama-3.1", "qwen2.5", "zephyr", "exaone-3.5", "phi-4", "jamba-1.6"):
        found = unrender(render(TALK, name).prompt)
        exact = {c.format: c.conversation for c in found.candidates if c.exact}
        assert exact[name] == TALK, name


def test_the_likeliest_comes_first() -> None:
    assert unrender(render(TALK, "llama-3.1").prompt).candidates[0].family.startswith("llama-3")
    assert unrender(render(TALK, "exaone-3.5").prompt).candidates[0].format == "exaone-3.5"


def test_ambiguity_is_told() -> None:
    found = unrender(render(TALK, "openhermes-2.5").prompt)
    assert found.ambiguous is not None
    assert "the same way" in found.ambiguous


def test_a_default_system_text_was_written_by_nobody() -> None:
    talk = Conversation().add("user", "안녕")
    best = unrender(render(talk, "qwen2.5").prompt).candidates
    assert {c.format: c.conversation for c in best if c.exact}["qwen2.5"] == talk


def test_closed_conversations() -> None:
    talk = Conversation(messages=TALK.messages[1:3])
    best = unrender(render(talk, "zephyr", add_generation_prompt=False).prompt).candidates[0]
    assert (best.format, best.conversation, best.add_generation_prompt) == ("zephyr", talk, False)


def test_a_date_in_the_prompt_is_read() -> None:
    prompt = render(TALK, "llama-3.2", now=datetime(2019, 11, 30)).prompt
    exact = {c.format for c in unrender(prompt).candidates if c.exact}
    assert "llama-3.2" in exact


def test_nothing_to_find() -> None:
    assert not any(c.exact and c.structure > 4 for c in unrender("그냥 글입니다.").candidates)
    with pytest.raises(InvalidInput, match="empty"):
        unrender("")
