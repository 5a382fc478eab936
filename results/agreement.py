"""How well raters agree: people with each other, judges with people. Numbers only, nothing of the store.

A battle's table (3, 3) says how likely two verdicts drawn at random from it fall where: a person's (rows: A, tie,
B) against a judge's (columns), or two different people's. Battles weigh the same. Agreement is the trace of the
mean table; Cohen's kappa (1960) sets it against what the margins alone would give; Krippendorff's alpha (2004,
"Content Analysis", ch. 11) against what pairing any two verdicts at random would give.

Votes on one battle hang together, and so do battles on one item: intervals take whole clusters as the units.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

ENOUGH = 20
"""Below this many battles no interval is given: it would be worth nothing."""

FEWEST_CLUSTERS = 8
"""Below this many clusters no interval is given either: resampling so few of them comes out far too narrow."""

DRAWS = 2000


@dataclass(frozen=True)
class Share:
    """A share or a coefficient, with its interval where there are enough battles."""

    value: float
    lower: float | None
    upper: float | None


@dataclass(frozen=True)
class Agreement:
    """`judge` against people, or people with each other (None). `kappa` is None where all verdicts are equal.
    `same_winner` is the agreement where both named a winner (None where they never did).
    `table` holds the mean shares; rows: a person's verdict (A, tie, B), columns: the other's."""

    judge: str | None
    battles: int
    votes: int
    agreement: Share
    kappa: Share | None
    same_winner: Share | None
    table: tuple[tuple[float, ...], ...]


def summarise(judge: str | None, tables: Floats, n: Floats, votes: int, level: float) -> Agreement:
    """Agreement and kappa of battles' tables (k, 3, 3), each standing for `n` (k,) battles; intervals by the
    delta method with battles as the independent units."""
    battles = n.sum()
    mean = np.einsum("b,bij->ij", n, tables) / battles
    rows, columns = mean.sum(axis=1), mean.sum(axis=0)
    agreed, by_chance = float(np.trace(mean)), float(rows @ columns)
    diagonal = np.eye(3)

    def share(value: float, gradient: Floats, least: float) -> Share:
        if battles < ENOUGH:
            return Share(value, None, None)
        influence = np.einsum("ij,bij->b", gradient, tables - mean)
        error = math.sqrt(float((n * influence**2).sum())) / float(battles)
        half = float(ndtri(0.5 + level / 2)) * error
        return Share(value, max(least, value - half), min(1.0, value + half))

    kappa = None
    if 1 - by_chance > 1e-12:
        slope = (diagonal * (1 - by_chance) - (1 - agreed) * (columns[:, None] + rows[None, :])) / (
            1 - by_chance
        ) ** 2
        kappa = share((agreed - by_chance) / (1 - by_chance), slope, -1.0)
    same_winner = None
    corners = np.ix_([0, 2], [0, 2])
    named = float(mean[corners].sum())
    if named > 0:
        same = float(mean[0, 0] + mean[2, 2]) / named
        slope = np.zeros((3, 3))
        slope[corners] = (np.eye(2) - same) / named
        same_winner = share(same, slope, 0.0)
    shares = tuple(tuple(float(x) for x in row) for row in mean)
    return Agreement(judge, int(battles), votes, share(agreed, diagonal, 0.0), kappa, same_winner, shares)


def cross_tables(people: Floats, judge: Floats) -> Floats:
    """Tables (k, 3, 3) of battles whose verdicts (A, tie, B) people gave `people` (k, 3) times and the judge
    `judge` (k, 3) times; neither has an empty row."""
    shares = people / people.sum(axis=1, keepdims=True), judge / judge.sum(axis=1, keepdims=True)
    return np.asarray(np.einsum("bi,bj->bij", *shares))


def own_tables(people: Floats) -> Floats:
    """Tables (k, 3, 3) of two different people of each battle; every row of `people` (k, 3) sums to 2 or more."""
    size = people.sum(axis=1)
    tables = np.einsum("bi,bj->bij", people, people)
    tables[:, range(3), range(3)] -= people
    return np.asarray(tables / (size * (size - 1))[:, None, None])


def kappa_of(table: Floats) -> float:
    """Cohen's kappa of a table of shares (3, 3); NaN where chance alone explains everything."""
    by_chance = float(table.sum(axis=1) @ table.sum(axis=0))
    return (float(np.trace(table)) - by_chance) / (1 - by_chance) if by_chance < 1 - 1e-12 else math.nan


def coincidences(counts: Floats) -> Floats:
    """Krippendorff's coincidence matrix (c, c) of units that each value was given to `counts` (units, c) times;
    units with fewer than two values say nothing and are left out."""
    paired = counts[counts.sum(axis=1) >= 2]
    size = paired.sum(axis=1)
    scaled = paired / (size - 1)[:, None]
    return np.asarray(scaled.T @ paired - np.diag(scaled.sum(axis=0)))


def alpha_of(coincidence: Floats, *, distances: Floats | None = None) -> float:
    """Krippendorff's alpha of a coincidence matrix (c, c), nominal unless `distances` (c, c) between the values
    are given (squared differences for an interval scale); NaN where all values are equal."""
    away = 1.0 - np.eye(len(coincidence)) if distances is None else distances
    margins = coincidence.sum(axis=1)
    total = float(margins.sum())
    expected = float((np.outer(margins, margins) * away).sum()) / (total - 1) if total > 1 else 0.0
    return 1.0 - float((coincidence * away).sum()) / expected if expected > 0 else math.nan


def clustered(
    statistic: Callable[[Floats], float],
    parts: Floats,
    clusters: Ints,
    *,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Share:
    """`statistic` of the summed `parts` (units, ...), with a percentile interval from resampling whole clusters.

    `clusters` (units,) says which units hang together. No interval of fewer than ENOUGH units or FEWEST_CLUSTERS
    clusters. The same seed gives the same interval.
    """
    value = statistic(parts.sum(axis=0))
    names, places = np.unique(clusters, return_inverse=True)
    if len(parts) < ENOUGH or len(names) < FEWEST_CLUSTERS:
        return Share(value, None, None)
    sums = np.zeros((len(names), *parts.shape[1:]))
    np.add.at(sums, places, parts)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    totals = np.tensordot(drawn.astype(np.float64), sums, axes=1)
    values = np.asarray([statistic(total) for total in totals])
    values = values[np.isfinite(values)]
    if len(values) < draws / 2:
        return Share(value, None, None)
    lower, upper = np.quantile(values, [0.5 - level / 2, 0.5 + level / 2])
    return Share(value, float(lower), float(upper))


def wilson(successes: float, trials: float, level: float = 0.95) -> Share:
    """A share of independent trials with Wilson's interval (1927); NaN of none."""
    if trials <= 0:
        return Share(math.nan, None, None)
    z, share = float(ndtri(0.5 + level / 2)), successes / trials
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
    return Share(share, max(0.0, middle - half), min(1.0, middle + half))
