"""The texts of reports in English and Korean, as data files with equal keys."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Literal, get_args

import yaml

Language = Literal["en", "ko"]
LANGUAGES: tuple[Language, ...] = get_args(Language)


class Texts:
    """The texts of one language: `texts("key", n=3)`. Raises KeyError for an unknown key or a figure that is
    missing."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self._formatter = _Particles()

    def __call__(self, key: str, **figures: Any) -> str:
        return self._formatter.format(texts(self.language)[key], **figures)

    def has(self, key: str) -> bool:
        """Whether there is such a text."""
        return key in texts(self.language)

    def number(self, key: str, n: int, **figures: Any) -> str:
        """The text `key.one` or `key.other`, by the number n."""
        return self(f"{key}.{'one' if n == 1 else 'other'}", n=n, **figures)


@cache
def texts(language: Language) -> dict[str, str]:
    """All texts of one language by key."""
    raw = files("results.reports").joinpath(f"locales/{language}.yaml").read_text(encoding="utf-8")
    return {key: str(value).strip() for key, value in yaml.safe_load(raw).items()}


class _Particles(string.Formatter):
    """Formats `{name:은/는}` as the name with the Korean particle that its last syllable takes."""

    def get_value(self, key: int | str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return kwargs[str(key)]

    def format_field(self, value: Any, format_spec: str) -> str:
        after_consonant, slash, after_vowel = format_spec.partition("/")
        if not slash:
            return str(super().format_field(value, format_spec))
        text = str(value)
        last = text[-1:]
        if "가" <= last <= "힣":
            return text + (after_consonant if (ord(last) - ord("가")) % 28 else after_vowel)
        # How a Latin name is read aloud is not ours to guess.
        return f"{text}{after_consonant}({after_vowel})"
