"""The response parser: the same result for every way in which an answer arrives."""

# ruff: noqa: E501 -- tables of one case a line

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompt_formats import Conversation, built_in, parser_for, render

# (format, prompt tail, extra stops, whole answer, thinking, content, finish)
ANSWERS: list[tuple[str, str, list[str], str, str | None, str, str]] = [
    ("qwen3", "", [], "<think>\n생각 중\n</think>\n\n답 🇰🇷<|im_end|>", "생각 중", "답 🇰🇷", "stop"),
    ("qwen3", "", [], "<think>\n\n</think>\n\n답", "", "답", "length"),
    ("qwen3", "", [], "답 <think> 아님 </think>", None, "답 <think> 아님 </think>", "length"),
    ("qwen3", "", [], "\n  <thin 아님", None, "\n  <thin 아님", "length"),
    ("qwen3", "", [], "<think>\n끝나지 않는 생각", "끝나지 않는 생각", "", "length"),
    ("qwen3", "assistant\n<think>\n\n</think>\n\n", [], "답<|im_end|>", None, "답", "stop"),
    ("deepseek-r1", "<｜Assistant｜><think>\n", [], "흠\n\n흠\n</think>\n\n네.<｜end▁of▁sentence｜>", "흠\n\n흠", "네.", "stop"),
    ("deepseek-r1", "<｜Assistant｜><think>\n", [], "", "", "", "length"),
    ("deepseek-r1", "<｜Assistant｜><think>\n", [], "<think>\n다시 연다</think>네", "다시 연다", "네", "length"),
    ("deepseek-r1", "<｜Assistant｜><think>\n", [], "<thin", "<thin", "", "length"),
    ("llama-3", "", [], "그냥 답<|eot_id|>더", None, "그냥 답", "stop"),
    ("llama-3", "", ["\nUser:"], "a\nUse b\nUser: c", None, "a\nUse b", "stop"),
    ("llama-3", "", ["stop", "sto"], "go sto", None, "go ", "stop"),
    ("vicuna-v1.1", "ASSISTANT:", [], " 네 USE USER: 더", None, " 네 USE ", "stop"),
    ("granite-3.3", "", [], "<think>계산</think><response>4</response>", "계산", "4", "stop"),
    ("command-r7b", "", [], "<|START_THINKING|>음<|END_THINKING|><|START_RESPONSE|>예<|END_RESPONSE|>", "음", "예", "stop"),
    ("ministral-3-reasoning", "", [], "[THINK]가[/THINK]나</s>", "가", "나", "stop"),
    ("gemma-4", "", [], "<|channel>thought\n가\n<channel|>나<turn|>", "가", "나", "stop"),
    ("qwen2.5", "", [], '<tool_call>\n{"name": "f"}\n</tool_call><|im_end|>', None, '<tool_call>\n{"name": "f"}\n</tool_call>', "stop"),
    ("gpt-oss", "<|start|>assistant", [], "<|channel|>analysis<|message|>생각<|end|><|start|>assistant<|channel|>final<|message|>답<|return|>", "생각", "답", "stop"),
    ("gpt-oss", "<|start|>assistant", [], "<|channel|>analysis<|message|>하나<|end|><|start|>assistant<|channel|>analysis<|message|>둘<|end|><|start|>assistant<|channel|>final<|message|>답", "하나\n둘", "답", "length"),
    ("gpt-oss", "<|start|>assistant<|channel|>final<|message|>약 ", [], "940만<|return|>", None, "940만", "stop"),
    ("gpt-oss", "<|start|>assistant", [], "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>", None, "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>", "stop"),
    ("gpt-oss", "<|start|>assistant", [], "<|channel|>analysis<|message|>잘린", "잘린", "", "length"),
    ("gpt-oss", "<|start|>assistant", [], "숨은 채널", None, "숨은 채널", "length"),
    ("gpt-oss", "<|start|>assistant", ["\n\n"], "<|channel|>final<|message|>하나\n\n둘", None, "하나", "stop"),
]  # fmt: skip


def whole(name: str, tail: str, stops: list[str], chunks: list[Any]) -> tuple[str | None, str, str, str, str]:
    parser = parser_for(built_in()[name], prompt_tail=tail, stops=stops)
    deltas = [parser.feed(chunk) for chunk in chunks]
    deltas.append(parser.rest())
    parsed = parser.finish()
    return (
        parsed.thinking,
        parsed.content,
        parsed.finish,
        "".join(delta.thinking for delta in deltas),
        "".join(delta.content for delta in deltas),
    )


