"""Scorers: what counts as right, in English and Korean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from evaluators.suites.errors import SuiteError
from evaluators.suites.scorers import Answer, Case, Scored, scorer_named
from evaluators.suites.scorers.abstention import abstains, refuses
from evaluators.suites.scorers.calls import CallFields, calls_in, offered_tools
from evaluators.suites.scorers.choice import label_of, letter_of
from evaluators.suites.scorers.constraints import sentences
from evaluators.suites.scorers.numeric import final_number, flexible_match, gsm8k_equal, strict_match
from evaluators.suites.scorers.text import Ignoring, contains, normalised

GSM8K = Path(__file__).parents[4] / "shared" / "data" / "gsm8k" / "test.jsonl"


def scored(name: str, answer: str, options: dict[str, Any] | None = None, **fields: Any) -> Scored:
    scorer = scorer_named(name)
    offered = {"labels": fields["labels"]} if "labels" in fields else {}
    case = Case(
        fields=scorer.fields.model_validate(fields),
        options=scorer.options.model_validate(options or {}),
        language=fields.get("language", ""),
        item=fields,
        offered=offered,
        allow_code=True,
    )
    return scorer.score(Answer(text=answer), case)


def metric(name: str, answer: str, options: dict[str, Any] | None = None, **fields: Any) -> float | None:
    found = scored(name, answer, options, **fields)
    return found.metrics[scorer_named(name).metrics[0]]


def test_an_unknown_scorer_names_the_nearest() -> None:
    with pytest.raises(SuiteError, match="did you mean 'numeric'"):
        scorer_named("numerik")


@pytest.mark.parametrize(
    ("a", "b", "ignoring", "same"),
    [
        ("서울", "서울", Ignoring(), True),  # composed and decomposed
        ("１２３", "123", Ignoring(), True),
        ("Seoul.", "seoul", Ignoring(), True),
        ("서울은", "서울", Ignoring(), False),
        ("서울은", "서울", Ignoring(particles=True), True),
        ("나이", "나", Ignoring(particles=True), False),  # one syllable stays as it is
        ("서울 특별시", "서울특별시", Ignoring(), False),
        ("서울 특별시", "서울특별시", Ignoring(spaces=True), True),
        ("1,234원", "1234원", Ignoring(), True),
        ("3.5", "35", Ignoring(), False),
        ("-3", "3", Ignoring(), False),
        ("C++", "C", Ignoring(), False),
    ],
)
def test_normalised_texts(a: str, b: str, ignoring: Ignoring, same: bool) -> None:
    assert (normalised(a, ignoring) == normalised(b, ignoring)) is same


def test_a_mention_is_a_whole_word_in_english_and_may_carry_a_particle_in_korean() -> None:
    assert contains("The capital is Paris.", "Paris")
    assert not contains("Parisian life", "Paris")
    assert not contains("in 2019", "201")
    assert contains("수도는 서울입니다", "서울")
    assert contains("10,000원이다", "10000원")


@pytest.mark.parametrize(
    ("answer", "strict", "flexible"),
    [
        ("#### 7", "7", "7"),
        ("The answer is $1,234.50.", "[invalid]", "$1,234.50."),
        ("It is -3", "[invalid]", "-3"),
        ("#### 1,000", "1,000", "1,000"),
        ("none", "[invalid]", "[invalid]"),
    ],
)
def test_gsm8k_is_read_as_lm_eval_reads_it(answer: str, strict: str, flexible: str) -> None:
    assert (strict_match(answer), flexible_match(answer)) == (strict, flexible)


def lm_eval_scores(answers: list[str], targets: list[str]) -> list[tuple[float, float]]:
    """(strict, flexible) by lm-eval's own filters and metric, with the settings of its gsm8k.yaml."""
    from lm_eval.api.metrics import exact_match_fn
    from lm_eval.filters.extraction import RegexFilter

    filters = (
        RegexFilter("#### (\\-?[0-9\\.\\,]+)"),
        RegexFilter("(-?[$0-9.,]{2,})|(-?[0-9]+)", group_select=-1),
    )
    read = [
        [row[0] for row in each.apply([[answer] for answer in answers], [{}] * len(answers))]
        for each in filters
    ]
    ignored = [",", "\\$", "(?s).*#### ", "\\.$"]
    return [
        tuple(  # type: ignore[misc]
            float(
                exact_match_fn(
                    predictions=[column[place]], references=[target], ignore_case=True, ignore_punctuation=False,
                    regexes_to_ignore=ignored,
                )["exact_match"]
            )
            for column in read
        )
        for place, target in enumerate(targets)
    ]  # fmt: skip


ODD = [
    "#### 18", "So she makes 9 * 2 = $18 every day.\n#### 18", "#### 18.", "18 dollars", "#### $18", "1,8", "", "...",
    "####18", "She has 3. Then 18.", "#### 18\n#### 19", "-18", "The total is 18.00", "18!", "#### 1 8",
    "답은 18입니다",
]  # fmt: skip


