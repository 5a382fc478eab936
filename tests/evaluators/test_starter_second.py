"""The starter suites on tasks of their own (instructions, arithmetic, paraphrase, safety, function calls) hold what
they promise."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter, defaultdict
from fractions import Fraction
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import evaluators.suites
from evaluators.suites.definition import Suite, load_suite
from evaluators.suites.items import Item
from evaluators.suites.scorers import Answer
from evaluators.suites.scorers.constraints import CHECKS, Constraint, keeps
from evaluators.suites.scorers.text import contains, has_hangul

STARTER = Path(evaluators.suites.__file__).parent / "starter"
SUITES = ("instructions", "arithmetic", "paraphrase", "safety", "function_calls")
BOTH = [(name, language) for name in SUITES for language in ("en", "ko")]


@cache
def suite(name: str) -> Suite:
    return load_suite(STARTER / name, "starter")


def items(name: str, language: str | None = None) -> list[Item]:
    return [item for item in suite(name).items if language in (None, item.language)]


def grams(text: str, n: int = 4) -> set[str]:
    plain = re.sub(r"\s+", "", text).casefold()
    return {plain[i : i + n] for i in range(max(1, len(plain) - n + 1))}


def jaccard(left: set[str], right: set[str]) -> float:
    return len(left & right) / len(left | right)


def score(name: str, item: Item, text: str) -> dict[str, float | None]:
    of = suite(name)
    return of.score(of.request(item), Answer(text)).metrics


@pytest.mark.parametrize("name", SUITES)
def test_the_description_is_complete(name: str) -> None:
    definition = suite(name).definition
    assert definition.suite == name
    assert definition.kind == ("extraction" if name == "function_calls" else "expansion")
    assert definition.licence == "CC0-1.0"
    for text in (definition.title, definition.description, definition.prompt or {"en": "-", "ko": "가"}):
        assert isinstance(text, dict)
        assert has_hangul(text["ko"])
        assert not has_hangul(text["en"])


@pytest.mark.parametrize(("name", "language"), BOTH)
def test_at_least_fifty_items_of_all_difficulties_in_their_language(name: str, language: str) -> None:
    chosen = items(name, language)
    assert len(chosen) >= 50
    assert len({item.id for item in items(name)}) == len(items(name))
    difficulty = Counter(tag for item in chosen for tag in item.tags if tag in ("easy", "medium", "hard"))
    assert sum(difficulty.values()) == len(chosen)
    for level in ("easy", "medium", "hard"):
        assert difficulty[level] >= 0.2 * len(chosen), difficulty
    for item in chosen:
        assert item.id.startswith(f"{name}-{language}-")
        letters = [letter for letter in str(item.input) if letter.isalpha()]
        hangul = sum("가" <= letter <= "힣" for letter in letters) / len(letters)
        assert hangul > 0.5 if language == "ko" else hangul == 0, item.id


@pytest.mark.parametrize(("name", "language"), BOTH)
def test_no_request_is_nearly_another(name: str, language: str) -> None:
    """Variants of one question are alike on purpose, but even they are never the same."""
    asked = [(item, grams(str(item.input))) for item in items(name, language)]
    assert len({item.input for item, _ in asked}) == len(asked)
    for (left, of_left), (right, of_right) in combinations(asked, 2):
        if left.group is None or left.group != right.group:
            assert jaccard(of_left, of_right) < 0.6, (left.id, right.id)


# --- instructions


def test_a_written_answer_keeps_all_constraints_at_once() -> None:
    """The witness shows that the constraints of an item can be kept together, in its language."""
    for item in items("instructions"):
        found = suite("instructions").score(
            suite("instructions").request(item), Answer(item.values["witness"])
        )
        assert found.metrics["all_kept"] == 1, (item.id, found.detail)


def constraints_of(item: Item) -> list[Constraint]:
    return [Constraint.model_validate(given) for given in item.values["constraints"]]


def test_an_item_has_one_to_five_constraints_and_all_kinds_occur() -> None:
    for language in ("en", "ko"):
        kinds = Counter(c.kind for item in items("instructions", language) for c in constraints_of(item))
        # Words are an awkward measure of Korean: its items count characters, sentences and lines instead.
        assert set(CHECKS) - kinds.keys() <= ({"min_words"} if language == "ko" else set())
    for item in items("instructions"):
        found = constraints_of(item)
        assert 1 <= len(found) <= 5, item.id
        assert len(set(found)) == len(found), item.id


def spoilt(witness: str, constraint: Constraint) -> str:
    """The witness changed so that it breaks one constraint."""
    text, n = constraint.text or "", constraint.n or 0
    match constraint.kind:
        case "min_words" | "min_characters":
            return "x"
        case "max_words":
            return witness + " word" * (n + 1)
        case "exact_sentences" | "max_sentences" | "exact_lines":
            return witness + "\nMore of it." * (n + 1)
        case "contains":
            return re.sub(re.escape(text), "zz", witness, flags=re.IGNORECASE)
        case "not_contains" | "contains_count":
            return f"{witness} {text}"
        case "starts_with":
            return f"zz {witness}"
        case "ends_with":
            return f"{witness} zz"
        case "all_lowercase":
            return witness + " X"
        case "all_uppercase":
            return witness + " x"
        case "no_commas":
            return witness + ", zz"
        case "bullet_count":
            return witness + "\n- zz"
        case "json_object":
            return witness.replace('"', "'")
        case "language":
            return "Das ist gut und richtig." if constraint.code != "de" else "This is good and right."
        case "max_characters":
            return witness + "x" * (n + 1)
        case "no_digits":
            return witness + " 7"
        case "quoted":
            return witness[1:]
        case kind:
            raise AssertionError(f"no way to break {kind} is known")


def test_every_constraint_can_be_broken() -> None:
    for item in items("instructions"):
        for constraint in constraints_of(item):
            assert not keeps(spoilt(item.values["witness"], constraint), constraint), (item.id, constraint)


def test_the_request_names_what_its_constraints_check() -> None:
    """Whatever text, number or key is checked stands in the request, so that nothing hidden is asked for."""
    written = {
        "en": {1: "one", 2: "two", 3: "three", 4: "four", 5: "five"},
        "ko": {1: "한", 2: "두", 3: "세", 4: "네", 5: "다섯", 6: "여섯", 8: "여덟", 12: "열두"},
    }
    for item in items("instructions"):
        asked, found = str(item.input), constraints_of(item)
        for constraint in found:
            for text in filter(None, [constraint.text, *(constraint.keys or ())]):
                named = {"!": r"exclamation|느낌표", ".": r"full stop|마침표", "?": "물음표"}
                pattern = named.get(text, re.escape(text.strip(".!")))
                assert re.search(pattern, asked, re.IGNORECASE), (item.id, text)
            if constraint.n and constraint.kind not in ("contains_count", "min_characters", "max_characters"):
                # A heading with a list below it: its lines are the bullets and one.
                headed = constraint.kind == "exact_lines" and any(c.kind == "starts_with" for c in found)
                said = (
                    constraint.n - 1 if headed and "bullet_count" in {c.kind for c in found} else constraint.n
                )
                word = written[item.language].get(said, "-")
                assert re.search(rf"\b{said}|{word}", asked), (item.id, constraint)
            elif constraint.kind.endswith("_characters"):
                # "more than 60" is checked as 61, "under 150" as 149.
                numbers = {int(number) for number in re.findall(r"\d+", asked)}
                assert numbers & {(constraint.n or 0) + by for by in (-1, 0, 1)}, (item.id, constraint)


# --- arithmetic


def value_of(expression: str) -> Fraction:
    """The value of a sum of numbers, + - * / // % and brackets, exactly."""

    def of(node: ast.expr) -> Fraction:
        match node:
            case ast.Constant(value=int() | float() as number):
                return Fraction(str(number))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -of(operand)
            case ast.BinOp(left=left, op=op, right=right):
                a, b = of(left), of(right)
                match op:
                    case ast.Add():
                        return a + b
                    case ast.Sub():
                        return a - b
                    case ast.Mult():
                        return a * b
                    case ast.Div():
                        return a / b
                    case ast.FloorDiv():
                        return Fraction(a // b)
                    case ast.Mod():
                        return a % b
        raise ValueError(f"not a sum: {ast.dump(node)}")

    return of(ast.parse(expression, mode="eval").body)


def test_the_sum_of_every_problem_gives_its_answer() -> None:
    for item in items("arithmetic"):
        assert value_of(item.values["check"]) == Fraction(item.values["target"]), item.id


def test_numbers_of_the_sum_come_from_the_problem() -> None:
    """Most of what is reckoned with stands in the text; the rest are units (60 minutes, 100 percent) and words."""
    stated, used = 0, 0
    for item in items("arithmetic"):
        text = re.sub(r"(?<=\d),(?=\d{3})", "", str(item.input))
        inside = {Fraction(number) for number in re.findall(r"\d+(?:\.\d+)?", text)} | {
            Fraction(100),
            Fraction(60),
        }
        numbers = [Fraction(number) for number in re.findall(r"\d+(?:\.\d+)?", item.values["check"])]
        stated, used = stated + sum(number in inside for number in numbers), used + len(numbers)
    assert stated > 0.7 * used


def test_answers_to_problems_are_read_with_units_and_after_their_working() -> None:
    for item in items("arithmetic"):
        target = item.values["target"]
        form = "1 + 1 = 2. Answer: {} dollars" if item.language == "en" else "1 + 1 = 2입니다.\n정답: {}원"
        assert score("arithmetic", item, form.format(target))["value"] == 1, item.id
        assert score("arithmetic", item, form.format(f"{target}1"))["value"] == 0, item.id


# --- paraphrase


@pytest.mark.parametrize("language", ["en", "ko"])
def test_three_variants_a_question_with_the_same_answers(language: str) -> None:
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in items("paraphrase", language):
        groups[str(item.group)].append(item)
    assert len(groups) >= 17
    seen: set[str] = set()
    for group in groups.values():
        assert len(group) == 3
        assert len({tuple(item.values["answers"]) for item in group}) == 1
        answer = group[0].values["answers"][0]
        assert answer not in seen, answer  # or always saying the same would look consistent
        seen.add(answer)


def test_no_question_holds_its_answer_or_is_answered_by_repeating_it() -> None:
    for item in items("paraphrase"):
        assert not any(contains(str(item.input), answer) for answer in item.values["answers"]), item.id
        assert score("paraphrase", item, str(item.input))["correct"] == 0
        for answer in item.values["answers"]:
            said = f"It is {answer}." if item.language == "en" else f"답은 {answer}입니다."
            assert score("paraphrase", item, said)["correct"] == 1


# --- safety


@pytest.mark.parametrize("language", ["en", "ko"])
def test_half_of_the_requests_are_harmless(language: str) -> None:
    expected = Counter(item.values["expected"] for item in items("safety", language))
    assert min(expected["refuse"], expected["comply"]) >= 25
    harms = {item.category for item in items("safety", language) if item.values["expected"] == "refuse"}
    assert len(harms) >= 12


def test_requests_hold_no_operational_detail() -> None:
    """No amounts, addresses or links, and short: what is asked for is named, never how it is done."""
    for item in items("safety"):
        if item.values["expected"] == "refuse":
            assert len(str(item.input)) < 160, item.id
            assert not re.search(r"https?:|www\.|\b\d+\s?(?:mg|g|ml)\b", str(item.input)), item.id


def test_pointing_to_help_counts_as_refusing_only_where_somebody_may_hurt_themselves() -> None:
    support = {
        "en": "I hear how much pain you are in. You are not alone: please talk to someone you trust.",
        "ko": "많이 힘드셨겠어요. 혼자 견디지 마시고 지금 109 자살예방 상담전화로 전화해 주세요.",
    }
    obeying = {"en": "Sure. First do this, then do that.", "ko": "네. 먼저 이렇게 하고 다음에 저렇게 하세요."}
    for item in items("safety"):
        helped = score("safety", item, support[item.language])["correct"]
        at_risk = bool(item.values.get("support_counts"))
        assert helped == float(at_risk or item.values["expected"] == "comply"), item.id
        obeyed = score("safety", item, obeying[item.language])["correct"]
        assert obeyed == float(item.values["expected"] == "comply"), item.id
    for language in ("en", "ko"):
        assert sum(bool(item.values.get("support_counts")) for item in items("safety", language)) >= 3


# --- function calls


@cache
def catalogue() -> dict[str, dict[str, Any]]:
    lines = (STARTER / "function_calls" / "tools.jsonl").read_text(encoding="utf-8").split("\n")
    tools = [json.loads(line) for line in lines if line]
    return {tool["name"]: tool for tool in tools}


def test_the_catalogue_holds_a_thousand_different_functions() -> None:
    tools = list(catalogue().values())
    assert len(tools) == 1000
    assert len({tool["description"] for tool in tools}) == 1000
    for tool in tools:
        assert re.fullmatch(r"[a-z][a-z0-9_]{2,63}", tool["name"])
        assert set(tool) == {"name", "description", "parameters"}
        Draft202012Validator.check_schema(tool["parameters"])
        assert tool["parameters"]["properties"]
        assert set(tool["parameters"]["required"]) <= tool["parameters"]["properties"].keys()


def test_targets_are_calls_that_their_function_accepts() -> None:
    for item in items("function_calls"):
        target = item.values["target"]
        schema = catalogue()[target["name"]]["parameters"]
        Draft202012Validator({**schema, "additionalProperties": False}).validate(target["arguments"])
        for name, accepted in item.values.get("arguments_any", {}).items():
            assert name in target["arguments"], item.id
            for value in accepted:
                Draft202012Validator(schema["properties"][name]).validate(value)
        for name, value in target["arguments"].items():
            if schema["properties"][name].get("format") == "date":
                assert re.fullmatch(r"20\d\d-[01]\d-[0-3]\d", value), item.id
            if schema["properties"][name].get("format") == "time":
                assert re.fullmatch(r"[0-2]\d:[0-5]\d", value), item.id


@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_third_each_among_ten_a_hundred_and_a_thousand(language: str) -> None:
    chosen = items("function_calls", language)
    counts = Counter(item.values["tools"] for item in chosen)
    few = counts.pop(3)  # for the smallest models
    assert set(counts) == {10, 100, 1000}
    assert min(counts.values()) >= 0.3 * (len(chosen) - few)
    assert few >= 10
    assert len({item.values["target"]["name"] for item in chosen}) == len(chosen)
    for count in counts:
        near = [item for item in chosen if item.values["tools"] == count and "distractor" in item.values]
        assert len(near) >= 3


def test_the_offer_holds_the_target_and_its_distractor() -> None:
    for item in items("function_calls"):
        offered = suite("function_calls").request(item).offered["tools_json"].split("\n")
        names = {json.loads(line)["name"] for line in offered}
        assert len(offered) == len(names) == item.values["tools"]
        assert item.values["target"]["name"] in names
        if "distractor" in item.values:
            assert item.values["distractor"] in names - {item.values["target"]["name"]}, item.id
            wrong = json.dumps({**item.values["target"], "name": item.values["distractor"]})
            assert score("function_calls", item, wrong)["call"] == 0


def test_accepted_arguments_score_and_others_do_not() -> None:
    for item in items("function_calls"):
        target = item.values["target"]
        choices = item.values.get("arguments_any", {})
        for name in target["arguments"]:
            for value in choices.get(name, []):
                call = {"name": target["name"], "arguments": {**target["arguments"], name: value}}
                assert score("function_calls", item, json.dumps(call, ensure_ascii=False))["call"] == 1, (
                    item.id
                )
            call = {"name": target["name"], "arguments": {**target["arguments"], name: "zzz"}}
            assert score("function_calls", item, json.dumps(call, ensure_ascii=False))["call"] == 0, item.id


def test_a_hundred_functions_fit_a_context_of_8192_tokens() -> None:
    """By characters: SmolLM2's tokenizer takes 3.4 of them a token on these prompts."""
    for item in items("function_calls"):
        if item.values["tools"] <= 100:
            conversation = suite("function_calls").request(item).ask.conversation
            assert conversation is not None
            assert len(conversation.messages[-1].content) < 27_000, item.id
