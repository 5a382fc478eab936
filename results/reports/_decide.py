"""Who leads, how surely, and how many more votes would decide what is open."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, ndtri

from results.leaderboard import Rated
from results.ratings import BradleyTerry, PairCounts, predict

POWER = 0.8
"""The chance with which the extra votes would decide, if the gap is what it is now."""
HOPELESS = 50
"""Where more than this many times the votes were needed, no number is given: the two are as good as equal."""
_DRAWS = 20_000


@dataclass(frozen=True)
class Rival:
    """A model against the leader. `probability` is P(leader beats it), a tie counting half. `more_votes` are
    votes spread over all pairs as so far, `direct_battles` between the two alone; None where it is decided, or
    where more than `HOPELESS` times the votes were needed."""

    name: str
    gap: float
    probability: float
    lower: float
    upper: float
    decided: bool
    more_votes: int | None
    direct_battles: int | None


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
    overdispersion = _dispersion(counts, fit)
    rivals = tuple(_rival(names, counts, fit, first, other, overdispersion) for other in ranked[1:])
    chances = _chances_of_being_first(fit, seed)
    often = sorted(zip(fit.rated.tolist(), chances, strict=True), key=lambda pair: -pair[1])[:5]
    own = dict(zip(fit.rated.tolist(), chances, strict=True))[first]
    return Lead(names[first], own, tuple((names[i], c) for i, c in often if c >= 0.01), rivals)


def _rival(
    names: tuple[str, ...], counts: PairCounts, fit: BradleyTerry, first: int, other: int, dispersion: float
) -> Rival:
    expected = predict(fit, first, other)
    unit = fit.scale / math.log(10)
    gap = float(fit.ratings[first] - fit.ratings[other]) / unit
    covariance = fit.covariance
    error = (
        math.sqrt(
            max(covariance[first, first] + covariance[other, other] - 2 * covariance[first, other], 0.0)
        )
        / unit
    )
    z = float(ndtri(0.5 + fit.level / 2))
    decided = expected.lower > 0.5
    more = direct = None
    target = gap / (z + float(ndtri(POWER)))
    # The error falls with the square root of the votes: (error / target)^2 times as many are needed.
    times = (error / target) ** 2 if target > 0 else math.inf
    if not decided and times <= HOPELESS:
        p = float(expit(gap))
        per_vote = dispersion / (p * (1 - p))
        more = max(1, math.ceil(counts.total * (times - 1)))
        direct = max(1, math.ceil(per_vote * (1 / target**2 - 1 / error**2)))
    return Rival(
        names[other], gap * unit, expected.probability, expected.lower, expected.upper, decided, more, direct
    )


def _dispersion(counts: PairCounts, fit: BradleyTerry) -> float:
    """Residual variance of a comparison against that of a coin with the fitted probability (ties make it
    smaller), over the rated models."""
    rated = fit.rated
    inner = counts.subset(rated)
    t = fit.ratings[rated] * math.log(10) / fit.scale
    p = expit(t[:, None] - t[None, :])
    residual = (inner.wins * (1 - p) ** 2 + inner.wins.T * p**2 + inner.ties * (0.5 - p) ** 2).sum()
    return float(residual / (inner.games * p * (1 - p)).sum())


def _chances_of_being_first(fit: BradleyTerry, seed: int) -> list[float]:
    """How often each rated model is best in draws from the normal distribution of the estimates."""
    rated = fit.rated
    values, vectors = np.linalg.eigh(fit.covariance[np.ix_(rated, rated)])
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    rng = np.random.default_rng(seed)
    drawn = fit.ratings[rated] + rng.standard_normal((_DRAWS, len(rated))) @ root.T
    first = np.bincount(drawn.argmax(axis=1), minlength=len(rated))
    return [float(share) for share in first / _DRAWS]
