"""Which models can be rated at all: the maximum-likelihood ratings are finite exactly inside a group of
models each of which scored against the rest, directly or through others (Ford, 1957)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from results.ratings.counts import Ints, PairCounts

Flags = npt.NDArray[np.bool_]

Status = Literal["rated", "no_votes", "undefeated", "winless", "unplaced", "apart"]

REASONS: dict[Status, str] = {
    "rated": "",
    "no_votes": "no votes yet",
    "undefeated": "never lost or tied against the rated models, so its rating has no upper limit yet",
    "winless": "never won or tied against the rated models, so its rating has no lower limit yet",
    "unplaced": "its votes do not place it above or below the rated models yet",
    "apart": "no chain of comparisons leads from it to the rated models",
}
"""Why a model of each status is not rated, for people."""


@dataclass(frozen=True, eq=False)
class Rateability:
    """`rated` holds the indices (ascending) of the models that can be rated together, possibly none;
    `status` has one entry per model; `component[i]` numbers the set of models that comparisons connect with i
    (-1 without votes)."""

    rated: Ints
    status: tuple[Status, ...]
    component: Ints


def rateability(counts: PairCounts) -> Rateability:
    """Find the largest group (most models, then most comparisons) in which every model scored, by wins or
    ties, against every other directly or through a chain, and say of each other model why it is outside."""
    n = counts.models
    scored = (counts.wins + counts.ties) > 0
    if strongly_connected(scored):
        all_rated: list[Status] = ["rated"] * n
        return Rateability(np.arange(n), tuple(all_rated), np.zeros(n, np.int64))

    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    graph = csr_array(scored.astype(np.int8))
    group: Ints = connected_components(graph, directed=True, connection="strong")[1].astype(np.int64)
    component: Ints = connected_components(graph, directed=True, connection="weak")[1].astype(np.int64)
    met: Flags = counts.games.sum(axis=1) > 0
    component[~met] = -1

    sizes = np.bincount(group, minlength=1)
    largest = -1
    if n and sizes.max() >= 2:
        volume = np.bincount(group, counts.games.sum(axis=1))
        largest = int(np.lexsort((volume, sizes))[-1])
    rated: Ints = np.flatnonzero(group == largest).astype(np.int64)

    above = _reach(scored, rated, n)  # scored, through others perhaps, against the rated group
    below = _reach(scored.T, rated, n)
    home = component[rated[0]] if len(rated) else -2
    status: list[Status] = []
    for i in range(n):
        if not met[i]:
            status.append("no_votes")
        elif group[i] == largest:
            status.append("rated")
        elif above[i]:
            status.append("undefeated")
        elif below[i]:
            status.append("winless")
        elif component[i] == home or not len(rated):
            status.append("unplaced")
        else:
            status.append("apart")
    return Rateability(rated, tuple(status), component)


def strongly_connected(scored: Flags) -> bool:
    """Whether a chain of scores leads from each of at least two models to each other; `scored` (n, n) says who scored
    against whom."""
    if len(scored) < 2:
        return False
    one = np.zeros(1, dtype=np.intp)
    return bool(_reach(scored, one, len(scored)).all() and _reach(scored.T, one, len(scored)).all())


def _reach(scored: Flags, targets: Ints, n: int) -> Flags:
    """Which models reach a target by a chain of scores (targets included)."""
    found = np.zeros(n, dtype=bool)
    found[targets] = True
    frontier = found
    while frontier.any():
        frontier = scored[:, frontier].any(axis=1) & ~found
        found = found | frontier
    return found
