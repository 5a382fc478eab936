"""Ratings in which ties have a probability of their own, and in which the side may matter.

With d the difference of strengths (plus the advantage of side a, where that is estimated):
Davidson (1970): P(win) : P(tie) : P(loss) = exp(d/2) : nu : exp(-d/2).
Rao and Kupper (1967): P(win) = 1 / (1 + theta exp(-d)), P(loss) = 1 / (1 + theta exp(d)), the rest is a tie.
`half` is Bradley-Terry with a tie as half a win. All three likelihoods are concave; Newton finds the maximum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import expit, log_expit, ndtr, ndtri

from results.ratings._newton import Local, Unidentified, covariance, maximise_concave
from results.ratings._threads import one_thread
from results.ratings.bradley_terry import MEAN, SCALE, BradleyTerry, assemble, laplacian
from results.ratings.counts import A_WON, B_WON, TIE, Floats, PairCounts
from results.ratings.rateability import Rateability, rateability

TieModel = Literal["half", "davidson", "rao_kupper"]


@dataclass(frozen=True)
class Estimate:
    """A parameter with its standard error, interval and two-sided p-value against zero."""

    value: float
    error: float
    lower: float
    upper: float
    p_value: float


@dataclass(frozen=True, eq=False)
class TieFit:
    """Ratings (`base`) with what was fitted beside them.

    `ties` is nu (Davidson) or theta (Rao-Kupper), null for `half`; 0 or 1 where there are no ties at all.
    `position` is what side a is worth, in rating points, where it was estimated.
    """

    model: TieModel
    base: BradleyTerry
    ties: float | None
    position: Estimate | None

    def outcomes(self, a: int, b: int) -> tuple[float, float, float]:
        """P(a wins), P(tie), P(b wins) for rated models a on side a and b on side b; for `half`, a tie is in
        both wins by half. Raises ValueError where one is not rated."""
        gap = float(self.base.ratings[a] - self.base.ratings[b])
        if not math.isfinite(gap):
            raise ValueError("probabilities need two rated models")
        return self.outcomes_at(gap + (self.position.value if self.position else 0.0))

    def outcomes_at(self, gap: float) -> tuple[float, float, float]:
        """P(win), P(tie), P(loss) of a model that is `gap` rating points better."""
        d = gap * math.log(10) / self.base.scale
        if self.model == "rao_kupper" and self.ties is not None:
            won, lost = float(expit(d - math.log(self.ties))), float(expit(-d - math.log(self.ties)))
        else:
            nu = (self.ties or 0.0) if self.model == "davidson" else 0.0
            half = d / 2 if self.model == "davidson" and nu else d
            if not nu:
                return float(expit(half)), 0.0, float(expit(-half))
            total = math.exp(half) + nu + math.exp(-half)
            won, lost = math.exp(half) / total, math.exp(-half) / total
        return won, 1.0 - won - lost, lost


def rate_with_ties(
    counts: PairCounts,
    ties: TieModel = "davidson",
    *,
    position: bool = False,
    level: float = 0.95,
    mean: float = MEAN,
    scale: float = SCALE,
) -> TieFit:
    """Fit strengths, the tie parameter and, with `position`, the advantage of side a; sandwich intervals.

    Models are rateable under the same condition as for Bradley-Terry; where every comparison is a tie nobody
    is. Raises Unidentified where the advantage cannot be told from the models' strengths (each of them always
    sat on one side).
    """
    found = rateability(counts)
    inner = counts.subset(found.rated)
    decisive = inner.wins.sum()
    n = len(found.rated)
    if ties != "half" and n and not decisive:
        found = Rateability(
            found.rated[:0], tuple("unplaced" if s == "rated" else s for s in found.status), found.component
        )
        n = 0
    if not n:
        nothing = np.empty(0), np.empty((0, 0))
        base = assemble(counts, found, *nothing, level=level, mean=mean, scale=scale, steps=0)
        return TieFit(ties, base, None, None)
    shape: TieModel = ties if inner.ties.any() else "half"
    names = (["ties"] if shape != "half" else []) + (["position"] if position else [])
    start = np.zeros(n + len(names))
    if shape == "rao_kupper":
        start[n] = 0.5
    with one_thread():
        theta, _, steps = maximise_concave(lambda at: _evaluate(inner, at, shape, names).local, start, n)
        at_end = _evaluate(inner, theta, shape, names)
        spread = covariance(at_end.local.information, at_end.meat, n)
    unit = scale / math.log(10)
    base = assemble(
        counts, found, theta[:n], spread[:n, :n], level=level, mean=mean, scale=scale, steps=steps
    )
    fitted = dict(zip(names, theta[n:].tolist(), strict=True))
    without = {"half": None, "davidson": 0.0, "rao_kupper": 1.0}[ties]
    return TieFit(
        model=ties,
        base=base,
        ties=math.exp(fitted["ties"]) if "ties" in fitted else without,
        position=estimate(fitted["position"] * unit, math.sqrt(spread[-1, -1]) * unit, level)
        if position
        else None,
    )


def estimate(value: float, error: float, level: float) -> Estimate:
    """A normal estimate with its interval and p-value."""
    half = float(ndtri(0.5 + level / 2)) * error
    p_value = 2 * float(ndtr(-abs(value) / error)) if error > 0 else math.nan
    return Estimate(value, error, value - half, value + half, p_value)


class _Evaluated(NamedTuple):
    local: Local
    meat: Floats


class _Outcome(NamedTuple):
    """Scores of one outcome with respect to the difference d and to the tie parameter, shape (n, n)."""

    d: Floats
    tie: Floats


def _evaluate(counts: PairCounts, theta: Floats, shape: TieModel, names: list[str]) -> _Evaluated:
    n = counts.models
    extra = dict(zip(names, theta[n:].tolist(), strict=True))
    t = theta[:n]
    d = t[:, None] - t[None, :] + extra.get("position", 0.0)
    value, outcomes, information = {
        "half": _half, "davidson": _davidson, "rao_kupper": _rao_kupper,
    }[shape](counts, d, extra.get("ties", 0.0))  # fmt: skip

    won, tied, lost = outcomes
    cells = counts.cells
    gradient_d, gradient_tie = (
        cells[:, :, A_WON] * w + cells[:, :, TIE] * x + cells[:, :, B_WON] * y
        for w, x, y in zip(won, tied, lost, strict=True)
    )
    gradient = np.concatenate(
        [
            gradient_d.sum(axis=1) - gradient_d.sum(axis=0),
            [gradient_tie.sum() if name == "ties" else gradient_d.sum() for name in names],
        ]
    )
    weights = [counts.squares[:, :, code] for code in (A_WON, TIE, B_WON)]
    squares = (
        _weighted(weights, [o.d * o.d for o in outcomes]),
        _weighted(weights, [o.d * o.tie for o in outcomes]),
        _weighted(weights, [o.tie * o.tie for o in outcomes]),
    )
    return _Evaluated(
        Local(value, gradient, _assembled(information, names)),
        _assembled(squares, names),
    )


def _weighted(weights: list[Floats], products: list[Floats]) -> Floats:
    return np.asarray(sum(w * x for w, x in zip(weights, products, strict=True)))


def _assembled(parts_per_pair: tuple[Floats, Floats, Floats], names: list[str]) -> Floats:
    """A matrix over all parameters from its parts per ordered pair (d d, d tie, tie tie), each (n, n)."""
    dd, d_tie, tie_tie = parts_per_pair
    n = len(dd)
    matrix = np.zeros((n + len(names), n + len(names)))
    matrix[:n, :n] = laplacian(dd + dd.T)
    parts = {"ties": d_tie, "position": dd}
    for row, name in enumerate(names, start=n):
        part = parts[name]
        matrix[:n, row] = matrix[row, :n] = part.sum(axis=1) - part.sum(axis=0)
        matrix[row, row] = tie_tie.sum() if name == "ties" else dd.sum()
    if names == ["ties", "position"]:
        matrix[n, n + 1] = matrix[n + 1, n] = d_tie.sum()
    return matrix


_Parts = tuple[float, tuple[_Outcome, _Outcome, _Outcome], tuple[Floats, Floats, Floats]]


def _half(counts: PairCounts, d: Floats, _: float) -> _Parts:
    won = counts.cells[:, :, A_WON] + counts.cells[:, :, TIE] / 2
    lost = counts.cells[:, :, B_WON] + counts.cells[:, :, TIE] / 2
    p, none = expit(d), np.zeros_like(d)
    value = float((won * log_expit(d) + lost * log_expit(-d)).sum())
    outcomes = _Outcome(1 - p, none), _Outcome(0.5 - p, none), _Outcome(-p, none)
    return value, outcomes, ((won + lost) * p * (1 - p), none, none)


def _davidson(counts: PairCounts, d: Floats, eta: float) -> _Parts:
    logits = np.stack([d / 2, np.full_like(d, eta), -d / 2], axis=2)
    logits -= np.logaddexp.reduce(logits, axis=2, keepdims=True)
    p = np.exp(logits)
    gap, tie = p[:, :, A_WON] - p[:, :, B_WON], p[:, :, TIE]
    games = counts.cells.sum(axis=2)
    outcomes = (
        _Outcome(0.5 - gap / 2, -tie),
        _Outcome(-gap / 2, 1 - tie),
        _Outcome(-0.5 - gap / 2, -tie),
    )
    information = (
        games * (1 - tie - gap**2) / 4,
        -games * gap * tie / 2,
        games * tie * (1 - tie),
    )
    return float((counts.cells * logits).sum()), outcomes, information


def _rao_kupper(counts: PairCounts, d: Floats, kappa: float) -> _Parts:
    won = counts.cells[:, :, A_WON] + counts.cells[:, :, TIE]
    lost = counts.cells[:, :, B_WON] + counts.cells[:, :, TIE]
    ties = counts.cells[:, :, TIE]
    if kappa <= 0:
        none = np.zeros_like(d)
        return -math.inf, (_Outcome(none, none),) * 3, (none, none, none)
    more = math.expm1(2 * kappa)
    slope, bend = 2 * (more + 1) / more, 4 * (more + 1) / more**2
    value = float(
        (won * log_expit(d - kappa) + lost * log_expit(-d - kappa)).sum() + ties.sum() * math.log(more)
    )
    up, down = expit(kappa - d), expit(kappa + d)
    outcomes = (_Outcome(up, -up), _Outcome(up - down, slope - up - down), _Outcome(-down, -down))
    u, v = won * up * (1 - up), lost * down * (1 - down)
    return value, outcomes, (u + v, v - u, u + v + ties * bend)


__all__ = ["Estimate", "TieFit", "TieModel", "Unidentified", "estimate", "rate_with_ties"]