@pytest.mark.parametrize("answer", ANSWERS, ids=range(len(ANSWERS)))
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_answers_in_chunks(answer: Any, size: int) -> None:
    name, tail, stops, raw, thinking, content, finish = answer
    expected = (thinking, content, finish, thinking or "", content)
    texts = [raw[i : i + size] for i in range(0, len(raw), size)]
    assert whole(name, tail, stops, texts) == expected
    data = raw.encode()
    assert whole(name, tail, stops, [data[i : i + size] for i in range(0, len(data), size)]) == expected


pieces = st.sampled_from(
    ["<think>", "</think>", "<|im_end|>", "<|eot_id|>", "\n", "가", "🇰🇷", "<", "|", "im_", "end", "think", ">", "STOP", " ",
     "<|channel|>", "final", "analysis", "<|message|>", "<|end|>", "<|start|>", "assistant", "<|call|>", " to=f"]
)  # fmt: skip


@given(
    st.sampled_from(["qwen3", "llama-3", "gpt-oss", "deepseek-r1", "granite-3.3"]),
    st.sampled_from(["", "<think>\n", "<|start|>assistant"]),
    st.lists(pieces, max_size=14).map("".join),
    st.data(),
)
def test_the_result_does_not_depend_on_the_chunks(
    name: str, tail: str, raw: str, data: st.DataObject
) -> None:
    stops = data.draw(st.sampled_from([[], ["STOP"], ["ST", "STOP", "OP"]]))
    together = whole(name, tail, stops, [raw])
    encoded = raw.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(encoded)), max_size=8)))
    edges = [0, *cuts, len(encoded)]
    chunks = [encoded[a:b] for a, b in pairwise(edges)]
    assert whole(name, tail, stops, chunks) == together
    thinking, content, _, shown_thinking, shown_content = together
    assert (thinking or "", content) == (shown_thinking, shown_content)


@given(st.text(alphabet="가a<|>\n STOP", max_size=30))
def test_nothing_of_a_stop_is_ever_shown(text: str) -> None:
    parser = parser_for(built_in()["llama-3"], stops=["STOP"])
    shown = "".join(parser.feed(c).content for c in text) + parser.rest().content
    assert "STOP" not in shown
    assert text.startswith(shown)


def test_without_the_prompt_its_default_end_is_taken() -> None:
    for name, raw in (
        ("deepseek-r1", "흠</think>\n\n답"),
        ("deepseek-r1", "<think>\n흠</think>\n\n답"),
        ("qwen3", "<think>흠</think>답"),
    ):
        parser = parser_for(built_in()[name])
        parser.feed(raw)
        parsed = parser.finish()
        assert (parsed.thinking, parsed.content) == ("흠", "답"), name


def test_broken_bytes_do_not_break_the_parser() -> None:
    parser = parser_for(built_in()["llama-3"])
    parser.feed(b"\xff\xec\x84")
    parsed = parser.finish("cancelled")
    assert (parsed.content, parsed.finish) == ("\ufffd\ufffd", "cancelled")


def test_deltas_are_shown_as_soon_as_they_are_certain() -> None:
    parser = parser_for(built_in()["qwen3"])
    assert parser.feed("<think>").thinking == ""
    assert parser.feed("가나").thinking == "가나"
    assert parser.feed("</thi").thinking == ""
    assert parser.feed("nk>\n\n").content == ""
    assert parser.feed("다").content == "다"
    assert parser.feed("<|im_").content == ""
    assert not parser.stopped
    assert parser.feed("end|>라").content == ""
    assert parser.stopped


@given(
    st.text(alphabet="가나다 abc.", min_size=1, max_size=20).map(str.strip).filter(bool),
    st.text(alphabet="라마바 xyz.", min_size=1, max_size=20).map(str.strip).filter(bool),
)
def test_rendering_a_parsed_answer_gives_the_same_text(thinking: str, content: str) -> None:
    """What a model wrote, parsed and put into the history, is what it wrote."""
    question = Conversation().add("user", "질문")
    for name in ("qwen3", "qwen3.5", "nemotron-3-nano", "glm-5.1"):
        form = built_in()[name]
        talk = question.add("assistant", content, reasoning_content=thinking)
        prompt = render(question, form).prompt
        written = render(talk, form, add_generation_prompt=False).prompt
        assert written.startswith(prompt)
        parser = parser_for(form, prompt_tail=prompt)
        parser.feed(written[len(prompt) :])
        parsed = parser.finish()
        assert (parsed.thinking, parsed.content) == (thinking, content)
        again = question.add("assistant", parsed.content, reasoning_content=parsed.thinking)
        assert render(again, form, add_generation_prompt=False).prompt == written
