"""Numbers in answers: their value, and GSM8K's strict and flexible readings exactly as lm-eval 0.4 takes them."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from pydantic import Field, field_validator

from evaluators.suites.scorers.base import Answer, Case, Fields, Options, Scored, Scorer
from evaluators.suites.scorers.text import plain

INVALID = "[invalid]"

# lm_eval/tasks/gsm8k/gsm8k.yaml, version 3: its two filters and its `regexes_to_ignore`.
_STRICT = re.compile(r"#### (\-?[0-9\.\,]+)")
_FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
_IGNORED = (",", r"\$", r"(?s).*#### ", r"\.$")

_UNITS = {
    "십": 10, "백": 100, "천": 10**3, "만": 10**4, "십만": 10**5, "백만": 10**6, "천만": 10**7, "억": 10**8,
    "십억": 10**9, "백억": 10**10, "천억": 10**11, "조": 10**12,
}  # fmt: skip
_NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.])(?P<sign>[-−]\s?)?[$₩€£]?\s?(?P<digits>\d[\d,]*(?:\.\d+)?|\.\d+)"
    r"(?P<unit>[십백천]?[만억]|[십백천]|조)?"
    # 만큼 is "as much as", 조각 a piece, 천장 a ceiling: no units.
    r"(?<!만(?=큼))(?<!조(?=각))"
)
_FRACTION = re.compile(r"(?<![\w./])(-?\d+)\s?/\s?(\d+)(?![\w/])")


def strict_match(text: str) -> str:
    """What lm-eval's filter `strict-match` of GSM8K reads: the number after the first `####`."""
    found = _STRICT.findall(text)
    return str(found[0]).strip() if found else INVALID


def flexible_match(text: str) -> str:
    """What lm-eval's filter `flexible-extract` of GSM8K reads: the last thing that looks like a number."""
    found = _FLEXIBLE.findall(text)
    if not found:
        return INVALID
    return next((part for part in found[-1] if part), INVALID).strip()


def gsm8k_equal(read: str, target: str) -> bool:
    """lm-eval's `exact_match` with GSM8K's settings: case, commas, dollar signs, what precedes `#### ` and a last
    full stop do not count."""
    for pattern in _IGNORED:
        read, target = re.sub(pattern, "", read), re.sub(pattern, "", target)
    return read.lower() == target.lower()


def number(text: str) -> Decimal | None:
    """The value of a number as people write it (1,234.50, $12, 3만 5천, 2/3); None where it is none."""
    values = numbers(text)
    return values[0] if len(values) == 1 else None


def numbers(text: str) -> list[Decimal]:
    """All numbers of a text in order. Korean units multiply (12만 is 120000) and parts of one number add up
    (3만 5천 is 35000)."""
    text = plain(text)
    found: list[tuple[int, int, Decimal, int]] = []  # start, end, value, the unit (1 without)
    for match in _NUMBER.finditer(text):
        try:
            value = Decimal(match["digits"].replace(",", ""))
        except InvalidOperation:  # "1,2.3" and the like
            continue
        unit = _UNITS[match["unit"]] if match["unit"] else 1
        sign = -1 if match["sign"] else 1
        found.append((match.start(), match.end(), sign * value * unit, unit))
    merged: list[tuple[int, int, Decimal, int]] = []
    for start, end, value, unit in found:
        last = merged[-1] if merged else None
        if last and last[3] > unit and last[3] > 1 and not text[last[1] : start].strip(" ") and value >= 0:
            whole = last[2] + (value if last[2] >= 0 else -value)
            merged[-1] = (last[0], end, whole, unit)
        else:
            merged.append((start, end, value, unit))
    for fraction in _FRACTION.finditer(text):
        if int(fraction[2]):
            inside = [i for i, each in enumerate(merged) if fraction.start() <= each[0] < fraction.end()]
            if len(inside) == 2:
                value = Decimal(int(fraction[1])) / Decimal(int(fraction[2]))
                merged[inside[0] : inside[1] + 1] = [(fraction.start(), fraction.end(), value, 1)]
    return [value for _, _, value, _ in merged]


def final_number(text: str) -> Decimal | None:
    """The number that an answer ends with: after `####`, after "answer is" / "답은" or in \\boxed{} where there is
    one, and the last of the text otherwise."""
    text = plain(text)
    marks = list(
        re.finditer(r"####|\\boxed\{|answer\s*(?:is|:|=)|정답은|정답\s*:|답은|답\s*:", text, re.IGNORECASE)
    )
    if marks:
        after = numbers(text[marks[-1].end() :])
        if after:
            return after[0]
    values = numbers(text)
    return values[-1] if values else None


class NumericTarget(Fields):
    """`target`: the right number, as text or number."""

    target: str

    @field_validator("target", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


class NumericOptions(Options):
    """`tolerance`: the largest absolute difference that counts as right."""

    tolerance: float = Field(default=0, ge=0)


def numeric(answer: Answer, case: Case) -> Scored:
    """`value`: the answer's final number equals the target's; `flexible` and `strict`: as lm-eval scores GSM8K."""
    target = final_number(case.fields.target)
    if target is None:
        raise ValueError(f"target '{case.fields.target}' is no number")
    read = final_number(answer.text)
    near = read is not None and abs(read - target) <= Decimal(str(case.options.tolerance))
    flexible, strict = flexible_match(answer.text), strict_match(answer.text)
    return Scored(
        {
            "value": float(near),
            "flexible": float(gsm8k_equal(flexible, case.fields.target)),
            "strict": float(gsm8k_equal(strict, case.fields.target)),
        },
        {"read": None if read is None else str(read), "flexible": flexible, "strict": strict},
    )


SCORERS = (Scorer("numeric", NumericTarget, NumericOptions, ("value", "flexible", "strict"), numeric),)
