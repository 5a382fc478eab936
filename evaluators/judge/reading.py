"""What a judge's reply says. Nothing is guessed: what is not there in the form asked for is `unparsed`."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Literal

import yaml

from arena.engines.base import TokenLogprob
from evaluators.judge.prompts import Criterion, JudgePrompt

Choice = Literal["first", "second", "tie"]
ReadingStatus = Literal["parsed", "unparsed", "refused"]

_PAIR = re.compile(r"\[\[\s*([ABC])\s*\]\]")
# Also "[[Rating: 7]]"; a number with anything else around it is no grade.
_GRADE = re.compile(r"\[\[\s*(?:rating\s*:\s*)?(\d+(?:\.\d+)?)\s*\]\]", re.IGNORECASE)
_LEAST_MASS = 0.5


@dataclass(frozen=True)
class PairReading:
    """Which slot a reply prefers, and where the probabilities of the tokens are known those of the three verdicts."""

    status: ReadingStatus
    choice: Choice | None = None
    probabilities: dict[Choice, float] | None = None


@dataclass(frozen=True)
class GradeReading:
    """The grade in a reply, and its expectation under the tokens' probabilities. For a rubric `grades` holds every
    criterion's (None where it could not be read), and `score` their weighted mean where all could be."""

    status: ReadingStatus
    score: float | None = None
    expected: float | None = None
    grades: dict[str, float | None] = field(default_factory=dict)


def read_pair(
    prompt: JudgePrompt, reply: str, *, first_label: str = "A", logprobs: Sequence[TokenLogprob] | None = None
) -> PairReading:
    """The verdict of a reply on two answers: the last one in it, since a judge may quote the form first."""
    match prompt.verdicts:
        case "brackets":
            found = list(_PAIR.finditer(reply))
            if not found:
                return PairReading(_unread(reply))
            names = {first_label: "first", "B" if first_label == "A" else "A": "second", "C": "tie"}
            place, label = found[-1].start(1), found[-1].group(1)
        case "identifiers":
            word = re.match(r"\W*(\w+)", reply)
            names = {prompt.marks[0]: "first", prompt.marks[1]: "second"}
            if word is None or word.group(1) not in names:
                return PairReading(_unread(reply))
            place, label = word.start(1), word.group(1)
        case "patterns":
            slots: tuple[Choice, Choice] = ("first", "second")
            hits = [slot for slot, mark in zip(slots, prompt.marks, strict=True) if re.search(mark, reply)]
            return PairReading("parsed", hits[0]) if len(hits) == 1 else PairReading(_unread(reply))
        case "ranking":
            choice = _ranked(reply, prompt.marks)
            return PairReading("parsed", choice) if choice else PairReading(_unread(reply))
    choices: dict[str, Choice] = {name: _as_choice(slot) for name, slot in names.items()}
    return PairReading("parsed", choices[label], _verdict_probabilities(choices, place, logprobs))


def read_grade(
    prompt: JudgePrompt, reply: str, *, logprobs: Sequence[TokenLogprob] | None = None
) -> GradeReading:
    """The grade of a reply: the last one in double brackets. One outside the scale is unparsed."""
    found = list(_GRADE.finditer(reply))
    if not found:
        return GradeReading(_unread(reply))
    score = float(found[-1].group(1))
    if not prompt.lowest <= score <= prompt.highest:
        return GradeReading("unparsed")
    expected = _expected_grade(found[-1], prompt.lowest, prompt.highest, logprobs)
    return GradeReading("parsed", score, expected)


def read_rubric(reply: str, criteria: Sequence[Criterion]) -> GradeReading:
    """The grades of a reply by criterion, each the last one behind the criterion's name on its line. Where one is
    missing or outside its scale the whole is unparsed, and the others are still told."""
    grades: dict[str, float | None] = {}
    for criterion in criteria:
        pattern = re.compile(
            rf"^[\s*#>\-\d.]*{re.escape(criterion.name)}\W{{0,6}}?[^\n\[\]]*{_GRADE.pattern}",
            re.IGNORECASE | re.MULTILINE,
        )
        found = pattern.findall(reply)
        value = float(found[-1]) if found else None
        inside = value is not None and criterion.lowest <= value <= criterion.highest
        grades[criterion.name] = value if inside else None
    read = [grade for grade in grades.values() if grade is not None]
    if len(read) < len(criteria):
        return GradeReading("unparsed" if read else _unread(reply), grades=grades)
    # Scales may differ: each grade counts by its place on its own, brought to the first one's.
    scale = criteria[0]
    shares = sum(
        criterion.weight
        * ((grades[criterion.name] or 0.0) - criterion.lowest)
        / (criterion.highest - criterion.lowest)
        for criterion in criteria
    ) / sum(criterion.weight for criterion in criteria)
    return GradeReading("parsed", scale.lowest + shares * (scale.highest - scale.lowest), grades=grades)


