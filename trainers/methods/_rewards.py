"""What rates sampled answers in reinforcement learning: rules that anybody can check."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Rule = Callable[..., list[float]]


def short(completions: list[str], **_: Any) -> list[float]:
    """1 for an empty answer, falling to 0 at 400 characters."""
    return [max(0.0, 1 - len(text) / 400) for text in completions]


def korean(completions: list[str], **_: Any) -> list[float]:
    """The share of letters that are Hangul."""
    return [_share_of_hangul(text) for text in completions]


def valid_json(completions: list[str], **_: Any) -> list[float]:
    """1 where the whole answer is JSON, else 0."""
    return [float(_is_json(text)) for text in completions]


RULES: dict[str, Rule] = {"short": short, "korean": korean, "json": valid_json}
"""Rules by the name that recipes give them."""


def _share_of_hangul(text: str) -> float:
    letters = [character for character in text if character.isalpha()]
    return sum("가" <= letter <= "힣" for letter in letters) / len(letters) if letters else 0.0


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
