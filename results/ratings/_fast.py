"""Loops that cannot be vectorised, compiled where numba is installed (`pip install palaestra[fast]`)."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from results.ratings.counts import Floats

Flags = npt.NDArray[np.bool_]
Whole = npt.NDArray[Any]
Walk = Callable[[Floats, Flags, Whole, Whole, Whole, Floats, float], None]

WORTH_COMPILING = 100_000
"""Rows of one chunk from which on compiling (about a second, once for each installation) pays."""


def walk(
    rating: Floats, seen: Flags, a: Whole, b: Whole, outcome: Whole, earned: Floats, step: float
) -> None:
    """Move `rating` (models,) by each comparison in order, and mark who was `seen`; `earned` is what side a earned
    by each outcome code, times `step`."""
    for n in range(len(a)):
        i, j = a[n], b[n]
        seen[i] = True
        seen[j] = True
        change = earned[outcome[n]] - step / (1.0 + math.exp(rating[j] - rating[i]))
        rating[i] += change
        rating[j] -= change


def walk_lists(
    rating: Floats, seen: Flags, a: Whole, b: Whole, outcome: Whole, earned: Floats, step: float
) -> None:
    """`walk` for the interpreter, which is several times faster on lists of its own numbers."""
    seen[a] = True
    seen[b] = True
    exp, values = math.exp, rating.tolist()
    for i, j, points in zip(a.tolist(), b.tolist(), earned[outcome].tolist(), strict=True):
        x = values[i]
        y = values[j]
        change = points - step / (1.0 + exp(y - x))
        values[i] = x + change
        values[j] = y - change
    rating[:] = np.asarray(values)


def fastest(rows: int) -> Walk:
    """The fastest way to walk a chunk of `rows` comparisons."""
    compiled = _compiled() if rows >= WORTH_COMPILING else None
    return compiled or walk_lists


@cache
def _compiled() -> Callable[..., Any] | None:
    try:
        numba = importlib.import_module("numba")
    except ImportError:
        return None
    found: Callable[..., Any] = numba.njit(cache=True, nogil=True)(walk)
    return found
