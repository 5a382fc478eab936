"""Calibration of a judge against people: what its probability or score is worth as a probability that people agree.

Numbers only. A map is fitted on some items and checked on others, so that what is told of it is not what it learnt.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression

from results.agreement import Share, clustered
from results.logistic import fit_logistic

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Map = Literal["logistic", "monotone"]

_FOLDS = 5
_EDGE = 1e-3


class TooFewItems(ValueError):
    """There are votes on too few items for a map that can be checked."""


@dataclass(frozen=True)
class Bin:
    """Battles whose probabilities lie together: their mean, and how often people preferred side a."""

    battles: int
    predicted: float
    people: float


@dataclass(frozen=True)
class Calibration:
    """Held-out quality of a judge's probabilities for side a, as they came and mapped.

    Brier scores (mean squared error against people's share for a; lower is better) with intervals; `base` is
    that of always saying what people say on average, `gain` the map's advantage over the raw probabilities.
    `error` is the expected calibration error over ten bins, before and after. `knots` describe the map fitted on
    everything: (judge's value, people's probability).
    """

    method: Map
    battles: int
    items: int
    raw: Share
    mapped: Share
    base: float
    gain: Share
    error_raw: float
    error_mapped: float
    bins: tuple[Bin, ...]
    knots: tuple[tuple[float, float], ...]


def fit_map(method: Map, judged: Floats, people: Floats) -> Callable[[Floats], Floats]:
    """A function from a judge's values (n,), probabilities for side a, to people's; symmetric in the sides, so that
    0.5 stays 0.5. `logistic` stretches the log odds by one factor (Platt's scaling without its offset); `monotone`
    is isotonic regression on the battles and their mirror images."""
    if method == "logistic":
        fit = fit_logistic(_logit(judged)[:, None], people, ridge=1e-3)
        return lambda values: fit(_logit(values)[:, None])
    values, shares = np.concatenate([judged, 1 - judged]), np.concatenate([people, 1 - people])
    knots, places = np.unique(values.round(9), return_inverse=True)
    weights = np.bincount(places).astype(np.float64)
    means = np.bincount(places, weights=shares) / weights
    fitted = isotonic_regression(means, weights=weights).x
    return lambda asked: np.asarray(np.interp(asked, knots, fitted))


def calibrate(
    judged: Floats,
    people: Floats,
    clusters: Ints,
    *,
    method: Map = "logistic",
    level: float = 0.95,
    seed: int = 0,
) -> Calibration:
    """Fit on four fifths of the items and check on the fifth, five times over.

    `judged` (n,): the judge's probability that side a is better; `people` (n,): the share of people for a (ties half);
    `clusters` (n,): the item of each battle, never split. Raises TooFewItems below five items.
    """
    names, places = np.unique(clusters, return_inverse=True)
    if len(names) < _FOLDS:
        raise TooFewItems(f"calibration needs votes on at least {_FOLDS} items; there are {len(names)}")
    fold = np.random.default_rng(seed).permutation(len(names)) % _FOLDS
    mapped = np.empty_like(judged)
    for held in range(_FOLDS):
        out = fold[places] == held
        mapped[out] = fit_map(method, judged[~out], people[~out])(judged[out])
    raw_loss, mapped_loss = (judged - people) ** 2, (mapped - people) ** 2

    def mean(losses: Floats) -> Share:
        parts = np.column_stack([losses, np.ones_like(losses)])
        return clustered(lambda total: float(total[0] / total[1]), parts, places, level=level, seed=seed)

    whole = fit_map(method, judged, people)
    grid = np.linspace(0, 1, 11)
    return Calibration(
        method=method,
        battles=len(judged),
        items=len(names),
        raw=mean(raw_loss),
        mapped=mean(mapped_loss),
        base=float(((people - people.mean()) ** 2).mean()),
        gain=mean(raw_loss - mapped_loss),
        error_raw=_error(judged, people),
        error_mapped=_error(mapped, people),
        bins=_bins(judged, people),
        knots=tuple((float(x), float(y)) for x, y in zip(grid, whole(grid), strict=True)),
    )


def _logit(values: Floats) -> Floats:
    inside = np.clip(values, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(inside / (1 - inside)))


def _bins(predicted: Floats, people: Floats) -> tuple[Bin, ...]:
    places = np.minimum((predicted * 10).astype(int), 9)
    return tuple(
        Bin(int(here.sum()), float(predicted[here].mean()), float(people[here].mean()))
        for place in range(10)
        if (here := places == place).any()
    )


def _error(predicted: Floats, people: Floats) -> float:
    return sum(each.battles * abs(each.predicted - each.people) for each in _bins(predicted, people)) / len(
        people
    )
