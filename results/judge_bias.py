"""What moves a judge beside the answers: their order, their labels, their length, and kinship. Numbers only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, ndtri

from results.agreement import Share, wilson
from results.logistic import fit_logistic

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FEW_PAIRS = 6
"""Below this many decided pairs of orders nothing is said of a judge's usability: 5 of 5 leave it open at 95%."""


@dataclass(frozen=True)
class TwoOrders:
    """Verdicts of pairs that were shown in both orders, and could be read in both.

    `kept`: both orders name the same model; `followed`: both name the same slot, hence different models;
    `ties`: a tie in both; `mixed`: a tie in one. `first_slot`: how many single verdicts named the first slot,
    of `decided` that named any.
    """

    pairs: int
    kept: int
    followed: int
    ties: int
    mixed: int
    first_slot: int
    decided: int
    level: float = 0.95

    @property
    def inconsistent(self) -> int:
        """Pairs whose two orders do not agree."""
        return self.followed + self.mixed

    @property
    def first_slot_share(self) -> Share:
        """How often the first slot wins, ties aside; 0.5 is no preference. The interval takes pairs as units."""
        if not self.decided:
            return Share(math.nan, None, None)
        # A kept verdict names each slot once: all of the variation lies in the other pairs.
        share = self.first_slot / self.decided
        if self.pairs < FEW_PAIRS:
            return Share(share, None, None)
        # Wilson's interval of as many independent verdicts as there are pairs never claims more than they tell.
        interval = wilson(share * self.pairs, self.pairs, self.level)
        return Share(share, interval.lower, interval.upper)

    @property
    def order_share(self) -> Share:
        """Of pairs with a winner in both orders, how many were decided by the slot and not by the answers."""
        return wilson(self.followed, self.followed + self.kept, self.level)


@dataclass(frozen=True)
class Usability:
    """Whether a judge can be used; None while too little is known. `reason` is one of the codes
    `few`, `order`, `unparsed`, `no_winner`, `fine`."""

    usable: bool | None
    reason: str


def two_orders(verdicts: Sequence[tuple[str, str]], level: float = 0.95) -> TwoOrders:
    """Count pairs of verdicts ('a', 'b' or 'tie'), the first with side a in the first slot, the second with b."""
    kept = followed = ties = mixed = first = decided = 0
    for ab, ba in verdicts:
        first += (ab == "a") + (ba == "b")
        decided += (ab != "tie") + (ba != "tie")
        if ab == ba == "tie":
            ties += 1
        elif "tie" in (ab, ba):
            mixed += 1
        elif ab == ba:
            kept += 1
        else:
            followed += 1
    return TwoOrders(len(verdicts), kept, followed, ties, mixed, first, decided, level)


def standing(orders: TwoOrders, unread: int) -> Usability:
    """Whether a pairwise judge can be used. It cannot where, with 95% confidence,

    - most of its decided pairs follow the order and not the answers: a coin keeps its word as often,
    - or most of its replies cannot be read (`unread` pairs, in which a verdict is missing),
    - or where none of 20 pairs and more had a winner in both orders.
    """
    every = orders.pairs + unread
    if every < FEW_PAIRS:
        return Usability(None, "few")
    lost = wilson(unread, every).lower
    if lost is not None and lost > 0.5:
        return Usability(False, "unparsed")
    by_order = orders.order_share.lower
    if by_order is not None and by_order > 0.5:
        return Usability(False, "order")
    decided = orders.kept + orders.followed
    if not decided and orders.pairs >= 20:
        return Usability(False, "no_winner")
    return Usability(True, "fine") if decided >= FEW_PAIRS else Usability(None, "few")


@dataclass(frozen=True)
class SlotAndLabel:
    """How often the first slot, and how often the label A, was chosen where both were swapped independently, so
    that neither shares in the other's effect. `battles` were shown all four ways."""

    battles: int
    slot: Share
    label: Share


def slot_and_label(battles: Sequence[Sequence[tuple[bool, bool]]], level: float = 0.95) -> SlotAndLabel:
    """Of battles shown all four ways: for every verdict that named an answer, whether it stood in the first slot,
    and whether it was labelled A. Intervals take battles as the units."""
    chosen = [each for battle in battles for each in battle]
    decided = len(chosen)

    def share(place: int) -> Share:
        if not decided:
            return Share(math.nan, None, None)
        value = sum(each[place] for each in chosen) / decided
        interval = wilson(value * len(battles), len(battles), level)
        return Share(value, interval.lower, interval.upper)

    return SlotAndLabel(len(battles), share(0), share(1))


@dataclass(frozen=True)
class LengthControl:
    """How often answer a is preferred (mean of the preferences), what is left of that at equal length, and the
    slope: log odds of a per unit of tanh(length difference / its standard deviation)."""

    battles: int
    raw: float
    controlled: Share
    slope: Share


def length_control(
    preferred: Floats, difference: Floats, *, clusters: Ints | None = None, level: float = 0.95
) -> LengthControl:
    """The length-controlled win rate of answers a: AlpacaEval 2's GLM (Dubois et al., 2024, arXiv 2404.04475).

    `preferred` (n,) is each battle's preference for a, from 0 to 1 (a verdict probability, or 1, 0.5, 0);
    `difference` (n,) is length(a) - length(b) in characters. The model is logit P(a) = theta + phi * tanh(d / sd(d)),
    predicted at d = 0: expit(theta). AlpacaEval has a further term for the instruction's difficulty, known from
    other models' runs; it is the same at d = 0 for all battles of one pair of models and is left out here.
    `clusters` (n,) are battles that hang together. Raises ValueError without battles.
    """
    spread = float(difference.std())
    shaped = np.tanh(difference / spread) if spread > 0 else np.zeros_like(difference)
    x = np.column_stack([np.ones_like(shaped), shaped])
    # AlpacaEval regularises as well: where one side always wins, the estimate would be infinite.
    fit = fit_logistic(x, preferred, ridge=0.05, clusters=clusters)
    z = float(ndtri(0.5 + level / 2))
    errors = np.sqrt(np.diag(fit.covariance))
    theta, phi = (float(value) for value in fit.coefficients)
    enough = len(preferred) >= 20

    def around(value: float, error: float, sigmoid: bool) -> Share:
        ends = (value - z * error, value + z * error)
        shown, low, high = (float(expit(v)) if sigmoid else float(v) for v in (value, *ends))
        return Share(shown, low if enough else None, high if enough else None)

    return LengthControl(
        battles=len(preferred),
        raw=float(preferred.mean()),
        controlled=around(theta, float(errors[0]), True),
        slope=around(phi, float(errors[1]), False),
    )


def mean_with_interval(values: Floats, clusters: Ints | None = None, level: float = 0.95) -> Share:
    """A mean of (n,) values with a normal interval from clusters as units; none below 20 values."""
    mean = float(values.mean())
    if len(values) < 20:
        return Share(mean, None, None)
    away = values - mean
    if clusters is not None:
        places = np.unique(clusters, return_inverse=True)[1]
        away = np.asarray(np.bincount(places, weights=away), dtype=np.float64)
    half = float(ndtri(0.5 + level / 2)) * math.sqrt(float((away**2).sum())) / len(values)
    return Share(mean, mean - half, mean + half)
