"""Near-duplicates inside a dataset: MinHash and locality-sensitive hashing, then the true likeness of what they find.

Broder, "On the resemblance and containment of documents" (1997); as used on training data by Lee et al., "Deduplicating
Training Data Makes Language Models Better" (arXiv 2107.06499).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluators.contamination._index import word_windows
from evaluators.contamination._letters import Hashes, Letters, read

LIKENESS = 0.8
WORDS, CHARACTERS = 3, 6
PERMUTATIONS = 128
_BATCH = 500
_GAP = "\n"


class NeedsDatasketch(ImportError):
    """Near-duplicates need the library datasketch. The message says how to install it."""


@dataclass(frozen=True)
class Duplicates:
    """Clusters of rows (numbers from 0) that are alike, the largest first. `rows` were looked at."""

    rows: int
    clusters: tuple[tuple[int, ...], ...]

    @property
    def extra_rows(self) -> int:
        """Rows that would go if each cluster kept one."""
        return sum(len(cluster) - 1 for cluster in self.clusters)


def near_duplicates(rows: Iterable[Sequence[str]], likeness: float = LIKENESS) -> Duplicates:
    """Rows (each a list of texts) whose sets of shingles have a Jaccard index of at least `likeness`.

    Shingles are runs of 3 words, and of 6 letters without spaces where the text is mostly Hangul, Han or kana; a text
    shorter than that is a shingle of its own. Pairs come from 128 permutations and are then compared exactly, so none
    is wrong; of pairs just at the bound some are missed. A cluster is a row and the later ones that are like it; memory
    is about 1 kB and 8 bytes a shingle for each row that is like none before.

    Raises:
        NeedsDatasketch: the library is not installed.
    """
    try:
        from datasketch import MinHash, MinHashLSH
    except ImportError as error:
        raise NeedsDatasketch("near-duplicates need datasketch: pip install 'palaestra[eval]'") from error
    index = MinHashLSH(threshold=likeness, num_perm=PERMUTATIONS)
    empty = MinHash(num_perm=PERMUTATIONS, hashfunc=int)
    firsts: dict[int, Hashes] = {}
    clusters: dict[int, list[int]] = {}
    number = -1
    for number, found in enumerate(_shingles(rows)):
        if not len(found):
            continue
        sketch: Any = empty.copy()
        sketch.update_batch((found >> np.uint64(32)).astype(np.uint32))
        likeliest = max(
            ((_jaccard(found, firsts[other]), -other) for other in index.query(sketch)), default=(0.0, 0)
        )
        if likeliest[0] >= likeness:
            first = -likeliest[1]
            clusters.setdefault(first, [first]).append(number)
        else:
            firsts[number] = found
            index.insert(number, sketch, check_duplication=False)
    several = sorted((tuple(cluster) for cluster in clusters.values()), key=lambda c: (-len(c), c))
    return Duplicates(number + 1, tuple(several))


def _shingles(rows: Iterable[Sequence[str]]) -> Iterable[Hashes]:
    batch: list[str] = []
    for row in rows:
        batch.append(_GAP.join(row))
        if len(batch) == _BATCH:
            yield from _of_texts(batch)
            batch = []
    if batch:
        yield from _of_texts(batch)


def _of_texts(texts: list[str]) -> Iterable[Hashes]:
    letters = read(texts)
    first, end = letters.bounds(len(texts))
    words = word_windows(letters, WORDS)
    by_words = letters.hashes(words.first, words.end)
    begin, stop = _runs(letters)
    by_letters = letters.hashes(begin, stop)
    whole = letters.hashes(first, end)
    cjk = np.concatenate(([0], np.cumsum(letters.cjk)))
    for text in range(len(texts)):
        size = end[text] - first[text]
        if 2 * (cjk[end[text]] - cjk[first[text]]) >= size:
            found = by_letters[first[text] : max(end[text] - CHARACTERS + 1, first[text])]
        else:
            low, high = np.searchsorted(words.text, [text, text + 1])
            found = by_words[low:high]
        if not len(found):
            found = whole[text : text + 1] if size else whole[:0]
        yield np.unique(found)


def _runs(letters: Letters) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All runs of `CHARACTERS` letters; those that leave their text are never asked for."""
    begin = np.arange(max(len(letters) - CHARACTERS + 1, 0))
    return begin, begin + CHARACTERS


def _jaccard(one: Hashes, other: Hashes) -> float:
    common = len(np.intersect1d(one, other, assume_unique=True))
    return common / (len(one) + len(other) - common)
