"""Scorers of texts, numbers and choices: what counts as right, in English and Korean."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from evaluators.suites.errors import SuiteError
from evaluators.suites.scorers import Answer, Case, scorer_named
from evaluators.suites.scorers.choice import label_of, letter_of
from evaluators.suites.scorers.numeric import final_number, flexible_match, gsm8k_equal, strict_match
from evaluators.suites.scorers.text import Ignoring, contains, normalised
from tests.evaluators.suites.scoring import metric, scored

GSM8K = Path(__file__).parents[4] / "shared" / "data" / "gsm8k" / "test.jsonl"


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
