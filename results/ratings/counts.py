"""Comparisons summed up per ordered pair of models: all that a plain rating needs to know of the votes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

A_WON, TIE, B_WON = 0, 1, 2
"""Outcome codes, and the last axis of `PairCounts.cells`. `both_bad` counts as a tie."""

OUTCOME = {"a": A_WON, "tie": TIE, "both_bad": TIE, "b": B_WON}
"""Outcome code of each verdict."""


@dataclass(frozen=True, eq=False)
class PairCounts:
    """Counts (or sums of weights) of outcomes for n models.

    `cells[i, j, k]` is how often i on side a met j on side b with outcome code k; shape (n, n, 3).
    `squares` holds sums of squared weights in the same shape, which intervals of weighted data need; for
    plain counts it equals `cells`.
    """

    cells: Floats
    squares: Floats

    @classmethod
    def of(cls, a: npt.ArrayLike, b: npt.ArrayLike, outcome: npt.ArrayLike, models: int,
           count: npt.ArrayLike | None = None, weight: npt.ArrayLike | None = None) -> Self:  # fmt: skip
        """Sum rows up: `a`, `b` are model indices below `models`, `outcome` codes, `count` how many
        comparisons a row stands for (default 1), `weight` what each of them weighs (default 1).

        Raises ValueError for an index or code out of range, a negative or non-finite count or weight, or a
        model compared with itself.
        """
        a_, b_, outcome_ = checked(a, b, outcome, models)
        size, shape = models * models * 3, (models, models, 3)
        # In place: new memory for each step would take longer than the steps.
        flat = a_.astype(np.int64)
        flat *= models
        np.add(flat, b_, out=flat, casting="unsafe")
        flat *= 3
        np.add(flat, outcome_, out=flat, casting="unsafe")
        n = None if count is None else _nonnegative("count", count, len(a_))
        if weight is None:
            plain = np.asarray(np.bincount(flat, n, size), dtype=np.float64).reshape(shape)
            return cls(plain, plain)
        w = _nonnegative("weight", weight, len(a_))
        sums, squares = (w, w * w) if n is None else (n * w, n * w * w)
        cells, of_squares = (
            np.asarray(np.bincount(flat, x, size), dtype=np.float64).reshape(shape) for x in (sums, squares)
        )
        return cls(cells, of_squares)

    @property
    def models(self) -> int:
        """How many models there are, met or not."""
        return int(self.cells.shape[0])

    @property
    def total(self) -> float:
        """The number of comparisons (or sum of weights)."""
        return float(self.cells.sum())

    @cached_property
    def wins(self) -> Floats:
        """`wins[i, j]`: how often i beat j, on either side; shape (n, n)."""
        return np.asarray(self.cells[:, :, A_WON] + self.cells[:, :, B_WON].T)

    @cached_property
    def ties(self) -> Floats:
        """`ties[i, j]`: how often i and j tied, on either side; symmetric, shape (n, n)."""
        return np.asarray(self.cells[:, :, TIE] + self.cells[:, :, TIE].T)

    @cached_property
    def games(self) -> Floats:
        """`games[i, j]`: how often i met j; symmetric, shape (n, n)."""
        return np.asarray(self.wins + self.wins.T + self.ties)

    @cached_property
    def wins_squares(self) -> Floats:
        """Like `wins`, of squared weights."""
        return np.asarray(self.squares[:, :, A_WON] + self.squares[:, :, B_WON].T)

    @cached_property
    def ties_squares(self) -> Floats:
        """Like `ties`, of squared weights."""
        return np.asarray(self.squares[:, :, TIE] + self.squares[:, :, TIE].T)

    def subset(self, indices: npt.ArrayLike) -> PairCounts:
        """The comparisons among these models only, in the order given."""
        keep = np.ix_(np.asarray(indices, dtype=np.intp), np.asarray(indices, dtype=np.intp))
        cells = self.cells[keep]
        return PairCounts(cells, cells if self.squares is self.cells else self.squares[keep])


def checked(
    a: npt.ArrayLike, b: npt.ArrayLike, outcome: npt.ArrayLike, models: int
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Columns of comparisons as arrays of whole numbers of the width they have. Raises ValueError as `PairCounts.of`
    does."""
    a_, b_, outcome_ = (_whole(column) for column in (a, b, outcome))
    if not a_.shape == b_.shape == outcome_.shape or a_.ndim != 1:
        raise ValueError("a, b and outcome must be one-dimensional and of one length")
    if len(a_) and (min(a_.min(), b_.min()) < 0 or max(a_.max(), b_.max()) >= models):
        raise ValueError(f"model indices must lie in 0..{models - 1}")
    if len(a_) and (outcome_.min() < A_WON or outcome_.max() > B_WON):
        raise ValueError("outcome codes are 0 (a won), 1 (tie) and 2 (b won)")
    if (a_ == b_).any():
        raise ValueError("a model cannot be compared with itself")
    return a_, b_, outcome_


def _whole(column: npt.ArrayLike) -> npt.NDArray[Any]:
    array = np.asarray(column)
    return array if array.dtype.kind in "iu" else array.astype(np.int64)


def _nonnegative(name: str, values: npt.ArrayLike, length: int) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (length,):
        raise ValueError(f"{name} must have one value per row")
    if not np.isfinite(array).all() or (array < 0).any():
        raise ValueError(f"{name} must be finite and not negative")
    return array
