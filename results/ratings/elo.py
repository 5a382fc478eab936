"""Online Elo: each comparison, in order, moves two ratings a little (Elo, 1978)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from results.ratings._fast import fastest
from results.ratings.counts import Floats, checked

Columns = tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]


def elo(
    chunks: Iterable[Columns],
    models: int,
    *,
    k: float = 4.0,
    initial: float = 1000.0,
    scale: float = 400.0,
    base: float = 10.0,
) -> Floats:
    """Ratings of `models` models after all comparisons, shape (models,); NaN for a model that none names.

    `chunks` yields columns (a, b, outcome) of model indices and outcome codes (`results.ratings.counts`) in
    the order in which the comparisons happened, so that a long history need not be in memory at once. A tie
    gives each half a point. Raises ValueError for bad columns or parameters.
    """
    if not (k > 0 and scale > 0 and base > 1 and math.isfinite(initial)):
        raise ValueError("k and scale must be positive, base above 1 and initial finite")
    if k > 10 * scale:
        raise ValueError("k must be at most 10 x scale")
    # Ratings are kept in units of scale/ln(base) around zero: then an update is one exp and no power.
    unit = scale / math.log(base)
    step = k / unit
    earned = np.array([step, step / 2, 0.0])
    rating = np.zeros(models)
    seen = np.zeros(models, dtype=bool)
    for columns in chunks:
        a, b, outcome = checked(*columns, models)
        fastest(len(a))(rating, seen, a, b, outcome, earned, step)
    return np.where(seen, initial + unit * rating, np.nan)


def elo_predict(rating_a: float, rating_b: float, *, scale: float = 400.0, base: float = 10.0) -> float:
    """The expected score of a against b: P(a wins) with a tie as half a win."""
    return float(1.0 / (1.0 + base ** ((rating_b - rating_a) / scale)))