def _as_choice(slot: str) -> Choice:
    if slot == "first":
        return "first"
    return "second" if slot == "second" else "tie"


@cache
def _refusals() -> re.Pattern[str]:
    text = (files("evaluators.judge") / "prompts" / "refusals.yaml").read_text(encoding="utf-8")
    return re.compile("|".join(f"(?:{pattern})" for pattern in yaml.safe_load(text)), re.IGNORECASE)


def _unread(reply: str) -> ReadingStatus:
    """A reply without a verdict is a refusal where its beginning says so."""
    return "refused" if _refusals().search(reply[:400]) else "unparsed"


def _ranked(reply: str, marks: tuple[str, str]) -> Choice | None:
    """AlpacaEval's ranking: a Python list of {'model': ..., 'rank': ...}; equal ranks are a tie."""
    begin, end = reply.find("["), reply.rfind("]")
    if begin < 0 or end < begin:
        return None
    try:
        rows = ast.literal_eval(reply[begin : end + 1])
        ranks = {str(row["model"]): float(row["rank"]) for row in rows}
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError):
        return None
    if not set(marks) <= ranks.keys():
        return None
    first, second = ranks[marks[0]], ranks[marks[1]]
    return "tie" if first == second else "first" if first < second else "second"


def _token_at(logprobs: Sequence[TokenLogprob] | None, place: int) -> int | None:
    """Which token holds the character at `place` of the reply."""
    seen = 0
    for number, token in enumerate(logprobs or ()):
        seen += len(token.token)
        if place < seen:
            return number
    return None


def _alternatives(token: TokenLogprob) -> list[tuple[str, float]]:
    told = dict(token.top)
    told.setdefault(token.token, token.logprob)
    return [(text, math.exp(logprob)) for text, logprob in told.items()]


def _verdict_probabilities(
    choices: dict[str, Choice], place: int, logprobs: Sequence[TokenLogprob] | None
) -> dict[Choice, float] | None:
    """Of the verdict's token and its alternatives, how likely each verdict was; None where these are not known, or
    where most of the probability lies elsewhere."""
    number = _token_at(logprobs, place)
    if number is None or logprobs is None:
        return None
    mass: dict[Choice, float] = {"first": 0.0, "second": 0.0, "tie": 0.0}
    for text, probability in _alternatives(logprobs[number]):
        label = text.strip().strip("[]").strip()
        if label in choices:
            mass[choices[label]] += probability
    total = sum(mass.values())
    if total < _LEAST_MASS:
        return None
    return {choice: share / total for choice, share in mass.items()}


def _expected_grade(
    found: re.Match[str], lowest: int, highest: int, logprobs: Sequence[TokenLogprob] | None
) -> float | None:
    """The mean grade under the probabilities of the number's token. Where numbers are written digit by digit, "1" may
    become "10": its probability is split by the next token if the reply took that way, and the expectation is not
    told if it did not and "1" was likely."""
    place, text = found.start(1), found.group(1)
    number = _token_at(logprobs, place)
    if number is None or logprobs is None or "." in text:
        return None
    mass: dict[int, float] = {}
    for token, probability in _alternatives(logprobs[number]):
        digits = token.strip().strip("[]").strip()
        if digits.isdecimal() and lowest <= int(digits) <= highest:
            mass[int(digits)] = mass.get(int(digits), 0.0) + probability
    whole_numbers = logprobs[number].token.strip().strip("[]").startswith("10") or 10 in mass
    if highest >= 10 and not whole_numbers and 1 in mass:
        if text[0] == "1" and number + 1 < len(logprobs):
            after = dict(_alternatives(logprobs[number + 1]))
            ten = sum(share for token, share in after.items() if token.strip().startswith("0"))
            mass[10], mass[1] = mass[1] * ten, mass[1] * (1 - ten)
        elif mass[1] > 0.05 * sum(mass.values()):
            return None
        else:
            del mass[1]
    total = sum(mass.values())
    if total < _LEAST_MASS:
        return None
    return sum(grade * share for grade, share in mass.items()) / total
