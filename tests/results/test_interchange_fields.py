"""Columns and values: what the field's files call things."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from results.interchange import BadFile
from results.interchange.fields import choose_columns, verdict_of
from results.interchange.votes import Unusable, Vote, vote_reader


def vote(source: str = "human", fixed: dict[str, str] | None = None, **values: object) -> Vote:
    row = {"model_a": "가", "model_b": "나", "winner": "a", **values}
    columns = choose_columns(list(row), mapping={}, fixed=fixed or {}, source=source)  # type: ignore[arg-type]
    return vote_reader(columns)(row)


@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        (("a", "A", "model_a", "Model A", "left", "LEFT", "model-a"), "a"),
        (("b", "model_b", "right"), "b"),
        (("tie", "Tie", "draw"), "tie"),
        (("both_bad", "bothbad", "Both Bad", "tie (bothbad)", "tie (both bad)", "tie(bothbad)"), "both_bad"),
        (("", "c", "model_c", "무승부"), None),
    ],
)
def test_verdict_words(words: tuple[str, ...], verdict: str | None) -> None:
    assert {verdict_of(word) for word in words} == {verdict}


def test_columns_by_name_by_map_and_fixed() -> None:
    chosen = choose_columns(
        ["left", "right", "model_x", "winner", "language", "question_id"],
        mapping={"model_a": "left", "model_b": "right", "verdict": "winner"},
        fixed={"category": "지식"},
        source="human",
    )
    assert chosen.column_of == {
        "model_a": "left", "model_b": "right", "winner": "winner", "language": "language", "id": "question_id",
    }  # fmt: skip
    assert chosen.fixed == {"category": "지식"}


def test_sides_that_are_called_left_and_right() -> None:
    found = choose_columns(
        ["id", "prompt", "model_x", "worker", "winner", "left", "right"], mapping={}, fixed={}, source="human"
    )
    assert {field: found.column_of[field] for field in ("model_a", "model_b", "voter")} == {
        "model_a": "left", "model_b": "right", "voter": "worker",
    }  # fmt: skip
    named = choose_columns(["left", "model_a", "model_b", "winner"], mapping={}, fixed={}, source="human")
    assert named.column_of["model_a"] == "model_a"


def test_the_judge_of_human_votes_is_the_voter() -> None:
    assert vote(judge="은지").voter == "은지"
    assert vote(judge="은지").judge is None
    assert vote(judge="gpt-4", voter="은지").voter == "은지"
    judged = vote("judge", judge="gpt-4", voter="은지")
    assert (judged.judge, judged.voter) == ("gpt-4", None)


@pytest.mark.parametrize(
    ("mapping", "fixed", "source", "message"),
    [
        ({"model_a": "lefft"}, {}, "human", "no column 'lefft' .did you mean 'left'"),
        ({"modle_a": "left"}, {}, "human", "no field 'modle_a' .did you mean 'model_a'"),
        ({}, {"langauge": "ko"}, "human", "did you mean 'language'"),
        ({"winner": "left", "verdict": "left"}, {}, "human", "names the field winner twice"),
        ({"id": "left"}, {"id": "1"}, "human", "both --map and --set"),
        ({}, {}, "human", "no column for winner"),
        ({"model_a": "left", "model_b": "right", "winner": "left"}, {}, "judge", "--judge NAME"),
    ],
)
def test_mistaken_options_name_the_nearest(
    mapping: dict[str, str], fixed: dict[str, str], source: str, message: str
) -> None:
    with pytest.raises(BadFile, match=message):
        choose_columns(["left", "right"], mapping=mapping, fixed=fixed, source=source)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    [1772323200, 1772323200.0, "1772323200", 1772323200000, "2026-03-01T00:00:00Z",
     "2026-03-01T09:00:00+09:00", "2026-03-01", datetime(2026, 3, 1)],
)  # fmt: skip
def test_times(value: object) -> None:
    assert vote(timestamp=value).time == datetime(2026, 3, 1, tzinfo=UTC)


def test_absent_values() -> None:
    bare = vote(timestamp="", id=float("nan"), prompt=None, category="  ")
    assert (bare.time, bare.id, bare.prompt, bare.category) == (None, "", None, "")


def test_names_are_composed_and_trimmed() -> None:
    assert vote(model_a=" 라마 ").model_a == "라마"
    assert vote(winner="라마", model_a="라마").verdict == "a"


def test_the_prompt_is_found_in_the_conversation() -> None:
    said = [{"role": "system", "content": "s"}, {"role": "user", "content": "안녕?"}]
    assert vote(conversation_a=said).prompt == "안녕?"
    assert vote(conversation_a='[{"role":"user","content":"안녕?"}]', prompt="p").prompt == "p"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"model_a": ""}, "model_a is empty"),
        ({"model_a": "나"}, "model_a and model_b are both '나'"),
        ({"model_b": "줄\n바꿈"}, "line break"),
        ({"winner": ""}, "winner is empty"),
        ({"winner": "최고"}, "winner '최고' is none of"),
        ({"timestamp": "어제"}, "neither epoch seconds nor ISO"),
        ({"timestamp": "inf"}, "neither epoch seconds nor ISO"),
        ({"prompt": {"text": "x"}}, "prompt is a dict"),
        ({"conversation_a": "그냥 글"}, "conversation_a is not JSON"),
        ({"conversation_b": [{"role": "user"}]}, "conversation_b is not a list of messages"),
        ({"vote_uuid": "1"}, "vote_uuid '1' is not a UUID"),
    ],
)
def test_unusable_values_have_a_reason(values: dict[str, object], reason: str) -> None:
    with pytest.raises(Unusable, match=reason):
        vote(**values)
