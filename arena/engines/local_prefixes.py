"""What sequences of ids begin with in common, so that it is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

WORTH = 32
"""Tokens that a cluster must save: another forward pass, and batches that end with it, cost about as much."""

Clusters = list[tuple[list[int], int]]


def clusters(sequences: Sequence[list[int]]) -> Clusters:
    """Sequences in clusters, each with how many first ids all of its members share; every index is in one of them.

    Most tokens are saved in all: a cluster computes what it shares once instead of for each member, and counts only
    beyond `WORTH`. Sequences that share too little with others are one cluster, with 0.
    """
    order = sorted(range(len(sequences)), key=lambda index: sequences[index])
    common = [_common(sequences[a], sequences[b]) for a, b in pairwise(order)]
    spans = _best(common, 0, len(order))[1]
    found = [(order[low:high], min(common[low : high - 1])) for low, high in spans]
    taken = {member for members, _ in found for member in members}
    rest = [index for index in order if index not in taken]
    return [*found, (rest, 0)] if rest else found


def _best(common: list[int], low: int, high: int) -> tuple[int, list[tuple[int, int]]]:
    """What can be saved within a span of the sorted sequences, and the clusters (spans) that do. `common[i]` is what
    sequences i and i + 1 share; a span is one cluster, or is divided wherever neighbours share least."""
    if high - low < 2:
        return 0, []
    least = min(common[low : high - 1])
    cuts = [low, *(at + 1 for at in range(low, high - 1) if common[at] == least), high]
    parts = [_best(common, a, b) for a, b in pairwise(cuts)]
    whole, divided = (high - low - 1) * least - WORTH, sum(saved for saved, _ in parts)
    if whole > 0 and whole >= divided:
        return whole, [(low, high)]
    return divided, [span for _, spans in parts for span in spans]


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many first ids are equal."""
    shortest = min(len(one), len(other))
    return next((at for at in range(shortest) if one[at] != other[at]), shortest)
