"""Counting how often a key came before, for millions of keys at 16 bytes each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.int64]


class Occurrences:
    """Numbers the occurrences of 64-bit keys from 0, in the order in which they are shown, chunk by chunk.

    Two things that share a key merely share a numbering.
    """

    def __init__(self) -> None:
        self._keys: Keys = np.empty(0, np.uint64)
        self._counts: Counts = np.empty(0, np.int64)

    def number(self, keys: Keys) -> Counts:
        """For each key how often it came before, in earlier chunks and in this one; shape of `keys`."""
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        is_first = np.ones(len(keys), dtype=bool)
        is_first[1:] = ordered[1:] != ordered[:-1]
        starts = np.flatnonzero(is_first)
        sizes = np.diff(np.append(starts, len(keys)))
        distinct = ordered[starts]
        place = np.searchsorted(self._keys, distinct)
        earlier = np.zeros(len(distinct), np.int64)
        inside = place < len(self._keys)
        known = inside.copy()
        known[inside] = self._keys[place[inside]] == distinct[inside]
        earlier[known] = self._counts[place[known]]

        numbers = np.empty(len(keys), np.int64)
        numbers[order] = np.arange(len(keys)) - np.repeat(starts, sizes) + np.repeat(earlier, sizes)

        self._counts[place[known]] += sizes[known]
        new = ~known
        self._keys = np.insert(self._keys, place[new], distinct[new])
        self._counts = np.insert(self._counts, place[new], sizes[new])
        return numbers