def test_gsm8k_scores_equal_lm_evals_on_the_same_generations() -> None:
    targets = ["9 * 2 = 18\n#### 18"] * len(ODD)
    expected = lm_eval_scores(ODD, targets)
    ours = [
        scored("numeric", answer, target=target).metrics for answer, target in zip(ODD, targets, strict=True)
    ]
    assert [(found["strict"], found["flexible"]) for found in ours] == expected
    assert 0 < sum(strict for strict, _ in expected) < sum(flexible for _, flexible in expected)


@pytest.mark.shared
@pytest.mark.skipif(not GSM8K.exists(), reason="not run: ../shared/data/gsm8k is not here")
def test_gsm8k_scores_equal_lm_evals_on_its_whole_test_set() -> None:
    rows = [json.loads(line) for line in GSM8K.read_text(encoding="utf-8").split("\n") if line.strip()]
    answers, targets = [], []
    for place, row in enumerate(rows):
        other = rows[(place * 7 + 1) % len(rows)]["answer"]
        shapes = (
            row["answer"],
            row["answer"].replace("#### ", "The answer is $") + ".",
            other,
            row["question"],
        )
        answers.append(shapes[place % 4])
        targets.append(row["answer"])
    expected = lm_eval_scores(answers, targets)
    ours = [
        (
            float(gsm8k_equal(strict_match(answer), target)),
            float(gsm8k_equal(flexible_match(answer), target)),
        )
        for answer, target in zip(answers, targets, strict=True)
    ]
    assert ours == expected
    assert 0.2 < sum(strict for strict, _ in expected) / len(rows) < sum(f for _, f in expected) / len(rows)


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("The answer is $1,234.50.", "1234.5"),
        ("답은 3만 5천 원입니다", "35000"),
        ("1억 2천만 원", "120000000"),
        ("총 12만원", "120000"),
        ("2만큼 크다", "2"),
        ("10-3 = 7", "7"),
        ("정답은 7개입니다. 10개에서 3개를 뺐으니까요.", "7"),
        ("\\boxed{42}", "42"),
        ("1/2", "0.5"),
        ("３５", "35"),
        ("-4", "-4"),
    ],
)
def test_final_numbers(answer: str, value: str) -> None:
    assert str(final_number(answer)).startswith(value)
    assert metric("numeric", answer, target=value) == 1


def test_letters_and_labels() -> None:
    choices = ["apples", "pears", "plums"]
    for answer in ("B", "(B)", "B. pears", "The answer is B.", "정답은 B입니다", "pears", "**B**"):
        assert letter_of(answer, choices) == 1, answer
    for answer in ("A or B", "A fruit", "apples and pears", "I cannot say", ""):
        assert letter_of(answer, choices) is None, answer
    labels = ["positive", "very positive", "negative"]
    assert label_of("Very positive!", labels) == "very positive"
    assert label_of("It is very positive", labels) == "very positive"
    assert label_of("Label: negative", labels) == "negative"
    assert label_of("positive or negative", labels) is None
    assert label_of("감정은 부정입니다", ["긍정", "부정"]) == "부정"


def test_choices_by_loglikelihood_with_and_without_length() -> None:
    scorer = scorer_named("choice")
    case = Case(
        fields=scorer.fields.model_validate({"choices": ["a", "a long one"], "target": 1}),
        options=scorer.options(),
    )
    found = scorer.score(Answer(choices=((-2.0, 1, False), (-5.0, 3, False))), case)
    assert found.metrics == {"acc": 0.0, "acc_norm": 1.0}
    with pytest.raises(ValidationError, match="none of the choices"):
        scorer.fields.model_validate({"choices": ["a", "b"], "target": "c"})


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
    assert metric("code", "def double(x):\n    while True: pass", {"seconds": 1}, tests=tests) == 0
    assert (
        metric("code", "def double(x):\n    return len(bytearray(3 << 30))", {"seconds": 5}, tests=tests) == 0
    )
    fork = scored("code", "import os\nos.fork()\ndef double(x): return 2 * x", {"seconds": 5}, tests=tests)
    assert fork.metrics["passed"] == 0


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


def test_rubric_grades_come_from_the_judge_and_unparsed_is_no_grade() -> None:
    scorer = scorer_named("rubric")

    def case(grade: float | None) -> Case:
        return Case(scorer.fields(), scorer.options(), judge=lambda item, answer: (grade, {"said": answer}))

    assert scorer.score(Answer(text="x"), case(0.5)).metrics == {"grade": 0.5, "unparsed": 0.0}
    assert scorer.score(Answer(text="x"), case(None)).metrics == {"grade": None, "unparsed": 1.0}
