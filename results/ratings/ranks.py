"""Which ranks the uncertainty of ratings allows."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from results.ratings.bradley_terry import BradleyTerry
from results.ratings.counts import Floats, Ints

_DRAWS_AT_ONCE = 64


def rank_bounds(fit: BradleyTerry, *, simultaneous: bool = False, draws: int = 4000) -> tuple[Ints, Ints]:
    """Best and worst rank of each model, shape (n,) each; 0 for models not rated.

    A model's best rank is one more than the number of models that are clearly better by the interval of their
    difference. By itself the fit's level holds for each pair; with `simultaneous` it holds for all ranks of
    the table at once: the pairs share the critical value of the largest studentised difference (Tukey; as in
    Mogstad et al., 2024), found by `draws` draws from the fitted covariance with a fixed seed.
    """
    best, worst = np.zeros(len(fit.ratings), np.int64), np.zeros(len(fit.ratings), np.int64)
    rated = fit.rated
    if len(rated):
        spread = fit.covariance[np.ix_(rated, rated)]
        error = _errors_of_differences(spread)
        critical = (
            _largest(spread, error, fit.level, draws) if simultaneous else float(ndtri(0.5 + fit.level / 2))
        )
        gap = fit.ratings[rated][:, None] - fit.ratings[rated][None, :]
        clear = gap > critical * error + 1e-9
        best[rated] = 1 + clear.sum(axis=0)
        worst[rated] = len(rated) - clear.sum(axis=1)
    return best, worst


def _errors_of_differences(spread: Floats) -> Floats:
    variance = np.diag(spread)
    return np.asarray(np.sqrt(np.maximum(variance[:, None] + variance[None, :] - 2 * spread, 0.0)))


def _largest(spread: Floats, error: Floats, level: float, draws: int) -> float:
    """The `level` quantile of the largest |difference| / error among all pairs."""
    values, vectors = np.linalg.eigh(spread)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    i, j = np.triu_indices(len(spread), 1)
    inverse = np.divide(1.0, error[i, j], out=np.zeros(len(i)), where=error[i, j] > 0)
    rng = np.random.default_rng(0)
    largest = []
    for start in range(0, draws, _DRAWS_AT_ONCE):
        x = rng.standard_normal((min(_DRAWS_AT_ONCE, draws - start), len(spread))) @ root.T
        largest.append((np.abs(x[:, i] - x[:, j]) * inverse).max(axis=1))
    return float(np.quantile(np.concatenate(largest), level))
