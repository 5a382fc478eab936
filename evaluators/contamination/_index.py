"""What is looked for: hashes of the windows of all passages, and of whole short passages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluators.contamination._letters import Hashes, Ints, Letters, read
from evaluators.contamination.passages import Passage

WORDS = 13
CHARACTERS = 20
CJK_OF_WINDOW = CHARACTERS // 2 + 1
CONTAINED_WORDS, CONTAINED_CJK = 5, 12
EQUAL_WORDS, EQUAL_CJK = 2, 4
BOILERPLATE = 10
"""A window in more passages of one suite than this is a set phrase of it, and tells of no item."""
_BITS = 22


@dataclass(frozen=True)
class Hits:
    """What a table found: the place among the hashes that were asked, and the entry (passage and window)."""

    asked: Ints
    passage: Ints
    window: Ints


class Table:
    """Hashes with the passages and windows that they stand for."""

    def __init__(self, hashes: Hashes, passage: Ints, window: Ints) -> None:
        order = np.argsort(hashes, kind="stable")
        self._passage, self._window = passage[order], window[order]
        self._hashes, first = np.unique(hashes[order], return_index=True)
        self._bounds = np.append(first, len(hashes))
        # Most of what is asked is not here, and a look into a bitmap is ten times cheaper than a search.
        self._bitmap = np.zeros(1 << _BITS, dtype=np.bool_)
        self._bitmap[_slot(self._hashes)] = True

    def find(self, asked: Hashes) -> Hits:
        """All entries of each hash that is asked."""
        none = np.empty(0, dtype=np.int64)
        if not len(self._hashes) or not len(asked):
            return Hits(none, none, none)
        maybe = np.flatnonzero(self._bitmap[_slot(asked)])
        place = np.minimum(np.searchsorted(self._hashes, asked[maybe]), len(self._hashes) - 1)
        found = self._hashes[place] == asked[maybe]
        maybe, place = maybe[found], place[found]
        counts = self._bounds[place + 1] - self._bounds[place]
        inside = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        entry = np.repeat(self._bounds[place], counts) + inside
        return Hits(np.repeat(maybe, counts), self._passage[entry], self._window[entry])


@dataclass(frozen=True)
class Windows:
    """Windows of texts: letters `first` to `end` (exclusive) of text `text`."""

    first: Ints
    end: Ints
    text: Ints


def word_windows(letters: Letters, words: int = WORDS) -> Windows:
    """All stretches of `words` words within a text."""
    if len(letters.starts) < words:
        return _no_windows()
    last = letters.text_of[words - 1 :]
    begin = np.flatnonzero(letters.text_of[: len(last)] == last)
    return Windows(letters.starts[begin], letters.ends[begin + words - 1], letters.text_of[begin])


def character_windows(letters: Letters) -> Windows:
    """All stretches of `CHARACTERS` letters within a text that are mostly Hangul, Han or kana."""
    if len(letters) < CHARACTERS or not letters.cjk.any():
        return _no_windows()
    cjk = np.concatenate(([0], np.cumsum(letters.cjk)))
    count = cjk[CHARACTERS:] - cjk[:-CHARACTERS]
    same = letters.letter_text[: len(count)] == letters.letter_text[CHARACTERS - 1 :]
    first = np.flatnonzero(same & (count >= CJK_OF_WINDOW))
    return Windows(first, first + CHARACTERS, letters.letter_text[first])


class Index:
    """Passages, ready to be found in other texts. `found_in` is in `overlap`."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        same: dict[tuple[str, str], list[Passage]] = {}
        for passage in passages:
            same.setdefault((passage.suite, passage.text), []).append(passage)
        self.groups = list(same.values())
        """The passages of one suite with equal texts, which are looked for together."""
        names = [suite for suite, _ in same]
        self.suites = sorted(set(names))
        self.suite_of: Ints = np.array([self.suites.index(name) for name in names], dtype=np.int64)
        self.letters = read([text for _, text in same])
        first, end = self.letters.bounds(len(same))
        self.first = first
        words, characters = word_windows(self.letters), character_windows(self.letters)
        self._totals: dict[str, Ints] = {}
        self.tables = {
            "words": self._table("words", words),
            "characters": self._table("characters", characters),
        }
        long = np.zeros(len(same), dtype=np.bool_)
        long[words.text] = long[characters.text] = True
        self._short(first, end, ~long)

    def share(self, kind: str, passage: Ints, count: Ints) -> NDArray[np.float64]:
        """Which share of its windows `count` is, for each passage."""
        shares: NDArray[np.float64] = count / np.maximum(self._totals[kind][passage], 1)
        return shares

    def _table(self, kind: str, windows: Windows) -> Table:
        hashes = self.letters.hashes(windows.first, windows.end)
        keep = self._telling(hashes, windows.text)
        self._totals[kind] = np.bincount(windows.text[keep], minlength=len(self.groups))
        return Table(hashes[keep], windows.text[keep], windows.first[keep] - self.first[windows.text[keep]])

    def _telling(self, hashes: Hashes, passage: Ints) -> NDArray[np.bool_]:
        """Windows that stand in few passages of their suite."""
        once = np.unique(np.stack([hashes, passage.astype(np.uint64)]), axis=1)
        key = _with_suite(once[0], self.suite_of[once[1].astype(np.int64)])
        keys, counts = np.unique(key, return_counts=True)
        common = keys[counts > BOILERPLATE]
        return ~np.isin(_with_suite(hashes, self.suite_of[passage]), common)

    def _short(self, first: Ints, end: Ints, short: NDArray[np.bool_]) -> None:
        """Passages without a window are looked for as a whole; what is hardly a sentence must be all of a text."""
        asked = np.array(
            [any(each.role == "asked" for each in group) for group in self.groups], dtype=np.bool_
        )
        words = np.bincount(self.letters.text_of, minlength=len(self.groups))
        cjk = np.bincount(self.letters.letter_text[self.letters.cjk], minlength=len(self.groups))
        size = end - first
        whole = short & asked & (size > 0)
        contained = whole & ((words >= CONTAINED_WORDS) | (cjk >= CONTAINED_CJK))
        equal = whole & ~contained & ((words >= EQUAL_WORDS) | (cjk >= EQUAL_CJK))
        by_letters = contained & (2 * cjk >= size)
        self.word_counts = sorted(set(words[contained & ~by_letters].tolist()))
        self.letter_counts = sorted(set(size[by_letters].tolist()))
        for kind, chosen in (("contained", contained), ("equal", equal)):
            which = np.flatnonzero(chosen)
            hashes = self.letters.hashes(first[which], end[which])
            self.tables[kind] = Table(hashes, which, np.zeros(len(which), dtype=np.int64))
            self._totals[kind] = chosen.astype(np.int64)

    def shown(self, passage: int, first: int, length: int) -> str:
        """A stretch of a passage, as people read it."""
        begin = int(self.first[passage]) + first
        return self.letters.shown(begin, begin + length)


def _with_suite(hashes: Hashes, suite: Ints) -> Hashes:
    return hashes ^ (suite.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))


def _slot(hashes: Hashes) -> Ints:
    return (hashes >> np.uint64(64 - _BITS)).astype(np.int64)


def _no_windows() -> Windows:
    none = np.empty(0, dtype=np.int64)
    return Windows(none, none, none)
