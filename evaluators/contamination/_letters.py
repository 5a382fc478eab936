"""Texts as arrays: letters without case, punctuation and spaces, word bounds, and hashes of any stretch.

Many texts are looked at together. A stretch of letters is hashed by a polynomial over random numbers of its letters
(Karp & Rabin, 1987) modulo 2^64, whose prefix sums give the hash of every stretch at once; the odd base can be
divided by. Two different stretches among a billion pairs are confused with a probability of about 1e-10.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]

_BASE = 0x9E3779B97F4A7C15
_END = "\x00"
_CJK = (
    (0x1100, 0x11FF),
    (0x3040, 0x30FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xAC00, 0xD7A3),
    (0x20000, 0x3FFFF),
)


@dataclass(frozen=True)
class Letters:
    """Texts, read. Places count letters: `starts[w]` to `ends[w]` (exclusive) is word `w` of text `text_of[w]`.

    `letter_text` gives the text of each letter and `cjk` whether it is Hangul, Han or kana; `joined` is the normalised
    text and `at` the place of each letter in it.
    """

    starts: Ints
    ends: Ints
    text_of: Ints
    letter_text: Ints
    cjk: NDArray[np.bool_]
    joined: str
    at: Ints
    _sums: Hashes
    _unpower: Hashes

    def __len__(self) -> int:
        return len(self.letter_text)

    def hashes(self, first: Ints, end: Ints) -> Hashes:
        """The hash of each stretch of letters from `first` to `end` (exclusive)."""
        found: Hashes = (self._sums[end] - self._sums[first]) * self._unpower[first]
        return found

    def shown(self, first: int, end: int) -> str:
        """A stretch as people read it: with its spaces and punctuation, in small letters."""
        return self.joined[self.at[first] : self.at[end - 1] + 1]

    def bounds(self, texts: int) -> tuple[Ints, Ints]:
        """The first letter of each of the `texts` texts, and the one after its last."""
        every = np.arange(texts)
        return np.searchsorted(self.letter_text, every), np.searchsorted(
            self.letter_text, every, side="right"
        )


def read(texts: Sequence[str]) -> Letters:
    """Texts in one normal form: NFKC (full-width forms, compatibility jamo), small letters; what is neither letter,
    mark nor digit only parts words."""
    joined = _END.join(text.replace(_END, " ") for text in texts)
    joined = unicodedata.normalize("NFKC", joined).casefold()
    points = np.frombuffer(joined.encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32)
    kinds = _kinds()[points]
    is_letter = kinds > 0
    at = np.flatnonzero(is_letter)
    letters = points[at]
    text_at = np.cumsum(points == 0)
    begins = is_letter & ~np.concatenate(([False], is_letter[:-1]))
    stops = is_letter & ~np.concatenate((is_letter[1:], [False]))
    place = np.cumsum(is_letter) - 1
    starts, ends = place[begins], place[stops] + 1
    powers, unpower = _powers(len(letters) + 1)
    sums = np.zeros(len(letters) + 1, dtype=np.uint64)
    np.cumsum(_mixed(letters.astype(np.uint64)) * powers[:-1], out=sums[1:])
    return Letters(
        starts=starts, ends=ends, text_of=text_at[begins], letter_text=text_at[at], cjk=kinds[at] == 2,
        joined=joined, at=at, _sums=sums, _unpower=unpower,
    )  # fmt: skip


@cache
def _kinds() -> NDArray[np.uint8]:
    """Of each code point: 0 no letter, 1 letter, mark or digit, 2 one of Hangul, Han or kana."""
    table = np.zeros(0x110000, dtype=np.uint8)
    for point in range(0x110000):
        character = chr(point)
        if character.isalnum() or unicodedata.category(character)[0] == "M":
            table[point] = 1
    for first, last in _CJK:
        part = table[first : last + 1]
        part[part == 1] = 2
    return table


_power_cache: dict[int, tuple[Hashes, Hashes]] = {}


def _powers(count: int) -> tuple[Hashes, Hashes]:
    """Powers of the base and of its inverse modulo 2^64, `count` of each."""
    size = 1 << max(16, (count - 1).bit_length())
    if size not in _power_cache:
        base = np.full(size, _BASE, dtype=np.uint64)
        inverse = np.full(size, pow(_BASE, -1, 2**64), dtype=np.uint64)
        base[0] = inverse[0] = 1
        _power_cache.clear()
        _power_cache[size] = np.multiply.accumulate(base), np.multiply.accumulate(inverse)
    powers, unpower = _power_cache[size]
    return powers[:count], unpower[:count]


def _mixed(values: Hashes) -> Hashes:
    """Numbers spread over 64 bits (the finaliser of SplitMix64; Steele, Lea & Flood, 2014)."""
    values = values + np.uint64(_BASE)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Hashes = values ^ (values >> np.uint64(31))
    return mixed
