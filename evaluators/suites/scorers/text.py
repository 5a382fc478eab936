"""Comparing texts: exact, normalised, containment, patterns."""

from __future__ import annotations

import re
import unicodedata
from typing import Self

from pydantic import Field, field_validator, model_validator

from evaluators.suites.scorers.base import Answer, Case, Fields, Options, Scored, Scorer

_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}
_QUOTES = str.maketrans("“”„«»‘’‚`´", '"""""' + "'''''")
_HANGUL = re.compile(r"[가-힣]")
# Longest first; a particle is taken off a word only where two syllables stay.
_PARTICLES = re.compile(
    r"(?<=[가-힣]{2})(?:이었습니다|였습니다|입니다|이에요|예요|이다|에서는|에서|에게|으로|부터|까지|이라고|라고|은|는|이|가|을|를|에|로|와|과|의|도|만)$"
)


def plain(text: str) -> str:
    """Unicode NFC, with full-width ASCII, ideographic blanks and typographic quotes as plain ones."""
    return unicodedata.normalize("NFC", text).translate(_FULL_WIDTH).translate(_QUOTES)


def has_hangul(text: str) -> bool:
    """Whether Korean letters occur in the text."""
    return _HANGUL.search(unicodedata.normalize("NFC", text)) is not None


class Ignoring(Options):
    """What does not count in a comparison. `particles` takes Korean particles off the ends of words (where two
    syllables stay), on both sides; by default particles and spacing count."""

    case: bool = True
    punctuation: bool = True
    spaces: bool = False
    particles: bool = False


def normalised(text: str, ignoring: Ignoring | None = None) -> str:
    """The text as it is compared (see `Ignoring`); runs of blanks become one."""
    ignoring = ignoring or Ignoring()
    text = plain(text)
    if ignoring.case:
        text = text.casefold()
    if ignoring.punctuation:
        # A comma or point between digits, a minus before one, and % belong to numbers.
        text = re.sub(r"(?<=\d),(?=\d{3})", "", text)
        text = "".join(
            " "
            if unicodedata.category(character).startswith("P") and not _in_number(text, place)
            else character
            for place, character in enumerate(text)
        )
    words = text.split()
    if ignoring.particles:
        words = [_PARTICLES.sub("", word) for word in words]
    return ("" if ignoring.spaces else " ").join(words)


def _in_number(text: str, place: int) -> bool:
    after = text[place + 1 : place + 2].isdigit()
    before = text[place - 1 : place].isdigit() if place else False
    match text[place]:
        case "." | ":" | "/" | "," | "~":
            return before and after
        case "-":
            return after and (before or not text[place - 1 : place].strip())
        case "%":
            return before
    return False


def contains(text: str, wanted: str, ignoring: Ignoring | None = None) -> bool:
    """Whether the text mentions `wanted` after normalisation: as whole words where it begins or ends with a Latin
    letter or a digit, anywhere in Korean (particles follow without a blank)."""
    haystack, needle = normalised(text, ignoring), normalised(wanted, ignoring)
    if not needle:
        return False
    left = r"(?<![0-9a-z])" if re.match(r"[0-9a-z]", needle, re.IGNORECASE) else ""
    right = r"(?![0-9a-z])" if re.search(r"[0-9a-z]$", needle, re.IGNORECASE) else ""
    return re.search(left + re.escape(needle) + right, haystack, re.IGNORECASE) is not None


def tokens(text: str) -> list[str]:
    """Units for overlap: words, and each Hangul syllable by itself (as KorQuAD's F1 does), so that particles cost a
    little and not the word."""
    return re.findall(r"[가-힣]|[^\W가-힣]+", normalised(text))


def overlap_f1(answer: str, reference: str) -> float:
    """F1 of the multisets of tokens (SQuAD's F1; for Korean over syllables)."""
    got, want = tokens(answer), tokens(reference)
    if not got or not want:
        return float(got == want)
    common = sum(min(got.count(token), want.count(token)) for token in set(want))
    return 2 * common / (len(got) + len(want))


class Targets(Fields):
    """`target` or `targets`: any of them is right."""

    target: str | None = None
    targets: tuple[str, ...] = ()

    @field_validator("target", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _any(self) -> Self:
        if self.target is None and not self.targets:
            raise ValueError("give target (a text) or targets (a list of texts)")
        return self

    @property
    def all(self) -> tuple[str, ...]:
        """All accepted texts."""
        return self.targets if self.target is None else (self.target, *self.targets)


class Accepted(Fields):
    """`answers`: accepted texts."""

    answers: tuple[str, ...] = Field(min_length=1)


class ExactOptions(Options):
    """`strip`: blanks around the answer do not count."""

    strip: bool = True


def exact(answer: Answer, case: Case) -> Scored:
    """1 where the answer is one of the targets, character by character."""
    text = answer.text.strip() if case.options.strip else answer.text
    return Scored({"exact": float(text in case.fields.all)}, {"read": text})


def match(answer: Answer, case: Case) -> Scored:
    """1 where the answer equals a target after normalisation."""
    read = normalised(answer.text, case.options)
    hit = any(read == normalised(target, case.options) for target in case.fields.all)
    return Scored({"match": float(hit)}, {"read": read})


def containment(answer: Answer, case: Case) -> Scored:
    """1 where the answer mentions one of the accepted texts."""
    found = [accepted for accepted in case.fields.answers if contains(answer.text, accepted, case.options)]
    return Scored({"contains": float(bool(found))}, {"found": found})


class Pattern(Fields):
    """`pattern` (or the option), and the `target` that its group must equal; without one, a match is enough."""

    pattern: str | None = None
    target: str | None = None

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        return _compiled(value)


class PatternOptions(Options):
    """The pattern for all items, which group is read, and flags."""

    pattern: str | None = None
    group: int | str = 0
    ignore_case: bool = False

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        return _compiled(value)


def _compiled(pattern: str | None) -> str | None:
    if pattern is not None:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"no valid regular expression: {error}") from None
    return pattern


def regex(answer: Answer, case: Case) -> Scored:
    """1 where the pattern's last match in the answer equals the target (or there is one, without a target)."""
    pattern = case.fields.pattern or case.options.pattern
    if pattern is None:
        raise ValueError("scorer regex: give `pattern` in the item or in scorer_options")
    found = list(re.finditer(pattern, plain(answer.text), re.IGNORECASE if case.options.ignore_case else 0))
    read = found[-1][case.options.group] if found else None
    hit = read is not None and (
        case.fields.target is None or normalised(read) == normalised(case.fields.target)
    )
    return Scored({"match": float(hit)}, {"read": read})


SCORERS = (
    Scorer("exact", Targets, ExactOptions, ("exact",), exact),
    Scorer("normalised", Targets, Ignoring, ("match",), match),
    Scorer("contains", Accepted, Ignoring, ("contains",), containment),
    Scorer("regex", Pattern, PatternOptions, ("match",), regex),
)
