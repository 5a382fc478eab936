"""What replies say: ours, FastChat's and AlpacaEval's forms, probabilities, and published numbers."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import pytest

from arena.engines.base import TokenLogprob
from evaluators.judge import load_prompts, load_rubric, own_prompts
from evaluators.judge.prompts import BadJudgePrompts, JudgePrompt, ShownTurn, ask_again, show
from evaluators.judge.reading import read_grade, read_pair, read_rubric
from evaluators.judge.verdicts import grades_outcome, jury_verdict, pair_outcome
from results.ids import new_id
from results.store.judging import JudgeCall

SHARED = Path(__file__).parents[4] / "shared" / "data"
PAIR = own_prompts().choose("pairwise", "en", 1)
GRADE = own_prompts().choose("single", "en", 1)


@pytest.mark.parametrize(
    ("reply", "label", "expected"),
    [
        ("A is better. [[A]]", "A", "first"),
        ("A is better. [[A]]", "B", "second"),
        ("형식은 [[A]], [[B]], [[C]]. 최종 판정: [[B]]", "A", "second"),  # the form quoted, then the verdict
        ("[[C]]", "B", "tie"),
        ("[[ A ]]\n\n이유: 답변 A가 더 정확합니다.", "A", "first"),
        ("`[A]`", "A", None),
        ("따라서 **A**가 더 나은 답변입니다.", "A", None),
        ("[[D]]", "A", None),
        ("[[AB]]", "A", None),
        ("", "A", None),
    ],
)
def test_the_last_verdict_of_a_reply_counts_and_nothing_is_guessed(
    reply: str, label: str, expected: str | None
) -> None:
    reading = read_pair(PAIR, reply, first_label=label)
    assert reading.choice == expected
    assert reading.status == ("unparsed" if expected is None else "parsed")


@pytest.mark.parametrize(
    "reply",
    [
        "I'm sorry, but I can't compare these.", "I cannot judge this content.",
        "죄송하지만 이 요청은 평가할 수 없습니다.",
        "As an AI language model, I am unable to choose.",
    ],
)  # fmt: skip
def test_refusals_are_told_apart_from_unreadable_replies(reply: str) -> None:
    assert read_pair(PAIR, reply).status == "refused"
    assert read_grade(GRADE, reply).status == "refused"
    assert read_pair(PAIR, reply + " [[A]]").status == "parsed"


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("Rating: [[7]]", 7), ("[[6]]\n\nRating: [[7]]", 7), ("[[7.5]]", 7.5), ("[[Rating: 8]]", 8),
        ("[[1]]", 1), ("[[10]]", 10),
        ("[[0]]", None), ("[[11]]", None), ("[[-3]]", None), ("[[Rating: [7]]]", None),
        ("7/10", None), ("[[rating]]: 7", None),
        ("배열은 [3, 4]이고 6점으로 평가합니다.", None),
    ],
)  # fmt: skip
def test_grades_outside_the_scale_or_the_form_are_unparsed(reply: str, score: float | None) -> None:
    reading = read_grade(GRADE, reply)
    assert (reading.status, reading.score) == ("unparsed" if score is None else "parsed", score)


def test_a_rubric_needs_every_criterion() -> None:
    criteria = load_rubric().criteria
    whole = read_rubric("correctness: [[8]]\n**helpfulness**: [[6]]\n- Clarity: good, so [[10]]", criteria)
    assert whole.score == pytest.approx((3 * 8 + 2 * 6 + 1 * 10) / 6)
    partial = read_rubric("correctness: [[8]]\nhelpfulness: [[60]]", criteria)
    assert (partial.status, partial.score) == ("unparsed", None)
    assert partial.grades == {"correctness": 8.0, "helpfulness": None, "clarity": None}


def token(text: str, **top: float) -> TokenLogprob:
    told = tuple((name.replace("_", " "), math.log(share)) for name, share in top.items())
    return TokenLogprob(token=text, logprob=dict(told).get(text, 0.0), top=told)


def test_verdict_probabilities_come_from_the_verdicts_own_token() -> None:
    tokens = [
        token("B", A=0.9, B=0.1),
        token(" is better ["),
        token("["),
        token("A", A=0.6, B=0.2, C=0.1, D=0.1),
        token("]]"),
    ]
    reading = read_pair(PAIR, "B is better [[A]]", logprobs=tokens)
    assert reading.probabilities == pytest.approx({"first": 0.6 / 0.9, "second": 0.2 / 0.9, "tie": 0.1 / 0.9})
    swapped = read_pair(PAIR, "B is better [[A]]", first_label="B", logprobs=tokens)
    assert swapped.probabilities is not None
    assert swapped.probabilities["second"] == pytest.approx(0.6 / 0.9)


def test_the_expected_grade_handles_ten_in_two_tokens() -> None:
    whole = [token("[["), token("7", **{"7": 0.5, "8": 0.3, "10": 0.2}), token("]]")]
    assert read_grade(GRADE, "[[7]]", logprobs=whole).expected == pytest.approx(0.5 * 7 + 0.3 * 8 + 0.2 * 10)
    digits = [
        token("[["),
        token("1", **{"1": 0.8, "9": 0.2}),
        token("0", **{"0": 0.75, "]]": 0.25}),
        token("]]"),
    ]
    assert read_grade(GRADE, "[[10]]", logprobs=digits).expected == pytest.approx(
        0.6 * 10 + 0.2 * 1 + 0.2 * 9
    )
    unknown = [token("[["), token("9", **{"9": 0.6, "1": 0.4}), token("]]")]
    assert read_grade(GRADE, "[[9]]", logprobs=unknown).expected is None


def call(first: str | None = None, verdict: str | None = None, **fields: object) -> JudgeCall:
    reading = fields.pop("reading", "parsed" if verdict or fields.get("score") is not None else "unparsed")
    label = {"first": first, "first_label": fields.pop("label", "A")} if first else {}
    return JudgeCall.model_validate(
        {"id": new_id(), "cache_key": "k", "battle_id": new_id(), "turn": 1, "reading": reading, "verdict": verdict,
         **label, **fields}
    )  # fmt: skip


def test_two_orders_make_one_outcome() -> None:
    assert pair_outcome([call("a", "a")]) is None
    assert pair_outcome([call("a", "a"), call("b", "a")]) == ("verdict", "a", 1.0)
    assert pair_outcome([call("a", "a"), call("b", "b")]) == ("inconsistent", "tie", 0.5)
    assert pair_outcome([call("a", "tie"), call("b", "b")]) == ("inconsistent", "tie", 0.25)
    assert pair_outcome([call("a", "a", expected=0.9), call("b", "a", expected=0.6)]) == (
        "verdict",
        "a",
        0.75,
    )
    assert pair_outcome([call("a", "a"), call("b")]) == ("unparsed", None, None)
    assert pair_outcome([call("a", reading="refused"), call("b")]) == ("refused", None, None)
    assert pair_outcome([call("a", reading="failed"), call("b", "b")]) == ("failed", None, None)
    swapped = [call("a", "b", label="B"), call("b", "b", label="B")]
    assert pair_outcome([call("a", "a"), call("b", "a"), *swapped]) == ("verdict", "a", 1.0)


def test_grades_make_an_outcome_of_means_over_turns() -> None:
    graded = [
        call(side="a", score=8.0),
        call(side="a", score=6.0),
        call(side="b", score=7.0),
        call(side="b", score=7.1),
    ]
    status, verdict, expected = grades_outcome(graded, 2, "single", 0.1) or ("", None, None)
    assert (status, verdict) == ("verdict", "tie")
    assert expected == pytest.approx(1 / (1 + math.exp(0.05)))
    assert grades_outcome(graded[:3], 2, "single", 0.1) is None
    assert grades_outcome([call(side="a", score=8.0), call(side="b")], 1, "single", 0.1) == (
        "unparsed",
        None,
        None,
    )


def test_a_jury_weighs_and_says_nothing_without_a_majority_present() -> None:
    equal = {"x": 1.0, "y": 1.0, "z": 1.0}
    assert jury_verdict({"x": ("a", 1.0), "y": ("a", 0.8), "z": ("b", 0.0)}, equal)[:2] == ("verdict", "a")
    assert jury_verdict({"x": ("a", 1.0), "y": ("b", 0.0)}, equal)[:2] == ("verdict", "tie")
    assert jury_verdict({"x": ("a", 1.0)}, equal) == ("unparsed", None, None)
    heavy = {"x": 3.0, "y": 1.0, "z": 1.0}
    assert jury_verdict({"x": ("b", 0.0), "y": ("a", 1.0), "z": ("a", 1.0)}, heavy)[:2] == ("verdict", "b")


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("mode", ["pairwise", "reference", "single", "rubric"])
@pytest.mark.parametrize("turns", [1, 2])
@pytest.mark.parametrize("explain", [True, False])
def test_own_prompts_show_everything_and_nothing_twice(
    language: str, mode: str, turns: int, explain: bool
) -> None:
    prompts = own_prompts(explain=explain)
    prompt = prompts.choose(mode, language, turns, reference=True)  # type: ignore[arg-type]
    assert prompt.language == language
    marks = {
        "question": "질문{x}",
        "reference": "참조{{y}}",
        "answer": "답{%z%}",
        "first": "하나",
        "second": "둘",
    }
    shown = [ShownTurn(**{key: f"{mark}{n}" for key, mark in marks.items()}) for n in range(turns)]
    criteria = load_rubric().criteria
    asked = show(prompts, prompt, shown, first_label="B", criteria=criteria)
    text = asked.messages[-1].content
    wanted = {
        "pairwise": ["question", "first", "second"],
        "reference": ["question", "reference", "first", "second"],
    }
    for key in wanted.get(mode, ["question", "reference", "answer"]):
        for number in range(turns):
            assert text.count(f"{marks[key]}{number}") == 1
    if prompt.is_pair:
        labels = [f"### {'Answer' if language == 'en' else '답변'} {label}" for label in "BA"]
        assert text.index(labels[0]) < text.index("하나0") < text.index(labels[1]) < text.index("둘0")
    tighter = ask_again(prompt, asked, "", criteria)
    assert [message.role for message in tighter.messages] == ["system", "user", "assistant", "user"]
    assert "[[" in tighter.messages[-1].content or prompt.mode == "single"


def test_fastchats_prompts_load_as_they_are(tmp_path: Path) -> None:
    rows = [
        {"name": "pair-v2", "type": "pairwise", "system_prompt": "Judge.", "prompt_template":
         "[User Question]\n{question}\n\n[A]\n{answer_a}\n\n[B]\n{answer_b}", "output_format": "[[A]]"},
        {"name": "single-math-v1-multi-turn", "type": "single", "system_prompt": "",
         "prompt_template": "{question_1}|{ref_answer_1}|{answer_1}|{question_2}|{ref_answer_2}|{answer_2}"},
    ]  # fmt: skip
    file = tmp_path / "judge_prompts.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    prompts = load_prompts(file)
    pair = prompts.choose("pairwise", "ko", 1)
    asked = show(prompts, pair, [ShownTurn("{answer_a}?", first="하나 {question}", second="둘")])
    assert asked.messages[1].content == "[User Question]\n{answer_a}?\n\n[A]\n하나 {question}\n\n[B]\n둘"
    assert not pair.labels_swap
    single = prompts.choose("single", "en", 2, reference=True)
    shown = [ShownTurn("q1", "r1", "a1"), ShownTurn("q2", "r2", "a2")]
    assert show(prompts, single, shown).messages[0].content == "q1|r1|a1|q2|r2|a2"
    with pytest.raises(BadJudgePrompts, match="several turns"):
        prompts.choose("pairwise", "en", 2)
    file.write_text('{"name": "x"}\n', encoding="utf-8")
    with pytest.raises(BadJudgePrompts, match="line 1"):
        load_prompts(file)


def alpaca(folder: Path, body: str, config: str = "") -> JudgePrompt:
    file = folder / "prompt.txt"
    file.write_text(
        f"<|im_start|>system\nYou rank.\n<|im_end|>\n<|im_start|>user\n{body}\n<|im_end|>\n", encoding="utf-8"
    )
    if config:
        (folder / "configs.yaml").write_text(config, encoding="utf-8")
    (prompt,) = load_prompts(file).prompts
    return prompt


def test_alpaca_evals_prompts_load_as_they_are(tmp_path: Path) -> None:
    body = (
        '{\n "instruction": """{instruction}""",\n}\n{"model_identifier": "m", "output": """{output_1}"""}, '
        '{"model_identifier": "M", "output": """{output_2}"""}'
    )
    prompt = alpaca(tmp_path, body)
    assert read_pair(prompt, "m").choice == "first"
    assert read_pair(prompt, "M\n").choice == "second"
    assert read_pair(prompt, "model m").status == "unparsed"
    likely = [token("m", m=0.7, M=0.2, other=0.1)]
    assert read_pair(prompt, "m", logprobs=likely).probabilities == pytest.approx(
        {"first": 7 / 9, "second": 2 / 9, "tie": 0}
    )
    ranking = alpaca(tmp_path, "model_1 {instruction} {output_1} {output_2} rank")
    assert (
        read_pair(ranking, "[{'model': 'model_1', 'rank': 2}, {'model': 'model_2', 'rank': 1}]").choice
        == "second"
    )
    assert read_pair(ranking, "__import__('os')").status == "unparsed"
    config = (
        'mine:\n  prompt_template: "mine/prompt.txt"\n  fn_completion_parser: "regex_parser"\n'
        "  completion_parser_kwargs:\n    outputs_to_match:\n"
        "      1: '(?:^|\\n) ?Output \\(a\\)'\n      2: '(?:^|\\n) ?Output \\(b\\)'\n"
    )
    patterns = alpaca(tmp_path, "{instruction} {output_1} {output_2}", config)
    assert read_pair(patterns, "Output (b) is better").choice == "second"
    assert read_pair(patterns, "Output (a)\nOutput (b)").status == "unparsed"


def test_alpaca_evals_prompts_for_several_pairs_are_refused_with_a_way_out(tmp_path: Path) -> None:
    pair = "## Instruction: {instruction}\nOutput (a): {output_1}\nOutput (b): {output_2}\n"
    with pytest.raises(
        BadJudgePrompts, match=r"shows 5 pairs at once.*\.\.\._b1_\.\.\. instead of \.\.\._b5_"
    ):
        alpaca(tmp_path, pair * 5)
    assert alpaca(tmp_path, pair).mode == "pairwise"


# Published with the data: inconsistent pairs of all that could be read, and the mean of the grades that could be.
PUBLISHED = {"en": (951, 1200, 7.81, 960), "ko": (539, 1196, 6.60, 915)}


@pytest.mark.shared
@pytest.mark.parametrize("language", ["en", "ko"])
def test_published_numbers_of_the_korean_mt_bench_come_out_of_our_parser(language: str) -> None:
    folder = SHARED / "korean_mt_bench" / language / "judgments" / "qwen" / "judge_7B"
    if not folder.is_dir():
        pytest.skip(f"the reference data is not here: {folder}")
    prompts = load_prompts(SHARED / "fastchat_mtbench" / "judge_prompts.jsonl")
    statuses: Counter[str] = Counter()
    for file in sorted((folder / "pairwise").iterdir()):
        for line in filter(None, file.read_text(encoding="utf-8").split("\n")):
            row = json.loads(line)
            prompt = prompts.choose("pairwise", language, row["turn"])
            calls = []
            for first, reply in (("a", row["judgment_ab"]), ("b", row["judgment_ba"])):
                choice = read_pair(prompt, reply).choice
                other = "b" if first == "a" else "a"
                verdict = None if choice is None else {"first": first, "second": other, "tie": "tie"}[choice]
                calls.append(call(first, verdict))
            status, _, _ = pair_outcome(calls) or ("open", None, None)
            statuses["unparsed" if status == "refused" else status] += 1
    scores = []
    for file in sorted((folder / "single_grade").iterdir()):
        for line in filter(None, file.read_text(encoding="utf-8").split("\n")):
            row = json.loads(line)
            for turn in (1, 2):
                reading = read_grade(prompts.choose("single", language, turn), row[f"judgment_turn{turn}"])
                if reading.score is not None:
                    scores.append(reading.score)
    inconsistent, valid, mean, graded = PUBLISHED[language]
    assert (statuses["inconsistent"], statuses["inconsistent"] + statuses["verdict"]) == (inconsistent, valid)
    assert (len(scores), round(sum(scores) / len(scores), 2)) == (graded, mean)
