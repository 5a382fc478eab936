"""Suite items in training rows: shared 13-grams of words, shared runs of Korean letters, and whole short items.

The 13-gram of words is GPT-3's measure (Brown et al., arXiv 2005.14165, appendix C). Korean words carry their
particles and are spaced freely, so there letters are compared without spaces. In unrelated texts runs of 8 English
words and of 12 Korean letters never met; 20 letters keep the distance from chance that 13 words have
(docs/contamination.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from evaluators.contamination._index import (
    CHARACTERS,
    WORDS,
    Hits,
    Index,
    Windows,
    character_windows,
    word_windows,
)
from evaluators.contamination._letters import Ints, Letters, read
from evaluators.contamination.passages import Passage

__all__ = ["CHARACTERS", "WORDS", "Index", "Overlap", "overlaps", "touches"]

Evidence = Literal["ngram", "whole"]

BATCH = 500_000
"""Characters that are looked at together: some 60 MB of memory."""
_PIECE, _LAP = 1_000_000, 2_000
_SHOWN = 300


@dataclass(frozen=True)
class Overlap:
    """A row that shares text with an item. `share` is how much of the item's passage the row has (1 for a whole one),
    `span` the longest stretch of it, normalised."""

    row: int
    passage: Passage
    evidence: Evidence
    share: float
    span: str


def overlaps(index: Index, rows: Iterable[Sequence[str]]) -> Iterator[Overlap]:
    """What rows (each a list of texts) share with the passages of an index.

    For each suite every row that overlaps is told once, with the item it shares most with; and at the end every item
    that was found once more, with the row that has most of it. Memory does not grow with the number of rows.
    """
    best: dict[int, tuple[float, Overlap, bool]] = {}
    for numbers, texts in _batches(rows):
        for share, overlap, group, is_rows_best in _found(index, np.array(numbers), texts):
            if is_rows_best:
                yield overlap
            if group not in best or share > best[group][0]:
                best[group] = (share, overlap, is_rows_best)
    for group, (_, overlap, told) in best.items():
        for passage in index.groups[group][1 if told else 0 :]:
            yield replace(overlap, passage=passage)


def touches(index: Index, texts: Sequence[str]) -> bool:
    """Whether any passage is found in these texts."""
    letters = read(texts)
    return any(len(hits.asked) for _, _, hits in _hits(index, letters, len(texts)))


def _batches(rows: Iterable[Sequence[str]]) -> Iterator[tuple[list[int], list[str]]]:
    """Texts with the numbers of their rows; very long ones in pieces that overlap."""
    numbers: list[int] = []
    texts: list[str] = []
    size = 0
    for number, row in enumerate(rows):
        for text in row:
            for begin in range(0, max(len(text), 1), _PIECE):
                piece = text[begin : begin + _PIECE + _LAP]
                numbers.append(number)
                texts.append(piece)
                size += len(piece)
                if size >= BATCH:
                    yield numbers, texts
                    numbers, texts, size = [], [], 0
    if texts:
        yield numbers, texts


def _hits(index: Index, letters: Letters, texts: int) -> Iterator[tuple[str, Windows, Hits]]:
    yield from (
        (kind, windows, index.tables[kind].find(letters.hashes(windows.first, windows.end)))
        for kind, windows in (
            ("words", word_windows(letters)),
            ("characters", character_windows(letters)),
            *(("contained", word_windows(letters, count)) for count in index.word_counts),
            *(("contained", _from_words(letters, count)) for count in index.letter_counts),
            ("equal", _whole(letters, texts)),
        )
    )


def _from_words(letters: Letters, count: int) -> Windows:
    """Stretches of `count` letters that begin with a word."""
    first = letters.starts[letters.starts + count <= len(letters)]
    text = letters.letter_text[first]
    inside = text == letters.letter_text[first + count - 1]
    return Windows(first[inside], first[inside] + count, text[inside])


def _whole(letters: Letters, texts: int) -> Windows:
    first, end = letters.bounds(texts)
    some = np.flatnonzero(end > first)
    return Windows(first[some], end[some], some)


def _found(index: Index, numbers: Ints, texts: list[str]) -> Iterator[tuple[float, Overlap, int, bool]]:
    letters = read(texts)
    rows, passages, shares, kinds, details = [], [], [], [], []
    for kind, windows, hits in _hits(index, letters, len(texts)):
        if not len(hits.asked):
            continue
        row = numbers[windows.text[hits.asked]]
        order = np.lexsort((hits.window, hits.passage, row))
        row, passage, window = row[order], hits.passage[order], hits.window[order]
        length = (windows.end - windows.first)[hits.asked][order]
        new = np.concatenate(([True], (row[1:] != row[:-1]) | (passage[1:] != passage[:-1])))
        fresh = new | np.concatenate(([True], window[1:] != window[:-1]))
        begins = np.flatnonzero(new)
        counts = np.add.reduceat(fresh.astype(np.int64), begins)
        rows.append(row[begins])
        passages.append(passage[begins])
        shares.append(index.share(kind, passage[begins], counts))
        kinds += [kind] * len(begins)
        stops = np.append(begins[1:], len(row))
        details += [(window[a:b], length[a:b]) for a, b in zip(begins.tolist(), stops.tolist(), strict=True)]
    if not rows:
        return
    row, passage, share = np.concatenate(rows), np.concatenate(passages), np.concatenate(shares)
    suite = index.suite_of[passage]
    order = np.lexsort((passage, -share, suite, row))
    first = np.concatenate(
        ([True], (row[order][1:] != row[order][:-1]) | (suite[order][1:] != suite[order][:-1]))
    )
    of_rows = set(order[first].tolist())
    order = np.lexsort((row, -share, passage))
    of_passages = set(order[np.concatenate(([True], np.diff(passage[order]) != 0))].tolist())
    for each in sorted(of_rows | of_passages):
        evidence: Evidence = "ngram" if kinds[each] in ("words", "characters") else "whole"
        which = int(passage[each])
        overlap = Overlap(
            row=int(row[each]),
            passage=index.groups[which][0],
            evidence=evidence,
            share=float(share[each]),
            span=_span(index, which, *details[each])[:_SHOWN],
        )
        yield float(share[each]), overlap, which, each in of_rows


def _span(index: Index, passage: int, window: Ints, length: Ints) -> str:
    """The longest stretch of the passage whose windows, one after another, overlap."""
    ends = np.maximum.accumulate(window + length)
    parts = np.flatnonzero(np.concatenate(([True], window[1:] >= ends[:-1])))
    stops = np.append(parts[1:], len(window)) - 1
    sizes = ends[stops] - window[parts]
    longest = int(sizes.argmax())
    return index.shown(passage, int(window[parts][longest]), int(sizes[longest]))
