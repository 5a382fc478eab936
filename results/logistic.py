"""Logistic regression on shares, small and exact: what length control and calibration of judges need."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_STEPS = 100
_CLOSE = 1e-10


@dataclass(frozen=True)
class Logistic:
    """Coefficients (p,) and their sandwich covariance (p, p), clusters taken as the independent units."""

    coefficients: Floats
    covariance: Floats

    def __call__(self, x: Floats) -> Floats:
        """Probabilities (n,) of rows (n, p)."""
        return np.asarray(expit(x @ self.coefficients))


def fit_logistic(
    x: Floats, y: Floats, *, ridge: Floats | float = 1e-6, clusters: Ints | None = None
) -> Logistic:
    """Maximum likelihood for outcomes `y` (n,) between 0 and 1 on rows `x` (n, p), by Newton's method.

    `ridge` (a number, or one for each coefficient) is added as ridge/2 * coefficient^2; it keeps perfectly
    separated data finite. Raises ValueError without rows.
    """
    if not len(x):
        raise ValueError("there is nothing to fit")
    penalty = np.broadcast_to(np.asarray(ridge, dtype=np.float64), x.shape[1:])
    found = np.zeros(x.shape[1])
    for _ in range(_STEPS):
        p = expit(x @ found)
        gradient = x.T @ (y - p) - penalty * found
        hessian = (x * (p * (1 - p))[:, None]).T @ x + np.diag(penalty)
        step = np.linalg.solve(hessian, gradient)
        # Newton overshoots where the data are nearly separated.
        found = found + step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        if float(np.abs(step).max()) < _CLOSE:
            break
    p = expit(x @ found)
    bread = np.linalg.inv((x * (p * (1 - p))[:, None]).T @ x + np.diag(penalty))
    scores = x * (y - p)[:, None]
    if clusters is not None:
        names, places = np.unique(clusters, return_inverse=True)
        summed = np.zeros((len(names), x.shape[1]))
        np.add.at(summed, places, scores)
        scores = summed
    return Logistic(found, bread @ (scores.T @ scores) @ bread)
