"""How ratings changed when comparisons were added: two fits that share comparisons are not independent."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from results.ratings._threads import one_thread
from results.ratings.bradley_terry import BradleyTerry, laplacian, pseudo_inverse
from results.ratings.counts import Floats, PairCounts


def change_of_ratings(
    later: PairCounts, after: BradleyTerry, earlier: PairCounts, before: BradleyTerry, models: npt.ArrayLike
) -> tuple[Floats, Floats]:
    """By how much the ratings of `models` (indices, shape (k,)) rose from `before` to `after`, each moved to mean 0
    over them, and the standard errors of that, in rating points; shape (k,) each.

    `earlier` counts a part of the comparisons that `later` counts, and both have the same models. The variance of
    the difference is V_after + V_before - C - C^T with C = H_after^+ G H_before^+, G being the summed products of the
    scores that a shared comparison has in both fits (the sandwich of White, 1982, for two estimates at once).
    Raises ValueError where a model is not rated in both.
    """
    chosen = np.asarray(models, dtype=np.int64)
    if not (np.isin(chosen, after.rated).all() and np.isin(chosen, before.rated).all()):
        raise ValueError("a change needs models that are rated in both fits")
    unit = after.scale / math.log(10)
    shared = np.intersect1d(after.rated, before.rated)
    with one_thread():
        breads = [_bread(counts, fit, shared) for counts, fit in ((later, after), (earlier, before))]
        cross = (
            breads[0] @ laplacian(_shared_scores(earlier.subset(shared), after, before, shared)) @ breads[1]
        )
    place = np.searchsorted(shared, chosen)
    both = cross[np.ix_(place, place)] * unit**2
    own = (fit.covariance[np.ix_(chosen, chosen)] for fit in (after, before))
    spread = sum(own) - both - both.T
    centred = spread - spread.mean(axis=0) - spread.mean(axis=1, keepdims=True) + spread.mean()
    rise = after.ratings[chosen] - before.ratings[chosen]
    return rise - rise.mean(), np.sqrt(np.maximum(np.diag(centred), 0.0))


def _bread(counts: PairCounts, fit: BradleyTerry, shared: npt.NDArray[np.int64]) -> Floats:
    """The inverse information among the models of `shared`."""
    rated = fit.rated
    p = expit(_gaps(fit, rated))
    place = np.searchsorted(rated, shared)
    inverse = pseudo_inverse(laplacian(counts.subset(rated).games * p * p.T))
    return np.asarray(inverse[np.ix_(place, place)])


def _shared_scores(
    inner: PairCounts, after: BradleyTerry, before: BradleyTerry, shared: npt.NDArray[np.int64]
) -> Floats:
    p, r = expit(_gaps(after, shared)), expit(_gaps(before, shared))
    won, lost = inner.wins_squares, inner.wins_squares.T
    return np.asarray(won * p.T * r.T + lost * p * r + inner.ties_squares * (0.5 - p) * (0.5 - r))


def _gaps(fit: BradleyTerry, models: npt.NDArray[np.int64]) -> Floats:
    strength = fit.ratings[models] * math.log(10) / fit.scale
    return np.asarray(strength[:, None] - strength[None, :])
