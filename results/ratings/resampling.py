"""Bootstrap of Bradley-Terry ratings on counts: no row is touched, whatever their number."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from results.ratings._threads import one_thread
from results.ratings.bradley_terry import MEAN, SCALE, bradley_terry, maximise
from results.ratings.counts import Floats, Ints, PairCounts
from results.ratings.rateability import strongly_connected


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """`ratings` (draws, n) of resampled votes; `lower` and `upper` (n,) are their percentiles, NaN for models
    not rated. `failed` counts draws in which the votes no longer connected all rated models: those rows are
    NaN, and with many of them percentiles are too narrow."""

    ratings: Floats
    lower: Floats
    upper: Floats
    failed: int


def bootstrap(
    counts: PairCounts,
    draws: int = 200,
    *,
    seed: int = 0,
    level: float = 0.95,
    mean: float = MEAN,
    scale: float = SCALE,
) -> Bootstrap:
    """Resample the comparisons `draws` times (a multinomial over cells is the same as over rows) and rate
    each.

    Percentile intervals of 100 draws cover less than they say (0.92-0.93 for 0.95): use some hundreds, or the
    sandwich of `bradley_terry`, which needs none. Raises ValueError for weighted counts, for which a
    multinomial is wrong, and for fewer than two draws.
    """
    if draws < 2:
        raise ValueError("a bootstrap needs at least two draws")
    if counts.squares is not counts.cells or (counts.cells % 1).any():
        raise ValueError("a bootstrap on counts needs plain counts, not weights")
    fit = bradley_terry(counts, mean=mean, scale=scale)
    rated = fit.rated
    ratings = np.full((draws, counts.models), np.nan)
    lower, upper = np.full(counts.models, np.nan), np.full(counts.models, np.nan)
    if not len(rated):
        return Bootstrap(ratings, lower, upper, draws)
    inner, unit = counts.subset(rated), scale / math.log(10)
    # Which side sat where does not matter here: fold, so that there are fewer cells to draw.
    i, j = np.nonzero(np.triu(inner.games, 1))
    folded = np.stack([inner.wins[i, j], inner.ties[i, j], inner.wins[j, i]], axis=1).astype(np.int64)
    start = (fit.ratings[rated] - mean) / unit
    rng = np.random.default_rng(seed)
    failed = 0
    with one_thread():
        for draw in range(draws):
            unfolded = np.zeros((len(rated), len(rated), 3))
            unfolded[i, j] = resample(folded, rng)
            sample = PairCounts(unfolded, unfolded)
            if strongly_connected((sample.wins + sample.ties) > 0):
                ratings[draw, rated] = mean + unit * maximise(sample, start)[0]
            else:
                failed += 1
    if failed < draws:
        tail = (1 - level) / 2
        lower[rated], upper[rated] = np.nanquantile(ratings[:, rated], [tail, 1 - tail], axis=0)
    return Bootstrap(ratings, lower, upper, failed)


def resample(counts: Ints, rng: np.random.Generator) -> Ints:
    """As many comparisons as `counts` (of any shape) has, drawn from them with replacement: a multinomial draw, in half
    the time that NumPy takes for one.

    Poisson draws given their sum are multinomial; to reach the number, comparisons are added at random or taken away
    at random, which leaves the others independent draws.
    """
    cells = counts.ravel()
    total = int(cells.sum())
    drawn = rng.poisson(cells)
    excess = int(drawn.sum()) - total
    if excess < 0:
        ends = np.cumsum(cells)
        rows = np.searchsorted(ends, rng.integers(0, total, -excess), side="right")
        drawn += np.bincount(rows, minlength=len(cells))
    elif excess > 0:
        ends = np.cumsum(drawn)
        rows = np.searchsorted(ends, rng.choice(total + excess, excess, replace=False), side="right")
        drawn -= np.bincount(rows, minlength=len(cells))
    return np.asarray(drawn.reshape(counts.shape))
