"""Who leads, how surely, and how many more votes would decide what is open."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from results.decisions import Gap, dispersion, gap_between
from results.leaderboard import Rated
from results.ratings import BradleyTerry

_DRAWS = 20_000


class Rival(Gap):
    """A model below the leader, and how far."""

    name: str


@dataclass(frozen=True)
class Lead:
    """The model with the highest rating and all other rated ones, best first. `chance` is how often it came
    out first in draws from the estimated uncertainty; `chances` the same for the models most often first."""

    name: str
    chance: float
    chances: tuple[tuple[str, float], ...]
    rivals: tuple[Rival, ...]

    @property
    def open(self) -> tuple[Rival, ...]:
        """Rivals that the votes do not place below the leader yet."""
        return tuple(rival for rival in self.rivals if not rival.decided)


def lead(rated: Rated, seed: int) -> Lead | None:
    """Compare the leader with every other rated model; None where fewer than two are rated."""
    names, counts, fit = rated.names, rated.counts, rated.fit
    if fit is None:
        return None
    ranked = sorted(fit.rated.tolist(), key=lambda i: (-fit.ratings[i], names[i]))
    if len(ranked) < 2:
        return None
    first = ranked[0]
    overdispersion = dispersion(counts, fit)
    rivals = tuple(
        Rival(name=names[other], **gap_between(counts, fit, first, other, overdispersion).model_dump())
        for other in ranked[1:]
    )
    chances = _chances_of_being_first(fit, seed)
    often = sorted(zip(fit.rated.tolist(), chances, strict=True), key=lambda pair: -pair[1])[:5]
    own = dict(zip(fit.rated.tolist(), chances, strict=True))[first]
    return Lead(names[first], own, tuple((names[i], c) for i, c in often if c >= 0.01), rivals)


def _chances_of_being_first(fit: BradleyTerry, seed: int) -> list[float]:
    """How often each rated model is best in draws from the normal distribution of the estimates."""
    rated = fit.rated
    values, vectors = np.linalg.eigh(fit.covariance[np.ix_(rated, rated)])
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    rng = np.random.default_rng(seed)
    drawn = fit.ratings[rated] + rng.standard_normal((_DRAWS, len(rated))) @ root.T
    first = np.bincount(drawn.argmax(axis=1), minlength=len(rated))
    return [float(share) for share in first / _DRAWS]
