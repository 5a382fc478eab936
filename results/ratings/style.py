"""Bradley-Terry with covariates: how much of a verdict is style (length, headers, lists, bold), how much is
model.

P(a beats b) = 1 / (1 + exp(-(t_a - t_b + x beta))), x being the difference of the answers' styles; a tie is
half a win. Newton (IRLS) on rows sorted by pair: the models' part of each step is summed per pair first, so a
step costs a few passes over the rows and no design matrix of models is ever built.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from results.ratings._newton import Local, covariance, maximise_concave
from results.ratings._threads import one_thread
from results.ratings.bradley_terry import MEAN, SCALE, BradleyTerry, assemble, maximise
from results.ratings.counts import Floats, Ints, PairCounts
from results.ratings.rateability import rateability
from results.ratings.ties import Estimate, estimate


@dataclass(frozen=True, eq=False)
class StyleFit:
    """Ratings at equal style (`base`) and a coefficient per covariate, in natural units: one unit more of it
    on side a multiplies the odds of a by exp(value)."""

    base: BradleyTerry
    coefficients: dict[str, Estimate]


def normalised_difference(a: npt.ArrayLike, b: npt.ArrayLike) -> Floats:
    """(a - b) / (a + b), 0 where both are 0, scaled to unit standard deviation: how Chatbot Arena's style
    control makes covariates of two counts (tokens, headers, lists, bold). Raises ValueError for negative
    counts."""
    a_, b_ = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if (a_ < 0).any() or (b_ < 0).any():
        raise ValueError("counts must not be negative")
    total = a_ + b_
    difference = np.divide(a_ - b_, total, out=np.zeros_like(total), where=total > 0)
    spread = float(difference.std())
    return np.asarray(difference / spread if spread > 0 else difference)


def rate_with_style(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    outcome: npt.ArrayLike,
    covariates: npt.ArrayLike,
    models: int,
    *,
    names: Sequence[str],
    weight: npt.ArrayLike | None = None,
    level: float = 0.95,
    mean: float = MEAN,
    scale: float = SCALE,
) -> StyleFit:
    """Rate models at equal style, with sandwich intervals of ratings and coefficients.

    `a`, `b`, `outcome` and `weight` are as for `PairCounts.of`; `covariates` has shape (rows, k):
    differences, side a minus side b, which change sign with the sides. Its columns are called `names`. A
    column of ones estimates the advantage of side a. Rows of models that cannot be rated are left out. Raises
    Unidentified for covariates that separate wins from losses or always go with the same models, ValueError
    for wrong shapes.
    """
    counts = PairCounts.of(a, b, outcome, models, weight=weight)
    x = np.asarray(covariates, dtype=np.float64)
    if x.ndim != 2 or x.shape != (len(np.asarray(a)), len(names)):
        raise ValueError("covariates must have one row per comparison and one column per name")
    if not np.isfinite(x).all():
        raise ValueError("covariates must be finite")
    found = rateability(counts)
    n = len(found.rated)
    if not n:
        base = assemble(
            counts, found, np.empty(0), np.empty((0, 0)), level=level, mean=mean, scale=scale, steps=0
        )
        return StyleFit(base, {})
    rows = _Rows.of(a, b, outcome, x, weight, found.rated, models)
    with one_thread():
        start = np.concatenate([maximise(counts.subset(found.rated))[0], np.zeros(x.shape[1])])
        theta, here, steps = maximise_concave(rows.local, start, n)
        spread = covariance(here.information, rows.meat(theta), n)
    base = assemble(
        counts, found, theta[:n], spread[:n, :n], level=level, mean=mean, scale=scale, steps=steps
    )
    errors = np.sqrt(np.maximum(np.diag(spread)[n:], 0.0))
    coefficients = {
        name: estimate(float(value), float(error), level)
        for name, value, error in zip(names, theta[n:], errors, strict=True)
    }
    return StyleFit(base, coefficients)


_LEAST = np.finfo(np.float64).tiny

_SCORES = np.array([1.0, 0.5, 0.0])
"""What side a scores by outcome code."""


@dataclass(frozen=True, eq=False)
class _Rows:
    """Comparisons among rated models, sorted by pair. `first` is where each pair's rows begin, `i` and `j`
    are its models; `won` is the score of side a, `w` the weight, `x` (k, rows) the covariates."""

    i: Ints
    j: Ints
    first: Ints
    won: Floats
    w: Floats | None
    x: Floats
    models: int

    @classmethod
    def of(
        cls, a: npt.ArrayLike, b: npt.ArrayLike, outcome: npt.ArrayLike, x: Floats,
        weight: npt.ArrayLike | None, rated: Ints, models: int,
    ) -> _Rows:  # fmt: skip
        # 16 bits are enough for 256 models, and NumPy sorts them by radix.
        place = np.full(models, -1, np.int64 if len(rated) > 256 else np.int32)
        place[rated] = np.arange(len(rated))
        a_, b_ = place[np.asarray(a)], place[np.asarray(b)]
        pair = a_ * len(rated) + b_
        keep = np.flatnonzero((a_ >= 0) & (b_ >= 0))
        if len(keep) < len(pair):
            pair = pair[keep]
        order = np.argsort(pair.astype(np.uint16) if len(rated) <= 256 else pair, kind="stable")
        pair = pair[order]
        rows = order if len(keep) == len(a_) else keep[order]
        first = np.flatnonzero(np.diff(pair, prepend=-1))
        won = _SCORES[np.asarray(outcome)[rows]]
        w = None if weight is None else np.asarray(weight, dtype=np.float64)[rows]
        i, j = np.divmod(pair[first].astype(np.int64), len(rated))
        return cls(i, j, first, won, w, np.ascontiguousarray(x.take(rows, axis=0).T), len(rated))

    def local(self, theta: Floats) -> Local:
        gap = self._gap(theta)
        p, q = expit(gap), expit(-gap)
        # log(1 - p) as it stands keeps its digits where p is near 1; where q is 0 no double holds it.
        value = float(self._weighed(self.won * gap + np.log(np.maximum(q, _LEAST))).sum())
        residual = self._weighed(self.won - p)
        per_pair = self._sums(residual)
        gradient = np.concatenate([self._at_models(per_pair), self.x @ residual])
        return Local(value, gradient, self._matrix(self._weighed(p * q)))

    def meat(self, theta: Floats) -> Floats:
        return self._matrix(self._weighed(self.won - expit(self._gap(theta))) ** 2)

    def _weighed(self, values: Floats) -> Floats:
        return values if self.w is None else self.w * values

    def _gap(self, theta: Floats) -> Floats:
        t = theta[: self.models]
        sizes = np.diff(np.append(self.first, len(self.won)))
        return np.asarray(np.repeat(t[self.i] - t[self.j], sizes) + theta[self.models :] @ self.x)

    def _sums(self, values: Floats) -> Floats:
        return np.asarray(np.add.reduceat(values, self.first, axis=-1))

    def _at_models(self, per_pair: Floats) -> Floats:
        """Sums over pairs, plus where a model is on side a and minus where it is on side b."""
        plus = np.bincount(self.i, per_pair, self.models)
        return np.asarray(plus - np.bincount(self.j, per_pair, self.models))

    def _matrix(self, h: Floats) -> Floats:
        """Sum of h z z^T over rows, z being the row's full design vector; shape (n + k, n + k)."""
        n, k = self.models, len(self.x)
        pairs = self._sums(h)
        matrix = np.zeros((n + k, n + k))
        np.subtract.at(matrix, (self.i, self.j), pairs)
        np.subtract.at(matrix, (self.j, self.i), pairs)
        on = np.arange(n)
        matrix[on, on] = np.bincount(self.i, pairs, n) + np.bincount(self.j, pairs, n)
        for column in range(k):
            weighted = h * self.x[column]
            matrix[:n, n + column] = self._at_models(self._sums(weighted))
            matrix[n + column, :n] = matrix[:n, n + column]
            matrix[n + column, n:] = self.x @ weighted
        return matrix
