"""Conversion between shapes: lossless there and back, or the loss is named."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompt_formats import Conversation, InvalidInput
from prompt_formats.convert import SHAPES, convert, read

TALK = (
    Conversation()
    .add("system", "친절하게.")
    .add("user", "서울은?")
    .add("assistant", "수도입니다.\u2028줄")
    .add("user", "부산은?")
    .add("assistant", "항구입니다.")
)

texts = st.text(min_size=1, max_size=20)
plain_talks = st.builds(
    lambda system, rounds: Conversation.from_chat(
        [
            *([{"role": "system", "content": system}] if system else []),
            *(
                m
                for q, a in rounds
                for m in ({"role": "user", "content": q}, {"role": "assistant", "content": a})
            ),
        ]
    ),
    st.none() | texts,
    st.lists(st.tuples(texts, texts), min_size=1, max_size=4),
)


@given(plain_talks, st.sampled_from(SHAPES), st.sampled_from(SHAPES))
def test_rounds_survive_every_road(talk: Conversation, first: Any, second: Any) -> None:
    """openai -> first -> second -> openai gives the same conversation, and nothing is reported lost."""
    one = convert({"messages": talk.as_chat()}, "openai", first)
    two = convert(one.data, first, second)
    three = convert(two.data, second, "openai")
    assert (one.lost, two.lost, three.lost) == ((), (), ())
    assert read(three.data, "openai") == talk


def test_shapes() -> None:
    source = {"messages": TALK.as_chat()}
    assert convert(source, "openai", "sharegpt").data["conversations"][1] == {
        "from": "human",
        "value": "서울은?",
    }
    alpaca = convert(source, "openai", "alpaca").data
    assert alpaca["instruction"] == "부산은?"
    assert alpaca["history"] == [["서울은?", "수도입니다.\u2028줄"]]
    fastchat = convert(source, "openai", "fastchat").data
    assert fastchat["system_message"] == "친절하게."
    assert fastchat["messages"][0] == ["user", "서울은?"]


def test_thinking_in_gradio() -> None:
    talk = Conversation().add("user", "1+1?").add("assistant", "2", reasoning_content="더한다")
    shown = convert({"messages": talk.as_chat()}, "openai", "gradio")
    assert shown.data[1] == {"role": "assistant", "content": "더한다", "metadata": {"title": "Thinking"}}
    assert shown.lost == ()
    assert read(shown.data, "gradio") == talk


def test_old_and_new_gradio() -> None:
    assert [m.content for m in read([["안녕", "네"], ["또", None]], "gradio").messages] == [
        "안녕",
        "네",
        "또",
    ]
    parts = [{"role": "user", "content": [{"type": "text", "text": "안"}, "녕"]}]
    assert read(parts, "gradio").messages[0].content == "안녕"


def test_losses_are_named() -> None:
    call = ({"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}},)
    talk = (
        Conversation()
        .add("user", "가자")
        .add("assistant", "", tool_calls=call, reasoning_content="흠")
        .add("tool", "좋아", tool_call_id="c1")
    )
    source = {"messages": talk.as_chat(), "model": "m"}
    lost = {shape: " | ".join(convert(source, "openai", shape).lost) for shape in SHAPES}  # type: ignore[arg-type]
    assert "model beside the messages" in lost["openai"]
    assert "message 2: tool calls" in lost["alpaca"]
    assert "message 2: thinking" in lost["alpaca"]
    assert "message 3: a tool message" in lost["alpaca"]
    assert "message 3: a tool message" in lost["fastchat"]
    assert "id of the tool call" in lost["sharegpt"]
    assert "thinking is inline" in lost["sharegpt"]
    assert "tool calls" in lost["gradio"]


def test_alpaca_input_joins_with_notice() -> None:
    done = convert({"instruction": "번역해", "input": "안녕", "output": "hi"}, "alpaca", "openai")
    assert done.data["messages"][0]["content"] == "번역해\n\n안녕"
    assert done.lost == ("the border between instruction and input",)


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        ({"conversations": [{"from": "robot", "value": "x"}]}, "sharegpt"),
        ({"nothing": 1}, "openai"),
        ([1, 2], "gradio"),
        ({"output": "x"}, "alpaca"),
        ({"roles": ["A", "B"], "messages": [["C", "x"]]}, "fastchat"),
        ([{"role": "user", "content": [{"path": "a.png"}]}], "gradio"),
    ],
)
def test_wrong_shapes_are_refused(data: Any, shape: Any) -> None:
    with pytest.raises(InvalidInput):
        convert(data, shape, "openai")
    with pytest.raises(InvalidInput, match="unknown shape"):
        convert(data, shape, "xml")  # type: ignore[arg-type]
