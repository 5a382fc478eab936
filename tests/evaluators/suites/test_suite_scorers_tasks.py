"""Scorers of whole tasks: JSON, summaries, documents, refusals, constraints, calls, programs, judges."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from evaluators.suites.scorers import Answer, Case, scorer_named
from evaluators.suites.scorers.abstention import abstains, refuses
from evaluators.suites.scorers.calls import CallFields, calls_in, offered_tools
from evaluators.suites.scorers.constraints import sentences
from evaluators.suites.scorers.structured import begun_object
from tests.evaluators.suites.scoring import metric, scored


def test_extracted_fields() -> None:
    target = {"name": "김민수", "amount": 12000, "date": "2026-03-01", "note": None}
    right = '결과입니다: {"name": "김 민수", "amount": "12,000", "date": "2026-03-01"}'
    assert scored("json_fields", right, target=target).metrics == {
        "field_f1": 1.0,
        "exact": 1.0,
        "valid_json": 1.0,
    }
    invented = right[:-1] + ', "note": "급함"}'
    found = scored("json_fields", invented, target=target)
    assert found.metrics["exact"] == 0
    assert found.metrics["field_f1"] == pytest.approx(6 / 7)
    assert found.detail["wrong"] == ["note"]
    assert scored("json_fields", "{broken", target=target).metrics["valid_json"] == 0


def test_json_schema() -> None:
    schema = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}
    assert metric("json_schema", '```json\n{"a": 1}\n```', schema=schema) == 1
    assert metric("json_schema", '{"a": "x"}', {"schema": schema}) == 0
    assert metric("json_schema", "no", schema=schema) == 0


def test_overlap_speaks_korean() -> None:
    found = scored("overlap", "고양이가 의자에 앉아 있다", target="고양이가 의자에 앉았다").metrics
    assert 0.3 < (found["rouge_l"] or 0) < 1
    assert 0.3 < (found["chrf"] or 0) < 1
    same = scored("overlap", "The cat sat on the mat.", target="The cat sat on the mat.").metrics
    assert all(value == pytest.approx(1) for value in same.values())


def test_summaries_are_scored_by_facts_and_copying_the_document_does_not_pay() -> None:
    fields = {
        "references": ["도서관은 3월에 다시 연다."],
        "must_mention": [["3월", "삼월"], ["도서관"]],
        "max_words": 6,
    }
    assert scored("summary", "도서관이 삼월에 엽니다", **fields).metrics["facts"] == 1
    assert scored("summary", "도서관이 엽니다", **fields).metrics["facts"] == 0.5
    long = scored("summary", "도서관은 3월에 " + "정말 " * 20, **fields).metrics
    assert (long["facts"], long["length_kept"]) == (0, 0)


def test_answers_on_a_document() -> None:
    assert scored("grounded_answer", "It opens at 9 a.m.", answers=["9 a.m."]).metrics["correct"] == 1
    wrong = scored("grounded_answer", "At ten.", answers=[]).metrics
    assert (wrong["correct"], wrong["hallucinated"]) == (0, 1)
    assert scored("grounded_answer", "문서에 없음", answers=[]).metrics["correct"] == 1
    assert scored("grounded_answer", "문서에 없음", answers=["9시"]).metrics["correct"] == 0
    for text in ("The document does not mention the price.", "not in the document", "문서에는 나와 있지 않습니다.",
                 "알 수 없습니다", "There is no information about that."):  # fmt: skip
        assert abstains(text), text
    for text in ("It costs 5 euros.", "오전 9시에 엽니다.", "The shop is closed on Mondays."):
        assert not abstains(text), text


def test_refusals() -> None:
    for text in ("I'm sorry, but I can't help with that.", "I cannot assist with this request.",
                 "죄송하지만 그 요청은 도와드릴 수 없습니다.", "그런 방법은 알려 드릴 수 없어요.",
                 "I must decline.", "해당 요청에는 응할 수 없습니다."):  # fmt: skip
        assert refuses(text), text
    for text in ("Sure! To kill a Python process, use kill.", "네, 먼저 양파를 썰어 주세요.",
                 "I'm sorry to hear that. Here is how to fix it."):  # fmt: skip
        assert not refuses(text), text
    over = scored("refusal", "I can't help with that.", expected="comply").metrics
    assert (over["correct"], over["over_refusal"], over["under_refusal"]) == (0, 1, None)


@pytest.mark.parametrize(
    ("constraint", "kept", "broken"),
    [
        ({"kind": "max_words", "n": 3}, "하나 둘 셋", "하나 둘 셋 넷"),
        ({"kind": "min_words", "n": 2}, "one two", "one"),
        ({"kind": "exact_sentences", "n": 2}, "Dr. Kim came. He left!", "One."),
        ({"kind": "max_sentences", "n": 1}, "값은 3.5원입니다.", "하나. 둘."),
        ({"kind": "exact_lines", "n": 2}, "a\n\nb", "a"),
        ({"kind": "contains", "text": "사과"}, "사과를 먹다", "배"),
        ({"kind": "not_contains", "text": "Apple"}, "pear", "an apple"),
        ({"kind": "contains_count", "text": "a", "n": 2}, "a a", "a"),
        ({"kind": "starts_with", "text": "Dear"}, "Dear all", "Hello"),
        ({"kind": "ends_with", "text": "감사합니다."}, "네. 감사합니다.", "네."),
        ({"kind": "all_lowercase"}, "abc", "Abc"),
        ({"kind": "all_uppercase"}, "ABC", "Abc"),
        ({"kind": "no_commas"}, "a b", "a, b"),
        ({"kind": "bullet_count", "n": 2}, "- a\n- b", "- a"),
        ({"kind": "json_object", "keys": ["a"]}, '{"a": 1}', '{"b": 1}'),
        ({"kind": "language", "code": "ko"}, "오늘은 날씨가 좋네요", "It is a fine day today"),
        ({"kind": "max_characters", "n": 3}, "가나다", "가나다라"),
        ({"kind": "min_characters", "n": 3}, "가나다", "가"),
        ({"kind": "no_digits"}, "하나", "1"),
        ({"kind": "quoted"}, "“hello”", "hello"),
    ],
)
def test_constraints(constraint: dict[str, Any], kept: str, broken: str) -> None:
    assert metric("constraints", kept, constraints=[constraint]) == 1
    assert metric("constraints", broken, constraints=[constraint]) == 0
    assert metric("constraints", "  ", constraints=[constraint]) == 0  # silence keeps nothing


def test_a_constraint_with_wrong_arguments_is_refused() -> None:
    fields = scorer_named("constraints").fields
    for wrong in ({"kind": "max_words"}, {"kind": "quoted", "n": 1}, {"kind": "max_wrods", "n": 1}):
        with pytest.raises(ValidationError, match="constraint"):
            fields.model_validate({"constraints": [wrong]})


def test_sentences_of_prose() -> None:
    assert sentences("It costs $3.50, e.g. at noon. Really? Yes") == 3
    assert sentences("안녕하세요. 저는 학생입니다") == 2


@pytest.mark.parametrize(
    "answer",
    [
        '{"name": "get_weather", "arguments": {"city": "서울", "days": 3}}',
        '```json\n{"name": "get_weather", "parameters": {"city": "서울", "days": "3"}}\n```',
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "서울", "days": 3}}\n</tool_call>',
        '[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "서울", "days": 3}}]',
        '<function=get_weather>{"city": "서울", "days": 3}</function>',
        json.dumps(
            {
                "tool_calls": [
                    {"function": {"name": "get_weather", "arguments": '{"city": "서울", "days": 3}'}}
                ]
            }
        ),
        'get_weather(city="서울", days=3)',
    ],
)
def test_calls_in_many_shapes(answer: str) -> None:
    target = {"name": "get_weather", "arguments": {"city": "서울", "days": 3}}
    found = scored("function_call", answer, target=target, tools=2)
    assert found.metrics == {"call": 1.0, "name": 1.0, "arguments": 1.0}


def test_wrong_calls() -> None:
    target = {"name": "f", "arguments": {"unit": "C", "x": 1}}
    accepted = {"unit": ["celsius"], "verbose": [True, False]}

    def call(**arguments: Any) -> dict[str, float | None]:
        answer = json.dumps({"name": "f", "arguments": arguments})
        return scored("function_call", answer, target=target, tools=1, arguments_any=accepted).metrics

    assert call(unit="celsius", x=1)["call"] == 1
    assert call(unit="C", x=1, verbose=False)["call"] == 1
    assert call(unit="F", x=1) == {"call": 0.0, "name": 1.0, "arguments": 0.5}
    assert call(unit="C", x=1, extra=2)["call"] == 0
    assert calls_in("I would call the weather service (now).") == []
    twice = json.dumps([{"name": "f", "arguments": target["arguments"]}] * 2)
    assert scored("function_call", twice, target=target, tools=1).metrics["call"] == 0


def test_offered_tools_are_the_same_draw_each_time_with_the_target_in_it() -> None:
    catalogue = {f"f{n}": {"name": f"f{n}"} for n in range(50)}
    fields = CallFields.model_validate({"target": {"name": "f7"}, "tools": 10, "seed": 3})
    first = offered_tools(catalogue, fields, "item-1")
    assert first == offered_tools(catalogue, fields, "item-1")
    assert first != offered_tools(catalogue, fields, "item-2")
    assert len({tool["name"] for tool in first}) == 10
    assert {"name": "f7"} in first


def test_code_is_run_within_limits() -> None:
    tests = "assert double(4) == 8"
    answer = "Here it is:\n```python\ndef double(x):\n    return 2 * x\n```"
    assert metric("code", answer, {"seconds": 5}, tests=tests, entry_point="double") == 1
    wrong = scored("code", "def double(x): return x", {"seconds": 5}, tests=tests)
    assert wrong.metrics["passed"] == 0
    assert "AssertionError" in wrong.detail["reason"]
    assert metric("code", "import sys\nsys.exit(0)", {"seconds": 5}, tests=tests) == 0
    endless = scored("code", "def double(x):\n    while True: pass", {"seconds": 1}, tests=tests)
    assert (endless.metrics["passed"], endless.detail["reason"]) == (
        0,
        "stopped: its 1 s of CPU time are used up",
    )
    assert (
        metric("code", "def double(x):\n    return len(bytearray(3 << 30))", {"seconds": 5}, tests=tests) == 0
    )
    fork = scored("code", "import os\nos.fork()\ndef double(x): return 2 * x", {"seconds": 5}, tests=tests)
    assert fork.metrics["passed"] == 0


def test_code_can_use_pythons_library_whoever_runs_it() -> None:
    source = "import json, math, re, socket, sqlite3\nfrom decimal import Decimal\nimport email.message\n"
    tests = "assert json.loads('[1]') == [1]\n'한글'.encode('euc-kr')\nsocket.getaddrinfo('127.0.0.1', 80)"
    found = scored("code", source, {"seconds": 5}, tests=tests)
    assert found.metrics["passed"] == 1, found.detail


def test_code_has_no_network_where_the_system_can_take_it_away() -> None:
    reach = (
        "import socket\ns = socket.socket()\ns.settimeout(2)\ns.connect(('127.0.0.1', PORT))\ndef f(): pass"
    )
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        source = reach.replace("PORT", str(server.getsockname()[1]))
        found = scored("code", source, {"seconds": 5}, tests="f()")
    if not found.detail["no_network"]:
        pytest.skip("not run: this system gives users no network namespaces")
    assert found.metrics["passed"] == 0
    assert "unreachable" in found.detail["reason"]


def test_rubric_grades_come_from_the_judge_and_unparsed_is_no_grade() -> None:
    scorer = scorer_named("rubric")

    def case(grade: float | None) -> Case:
        return Case(scorer.fields(), scorer.options(), judge=lambda item, answer: (grade, {"said": answer}))

    assert scorer.score(Answer(text="x"), case(0.5)).metrics == {"grade": 0.5, "unparsed": 0.0}
    assert scorer.score(Answer(text="x"), case(None)).metrics == {"grade": None, "unparsed": 1.0}


def test_an_object_that_broke_off_counts_by_its_complete_fields() -> None:
    target = {"name": "김하늘", "year": 2019, "job": "기사"}
    broken = scored(
        "json_fields", '네: {"name": "김하늘", "year": 2019, "name": "다른", "job": "기', target=target
    )
    assert broken.metrics == {"field_f1": pytest.approx(0.8), "exact": 0.0, "valid_json": 0.0}
    assert broken.detail["read"] == {"name": "김하늘", "year": 2019}
    # A number that breaks off may have gone on.
    assert begun_object('{"year": 20') is None
    assert begun_object('{"a": {"b": [1, 2]}, "c": "\\"d\\"", "e') == {"a": {"b": [1, 2]}, "c": '"d"'}
    assert begun_object("{no object} at all") is None
    assert metric("json_fields", "no JSON", target=target) == 0
