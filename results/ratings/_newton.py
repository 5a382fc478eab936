"""Newton's method for concave likelihoods in which only differences of the first n parameters matter."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from results.ratings.counts import Floats


class Local(NamedTuple):
    """A log-likelihood at one point: its value (-inf outside the domain), gradient (m,) and information (m,
    m)."""

    value: float
    gradient: Floats
    information: Floats


class Unidentified(ValueError):
    """The comparisons do not determine a parameter."""


def maximise_concave(
    evaluate: Callable[[Floats], Local], start: Floats, models: int, *, tolerance: float = 1e-8
) -> tuple[Floats, Local, int]:
    """The maximum from `start`, what the likelihood is like there, and the steps it took.

    A step below `tolerance` (relative) is the last: what is left is near its square, and the likelihood is described
    as it is before it.
    The first `models` parameters are kept at mean zero. Raises Unidentified where the likelihood has no
    single maximum, or none at all (a parameter runs off to infinity).
    """
    theta, here = start, evaluate(start)
    for step in range(1, 101):
        move = _solve(here, models)
        largest = float(np.abs(move).max())
        if largest < tolerance * max(1.0, float(np.abs(theta).max())):
            _require_identified(here.information, models)
            return _centred(theta + move, models), here, step
        shrink = min(1.0, 4.0 / largest)
        while True:
            ahead = _centred(theta + shrink * move, models)
            there = evaluate(ahead)
            if there.value >= here.value - 1e-10 * abs(here.value) or shrink < 1e-9:
                break
            shrink /= 2
        theta, here = ahead, there
    raise Unidentified(
        "the comparisons do not determine every parameter: a covariate or side separates wins from losses, or is "
        "the same as which model plays"
    )


def _centred(theta: Floats, models: int) -> Floats:
    theta[:models] -= theta[:models].mean()
    return theta


def covariance(information: Floats, meat: Floats, models: int) -> Floats:
    """The sandwich H^+ G H^+ (m, m); the constant shift of the first `models` parameters, which G does not
    contain, falls out."""
    bread = np.linalg.inv(_lifted(information, models))
    return np.asarray(bread @ meat @ bread)


def _lifted(information: Floats, models: int) -> Floats:
    lifted = information.copy()
    lifted[:models, :models] += np.trace(information[:models, :models]) / models**2
    return lifted


def _solve(here: Local, models: int) -> Floats:
    lifted = _lifted(here.information, models)
    scale = float(np.trace(lifted)) / len(lifted)
    for ridge in (0.0, 1e-10, 1e-6):
        try:
            factor = cho_factor(lifted + ridge * scale * np.eye(len(lifted)))
        except LinAlgError:
            continue
        return np.asarray(cho_solve(factor, here.gradient))
    raise Unidentified("the comparisons do not determine every parameter")


def _require_identified(information: Floats, models: int) -> None:
    lifted = _lifted(information, models)
    diagonal = np.sqrt(np.diag(lifted))
    if (diagonal == 0).any() or np.linalg.eigvalsh(lifted / np.outer(diagonal, diagonal))[0] < 1e-10:
        raise Unidentified(
            "the comparisons do not determine every parameter: a covariate or side always goes with the same models"
        )
