"""Instructions whose keeping can be checked: lengths, words, beginnings, formats, languages."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from arena._language import language_of
from evaluators.suites.scorers.base import Answer, Case, Fields, NoOptions, Scored, Scorer
from evaluators.suites.scorers.structured import json_object
from evaluators.suites.scorers.text import has_hangul, plain

_SENTENCE_END = re.compile(r"(?<=[.!?。…])[\"'”’)\]]*(?:\s+|$)|\n+")
_BULLET = re.compile(r"^\s*(?:[-*•·‣▪]|\d+[.)])\s+\S", re.MULTILINE)
_ABBREVIATION = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|St|Prof|e\.g|i\.e|etc|vs|No|a\.m|p\.m)\.$", re.IGNORECASE)


def words(text: str) -> int:
    """Words between blanks (in Korean: eojeol)."""
    return len(text.split())


def sentences(text: str) -> int:
    """Sentences: by full stops, question and exclamation marks before a blank, and by line breaks."""
    count, rest = 0, ""
    for part in _SENTENCE_END.split(text):
        rest += part
        if not re.search(r"\w", rest):
            rest = ""
        elif _ABBREVIATION.search(rest) or re.fullmatch(r"\s*\d+\.", rest):
            rest += " "
        else:
            count, rest = count + 1, ""
    return count + bool(re.search(r"\w", rest))


def lines(text: str) -> int:
    """Lines that are not blank."""
    return sum(bool(line.strip()) for line in text.split("\n"))


class Constraint(BaseModel):
    """One constraint. Which of `n`, `text`, `keys` and `code` it takes depends on its kind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    n: int | None = Field(default=None, ge=0)
    text: str | None = Field(default=None, min_length=1)
    keys: tuple[str, ...] | None = None
    code: str | None = None

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.kind not in CHECKS:
            raise ValueError(f"unknown constraint '{self.kind}'; there are {', '.join(sorted(CHECKS))}")
        wanted = CHECKS[self.kind][0]
        given = tuple(name for name in ("text", "n", "keys", "code") if getattr(self, name) is not None)
        if set(given) != set(wanted):
            raise ValueError(
                f"constraint '{self.kind}' takes {', '.join(wanted) or 'nothing'}, not {', '.join(given)}"
            )
        return self


def _language(text: str, code: str) -> bool:
    letters = [character for character in text if character.isalpha()]
    if not letters:
        return False
    if code == "ko":
        return sum(has_hangul(letter) for letter in letters) > len(letters) / 2
    return language_of(text) == code


def _has_keys(text: str, keys: tuple[str, ...]) -> bool:
    found = json_object(text)
    return found is not None and set(keys) <= set(found)


def _quoted(text: str) -> bool:
    return len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"


def _cased(text: str, is_cased: Callable[[str], bool]) -> bool:
    return any(character.isalpha() for character in text) and is_cased(text)


Check = Callable[[str, Constraint], bool]

# kind: (its arguments, its check on the answer without blanks around it)
CHECKS: dict[str, tuple[tuple[str, ...], Any]] = {
    "min_words": (("n",), lambda text, c: words(text) >= c.n),
    "max_words": (("n",), lambda text, c: words(text) <= c.n),
    "exact_sentences": (("n",), lambda text, c: sentences(text) == c.n),
    "max_sentences": (("n",), lambda text, c: sentences(text) <= c.n),
    "exact_lines": (("n",), lambda text, c: lines(text) == c.n),
    "contains": (("text",), lambda text, c: plain(c.text).casefold() in text.casefold()),
    "not_contains": (("text",), lambda text, c: plain(c.text).casefold() not in text.casefold()),
    "contains_count": (("text", "n"), lambda text, c: text.casefold().count(plain(c.text).casefold()) == c.n),
    "starts_with": (("text",), lambda text, c: text.startswith(plain(c.text))),
    "ends_with": (("text",), lambda text, c: text.endswith(plain(c.text))),
    "all_lowercase": ((), lambda text, c: _cased(text, lambda t: t == t.lower())),
    "all_uppercase": ((), lambda text, c: _cased(text, lambda t: t == t.upper())),
    "no_commas": ((), lambda text, c: "," not in text and "、" not in text),
    "bullet_count": (("n",), lambda text, c: len(_BULLET.findall(text)) == c.n),
    "json_object": (("keys",), lambda text, c: _has_keys(text, c.keys)),
    "language": (("code",), lambda text, c: _language(text, c.code)),
    "max_characters": (("n",), lambda text, c: len(text) <= c.n),
    "min_characters": (("n",), lambda text, c: len(text) >= c.n),
    "no_digits": ((), lambda text, c: not any(character.isdigit() for character in text)),
    "quoted": ((), lambda text, c: _quoted(text)),
}


def keeps(text: str, constraint: Constraint) -> bool:
    """Whether an answer keeps a constraint. An empty answer keeps none."""
    text = plain(text).strip()
    return bool(text) and bool(CHECKS[constraint.kind][1](text, constraint))


class ConstrainedFields(Fields):
    """`constraints` of an item."""

    constraints: tuple[Constraint, ...] = Field(min_length=1)


def constraints(answer: Answer, case: Case) -> Scored:
    """`all_kept`: every constraint is kept; `kept`: the share of them."""
    failed = [c.model_dump(exclude_none=True) for c in case.fields.constraints if not keeps(answer.text, c)]
    share = 1 - len(failed) / len(case.fields.constraints)
    return Scored({"kept": share, "all_kept": float(not failed)}, {"failed": failed})


SCORERS = (Scorer("constraints", ConstrainedFields, NoOptions, ("kept", "all_kept"), constraints),)
