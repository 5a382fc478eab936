"""Bradley-Terry with covariates: how much of a verdict is style (length, headers, lists, bold), how much is
model.

P(a beats b) = 1 / (1 + exp(-(t_a - t_b + x beta))), x being the difference of the answers' styles; a tie is
half a win. Newton (IRLS) on rows sorted by pair: the models' part of each step is summed per pair first, so a
step costs a few passes over the rows and no design matrix of models is ever built.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from results.ratings._newton import Local, covariance, maximise_concave
from results.ratings._threads import one_thread
from results.ratings.bradley_terry import MEAN, SCALE, BradleyTerry, assemble, laplacian, maximise
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


_SCORES = np.array([1.0, 0.5, 0.0])
"""What side a scores by outcome code."""

_BLOCK = 8192
"""Rows worked on at a time: what a step needs of them stays in a core's cache."""


class _Sums(NamedTuple):
    """Values of rows times their design vectors, summed: per pair (pairs,), per pair times each covariate (k, pairs),
    and times the products of covariates (k, k)."""

    pairs: Floats
    mixed: Floats
    inner: Floats


@dataclass(frozen=True, eq=False)
class _Block:
    """The rows of the pairs `begin` to `end`. `first` is where each pair's rows begin and `sizes` how many they are;
    `won` is the score of side a, `w` the weight, `x` (k, rows) the covariates."""

    begin: int
    end: int
    first: Ints
    sizes: Ints
    won: Floats
    w: Floats | None
    x: Floats

    def gap(self, pairs: Floats, beta: Floats) -> Floats:
        """The log odds of side a, from those of the pairs at equal style and the coefficients."""
        return np.asarray(np.repeat(pairs[self.begin : self.end], self.sizes) + beta @ self.x)

    def weighed(self, values: Floats) -> Floats:
        return values if self.w is None else self.w * values

    def per_pair(self, values: Floats) -> Floats:
        return np.asarray(np.add.reduceat(values, self.first, axis=-1))

    def add(self, values: Floats, sums: _Sums) -> None:
        mixed = values * self.x
        sums.pairs[self.begin : self.end] = self.per_pair(values)
        sums.mixed[:, self.begin : self.end] = self.per_pair(mixed)
        sums.inner[:] += mixed @ self.x.T


@dataclass(frozen=True, eq=False)
class _Rows:
    """Comparisons among `models` rated models, sorted by pair and cut into blocks of whole pairs; `i` and `j` are the
    models of each pair, `covariates` how many there are."""

    i: Ints
    j: Ints
    blocks: tuple[_Block, ...]
    models: int
    covariates: int

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
        i, j = np.divmod(pair[first].astype(np.int64), len(rated))
        won = _SCORES[np.asarray(outcome)]
        w = None if weight is None else np.asarray(weight, dtype=np.float64)
        return cls(i, j, tuple(_blocks(rows, first, won, w, x)), len(rated), x.shape[1])

    def local(self, theta: Floats) -> Local:
        pairs, beta = self._split(theta)
        information, missed, of_style = self._empty(), np.empty(len(self.i)), np.zeros(self.covariates)
        value = 0.0
        for block in self.blocks:
            gap = block.gap(pairs, beta)
            # By exp(-|gap|) both probabilities, their product and the logarithm keep their digits.
            small = np.exp(-np.abs(gap))
            larger = 1.0 / (1.0 + small)
            p = np.where(gap >= 0, larger, small * larger)
            value += float(block.weighed(block.won * gap - np.maximum(gap, 0.0) + np.log(larger)).sum())
            residual = block.weighed(block.won - p)
            missed[block.begin : block.end] = block.per_pair(residual)
            of_style += block.x @ residual
            block.add(block.weighed(small * larger * larger), information)
        gradient = np.concatenate([self._at_models(missed), of_style])
        return Local(value, gradient, self._matrix(information))

    def meat(self, theta: Floats) -> Floats:
        pairs, beta = self._split(theta)
        sums = self._empty()
        for block in self.blocks:
            missed = block.weighed(block.won - expit(block.gap(pairs, beta)))
            block.add(missed * missed, sums)
        return self._matrix(sums)

    def _split(self, theta: Floats) -> tuple[Floats, Floats]:
        t = theta[: self.models]
        return t[self.i] - t[self.j], theta[self.models :]

    def _empty(self) -> _Sums:
        k, pairs = self.covariates, len(self.i)
        return _Sums(np.empty(pairs), np.empty((k, pairs)), np.zeros((k, k)))

    def _at_models(self, per_pair: Floats) -> Floats:
        """Sums over pairs, plus where a model is on side a and minus where it is on side b."""
        plus = np.bincount(self.i, per_pair, self.models)
        return np.asarray(plus - np.bincount(self.j, per_pair, self.models))

    def _matrix(self, sums: _Sums) -> Floats:
        """Sum of h z z^T over rows, z being the row's full design vector; shape (n + k, n + k)."""
        n, k = self.models, self.covariates
        met = self.i * n + self.j
        between = np.asarray(np.bincount(met, sums.pairs, n * n), dtype=np.float64).reshape(n, n)
        matrix = np.zeros((n + k, n + k))
        matrix[:n, :n] = laplacian(between + between.T)
        for column in range(k):
            matrix[:n, n + column] = matrix[n + column, :n] = self._at_models(sums.mixed[column])
        matrix[n:, n:] = sums.inner
        return matrix


def _blocks(rows: Ints, first: Ints, won: Floats, w: Floats | None, x: Floats) -> Iterator[_Block]:
    """`rows` in the order of their pairs, each of which begins at `first`, as blocks of whole pairs."""
    ends = np.append(first[1:], len(rows))
    begin = 0
    while begin < len(first):
        start = int(first[begin])
        end = max(begin + 1, int(np.searchsorted(ends, start + _BLOCK, side="right")))
        inside = rows[start : int(ends[end - 1])]
        yield _Block(
            begin, end, first[begin:end] - start, ends[begin:end] - first[begin:end], won[inside],
            None if w is None else w[inside], np.ascontiguousarray(x.take(inside, axis=0).T),
        )  # fmt: skip
        begin = end
