"""Shapes of training data: recognised by their fields, read into rows, and refused with a reason."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from trainers.datasets import ROW_OF, ChatRow, UnknownShape
from trainers.datasets.shapes import shape_of

ASK = {"role": "user", "content": "대한민국의 수도는?"}
GOOD = {"role": "assistant", "content": "서울입니다."}
BAD = {"role": "assistant", "content": "부산입니다."}

CASES = {
    "openai": {"messages": [ASK, GOOD]},
    "sharegpt": {"conversations": [{"from": "human", "value": "안녕"}, {"from": "gpt", "value": "반가워요"}]},
    "alpaca": {"instruction": "번역해 줘", "input": "hello", "output": "안녕"},
    "pairs": {"prompt": "수도는?", "response": "[서울, 대한민국]"},
    "questions": {"question": "1+1?", "answer": "2"},
    "preference": {"prompt": "수도는?", "chosen": "서울", "rejected": "부산"},
    "openai-preference": {
        "input": {"messages": [ASK]},
        "preferred_output": [GOOD],
        "non_preferred_output": [BAD],
    },
    "kto": {"prompt": [ASK], "completion": [GOOD], "label": "good"},
    "labelled": {"text": "배송이 늦어요", "label": "배송"},
    "text": {"text": "훈민정음은 1446년에 반포되었다."},
    "prompts": {"prompt": "시를 써 줘"},
}


@pytest.mark.parametrize("name", CASES)
def test_shapes_are_told_by_their_fields_and_read(name: str) -> None:
    values = CASES[name]
    shape = shape_of(values)
    assert shape.name == name
    row = ROW_OF[shape.kind].model_validate(shape.read(values))
    assert any(any("가" <= c <= "힣" or c.isdigit() for c in text) for text in row.texts())
    again = ROW_OF[shape.kind].model_validate_json(row.model_dump_json())
    assert again.digest() == row.digest()


def test_an_answer_that_is_json_stays_text() -> None:
    shape = shape_of(["prompt", "response"])
    for answer in ('{"name": "f"}', "[1, 2, 3]", "[]"):
        row = ChatRow.model_validate(shape.read({"prompt": "JSON?", "response": answer}))
        assert row.messages[-1]["content"] == answer


def test_preference_without_a_prompt_is_cut_at_the_common_beginning() -> None:
    shape = shape_of(["chosen", "rejected"])
    made = shape.read({"chosen": [ASK, GOOD], "rejected": [ASK, BAD]})
    assert made == {"prompt": [ASK], "chosen": [GOOD], "rejected": [BAD]}


def test_answers_that_repeat_the_prompt_lose_it() -> None:
    shape = shape_of(["prompt", "chosen", "rejected"])
    made = shape.read({"prompt": [ASK], "chosen": [ASK, GOOD], "rejected": [ASK, BAD]})
    assert made["chosen"] == [GOOD]
    assert made["rejected"] == [BAD]


@pytest.mark.parametrize(
    ("kind", "values", "reason"),
    [
        ("chat", {"messages": [ASK]}, "last message must be the assistant's"),
        ("chat", {"messages": [ASK, {"role": "assistant", "content": " "}]}, "is empty"),
        ("chat", {"messages": [{"role": "robot", "content": "x"}]}, "message 1: unknown role 'robot'"),
        ("chat", {"messages": "hello"}, "list of messages"),
        ("preference", {"prompt": [ASK], "chosen": [GOOD], "rejected": [GOOD]}, "equal"),
        ("preference", {"prompt": [ASK, GOOD], "chosen": [GOOD], "rejected": [BAD]}, "must be the user's"),
        ("kto", {"prompt": [ASK], "completion": [GOOD], "label": "maybe"}, "true or false"),
        ("labelled", {"text": "x", "label": ""}, "at least 1 character"),
    ],
)
def test_rows_that_cannot_be_used_say_why(kind: str, values: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        ROW_OF[kind].model_validate(values)  # type: ignore[index]


def test_unknown_fields_name_what_would_be_right() -> None:
    with pytest.raises(UnknownShape, match="--map prompt=Q"):
        shape_of(["Q", "A"])
    with pytest.raises(UnknownShape, match=r"needs the field\(s\) output"):
        shape_of(["instruction"], "alpaca")
    with pytest.raises(UnknownShape, match="no shape 'csv' \\(known: openai-preference"):
        shape_of(["text"], "csv")
    with pytest.raises(UnknownShape, match="did you mean 'alpaca'"):
        shape_of(["text"], "alpca")
