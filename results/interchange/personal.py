"""Personal data in texts, replaced by marks: Korean resident registration numbers, telephone numbers, e-mail and
IP addresses, card numbers and Korean street addresses.

Patterns find what has a form. Names, and what is told in words, they cannot find: read what you publish.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

_REGION = (
    r"(?:서울|부산|대구|인천|광주|대전|울산|세종|경기|강원|충청?북|충청?남|전라?북|전라?남|경상?북|경상?남|제주)"
    r"(?:특별자치시|특별자치도|특별시|광역시|시|도)?"
)
_NO_DIGIT_BEFORE, _NO_DIGIT_AFTER = r"(?<![\d.-])", r"(?![\d-])"

# In this order: what is longer and surer first.
_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("EMAIL", re.compile(r"[A-Za-z0-9][A-Za-z0-9._%+-]*@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}")),
    ("RRN", re.compile(_NO_DIGIT_BEFORE + r"(\d{2})(\d{2})(\d{2})\s?-?\s?([1-8])\d{6}" + _NO_DIGIT_AFTER)),
    ("CARD", re.compile(_NO_DIGIT_BEFORE + r"\d(?:[ -]?\d){12,18}" + _NO_DIGIT_AFTER)),
    (
        "PHONE",
        re.compile(
            _NO_DIGIT_BEFORE
            + r"(?:(?:\+?82[\s.-]?\(?0?|0)(?:1[016789]|2|[3-6][1-5]|70|50\d?)\)?[\s.-]?\d{3,4}[\s.-]?\d{4}"
            + r"|\(0(?:2|[3-6][1-5])\)\s?\d{3,4}[\s.-]?\d{4}"
            + r"|\+(?!82)\d{1,3}[\s.-]?(?:\(\d{1,4}\)[\s.-]?)?\d{2,4}(?:[\s.-]?\d{2,4}){2,3})"
            + _NO_DIGIT_AFTER
        ),
    ),
    ("IP", re.compile(r"(?<![\d.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\d.])")),
    (
        "ADDRESS",
        re.compile(
            _REGION
            + r"\s+(?:[가-힣]{1,6}(?:시|군|구)\s+){0,2}(?:[가-힣]{1,6}(?:읍|면)\s+)?"
            + r"(?:[가-힣A-Za-z0-9·]{1,12}(?:로|길)\s?(?:\d+(?:번|가)?길\s?)?\d+(?:-\d+)?(?![\d년월일시%])"
            + r"|[가-힣0-9]{1,8}(?:동|리|가)\s+(?:산\s?)?\d+(?:-\d+)?(?:번지)?(?![\d년월일시%]))"
            + r"(?:,?\s?(?:[가-힣A-Za-z0-9]+아파트\s?)?\d+동\s?\d+호)?"
        ),
    ),
)  # fmt: skip


def screen_text(text: str) -> tuple[str, Counter[str]]:
    """The text with marks such as [PHONE] in the place of personal data, and how many of each there are."""
    found: Counter[str] = Counter()
    for kind, pattern in _PATTERNS:
        is_real = _CHECKS.get(kind, lambda match: True)

        def mark(match: re.Match[str], kind: str = kind, is_real: Callable[..., bool] = is_real) -> str:
            if not is_real(match):
                return match[0]
            found[kind] += 1
            return f"[{kind}]"

        text = pattern.sub(mark, text)
    return text, found


def screen_value(value: Any, found: Counter[str]) -> Any:
    """Texts anywhere inside lists and the values of objects, screened; finds are added to `found`."""
    if isinstance(value, str):
        text, here = screen_text(value)
        found.update(here)
        return text
    if isinstance(value, list):
        return [screen_value(each, found) for each in value]
    if isinstance(value, dict):
        return {name: screen_value(each, found) for name, each in value.items()}
    return value


def _is_rrn(match: re.Match[str]) -> bool:
    """Whether the first six digits are a date; the check digit means nothing since October 2020."""
    return 1 <= int(match[2]) <= 12 and 1 <= int(match[3]) <= 31


def _is_card(match: re.Match[str]) -> bool:
    """Luhn's check digit (ISO/IEC 7812-1), and a first digit that cards have."""
    digits = [int(each) for each in match[0] if each.isdigit()]
    doubled = [
        digit if place % 2 == 0 else sum(divmod(2 * digit, 10))
        for place, digit in enumerate(reversed(digits))
    ]
    return digits[0] in (2, 3, 4, 5, 6, 9) and len(set(digits)) > 1 and sum(doubled) % 10 == 0


_CHECKS: dict[str, Callable[[re.Match[str]], bool]] = {"RRN": _is_rrn, "CARD": _is_card}
