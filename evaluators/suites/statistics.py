"""Means with standard errors, and paired comparisons: pure numbers.

Items of one group (paraphrases, questions on one document) are not independent; a group counts as one draw. Standard
errors are the clustered ones of Miller, "Adding Error Bars to Evals" (2024), with the correction G/(G-1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Verdict = Literal["better", "worse", "inconclusive"]
DRAWS = 10_000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A value and its standard error (None where fewer than two groups stand behind it)."""

    value: float
    stderr: float | None
    items: int


def mean(values: Sequence[float], groups: Sequence[str] | None = None) -> Estimate | None:
    """The mean of `values` with its standard error over groups; None of no values."""
    if not values:
        return None
    scores = np.asarray(values, dtype=float)
    value = float(scores.mean())
    sums = _group_sums(scores - value, groups)
    count = len(sums)
    if count < 2:
        return Estimate(value, None, len(scores))
    stderr = float(np.sqrt(count / (count - 1) * np.sum(sums**2)) / len(scores))
    return Estimate(value, stderr, len(scores))


def bootstrap_stderr(
    groups: Sequence[str], statistic: Callable[[Sequence[int]], float | None], draws: int = 200, seed: int = 0
) -> float | None:
    """The standard error of a statistic of many items (F1, consistency), by drawing groups with replacement.

    `statistic` takes the places of the drawn items, repeated as they were drawn. None for fewer than two groups.
    """
    members: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(place)
    clusters = list(members.values())
    if len(clusters) < 2:
        return None
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        drawn = rng.integers(len(clusters), size=len(clusters))
        value = statistic([place for index in drawn for place in clusters[index]])
        if value is not None:
            found.append(value)
    return float(np.std(found, ddof=1)) if len(found) > 1 else None


@dataclass(frozen=True)
class Difference:
    """B against A on the same items. `interval` is the two-sided 95% one, `at_most` and `at_least` are one-sided
    95% limits of the difference B - A. `p` is two-sided; `p_beyond` is for "B is worse than A by more than the
    bound". `test` names how `p` was found. For one binary score an item it is McNemar's exact test."""

    items: int
    groups: int
    a: float
    b: float
    difference: float
    interval: tuple[float, float]
    at_least: float
    at_most: float
    p: float
    p_beyond: float
    test: Literal["mcnemar", "paired bootstrap"]


def paired_difference(
    a: Sequence[float],
    b: Sequence[float],
    groups: Sequence[str] | None = None,
    *,
    bound: float = 0.0,
    seed: int = 0,
) -> Difference:
    """How much better B is than A on the same items, `a[i]` beside `b[i]`.

    Intervals come from a bootstrap that draws groups (10,000 draws). Where all groups differ alike (as where both
    models get everything right) it has nothing to draw from, and `_unseen` says how far off the mean may still be.
    Bootstrapped p-values are too small for few items, so none is taken that is below McNemar's exact one (binary
    scores) or the paired t-test's (others). Raises ValueError without items or for sequences of unequal length.
    """
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if not len(first) or len(first) != len(second):
        raise ValueError("a paired comparison needs the scores of both on the same items")
    deltas = second - first
    sums = _group_sums(deltas, groups)
    sizes = _group_sums(np.ones(len(deltas)), groups)
    drawn = _drawn_means(sums, sizes, seed)
    alone = len(sums) == len(deltas)
    binary = alone and bool(np.isin(np.concatenate([first, second]), (0.0, 1.0)).all())
    worse_zero = _least_p(sums, sizes, 0.0, binary=binary)
    better_zero = _least_p(-sums, sizes, 0.0, binary=binary)
    below = max(_share(drawn >= 0), worse_zero)
    above = max(_share(drawn <= 0), better_zero)
    boot = min(1.0, 2 * min(below, above))
    exact = min(1.0, 2 * min(worse_zero, better_zero))
    beyond = max(
        _share(drawn >= -bound), worse_zero if binary else _least_p(sums, sizes, bound, binary=False)
    )
    low, high = np.quantile(drawn, [0.025, 0.975])
    at_least, at_most = np.quantile(drawn, [0.05, 0.95])
    within_unit = bool((np.abs(np.concatenate([first, second]) - 0.5) <= 0.5).all())
    if within_unit and np.ptp(sums / sizes) < 1e-12:
        low, high = _unseen(float(deltas.mean()), len(sums), 0.025)
        at_least, at_most = _unseen(float(deltas.mean()), len(sums), 0.05)
    return Difference(
        items=len(deltas),
        groups=len(sums),
        a=float(first.mean()),
        b=float(second.mean()),
        difference=float(deltas.mean()),
        interval=(float(low), float(high)),
        at_least=float(at_least),
        at_most=float(at_most),
        p=exact if binary else boot,
        p_beyond=beyond,
        test="mcnemar" if binary else "paired bootstrap",
    )


def mcnemar(only_a: int, only_b: int) -> float:
    """The exact two-sided p-value of McNemar's test: `only_a` items were right for A alone, `only_b` for B alone."""
    from scipy.stats import binomtest

    count = only_a + only_b
    return 1.0 if count == 0 else float(binomtest(only_a, count, 0.5).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: compare them with one level for all."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def verdict(difference: float, adjusted_p: float, level: float = 0.05) -> Verdict:
    """What a difference with its (adjusted) p-value shows; "inconclusive" is a result of its own."""
    if adjusted_p >= level or difference == 0:
        return "inconclusive"
    return "better" if difference > 0 else "worse"


def _group_sums(values: Floats, groups: Sequence[str] | None) -> Floats:
    if groups is None:
        return values
    _, places = np.unique(np.asarray(groups), return_inverse=True)
    return np.bincount(places, weights=values).astype(float)


def _drawn_means(sums: Floats, sizes: Floats, seed: int) -> Floats:
    """Means of bootstrap draws of groups, a part at a time: no array of draws x groups for large suites."""
    rng = np.random.default_rng(seed)
    means = np.empty(DRAWS)
    part = max(1, min(DRAWS, 4_000_000 // len(sums)))
    for start in range(0, DRAWS, part):
        drawn = rng.integers(len(sums), size=(min(part, DRAWS - start), len(sums)))
        means[start : start + len(drawn)] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return means


def _unseen(difference: float, count: int, level: float) -> tuple[float, float]:
    """Limits, each at `level`, of the mean of differences from -1 to 1 after `count` draws that were all `difference`:
    at most a share 1 - level^(1/count) of all is otherwise (the rule of three, Hanley & Lippman-Hand 1983), and that
    may be -1 or 1."""
    share = 1 - level ** (1 / count)
    return (1 - share) * difference - share, (1 - share) * difference + share


def _share(hits: NDArray[np.bool_]) -> float:
    return float((hits.sum() + 1) / (len(hits) + 1))


def _least_p(sums: Floats, sizes: Floats, bound: float, *, binary: bool) -> float:
    """One-sided p for a mean difference below -bound, by an exact or a t-test."""
    from scipy.stats import binom, t

    if binary:
        losses, wins = int((sums < 0).sum()), int((sums > 0).sum())
        return float(binom.cdf(wins, losses + wins, 0.5)) if losses + wins else 1.0
    count = len(sums)
    if count < 2:
        return 1.0
    center = float(sums.sum() / sizes.sum())
    rest = sums - center * sizes
    stderr = float(np.sqrt(count / (count - 1) * np.sum(rest**2)) / sizes.sum())
    if stderr < 1e-12:
        return 0.5**count if center < -bound else 1.0
    return float(t.cdf((center + bound) / stderr, count - 1))
