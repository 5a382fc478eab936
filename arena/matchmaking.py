"""Drawing the pair of a battle: pure, and always with the probability of what was drawn.

A policy gives every ordered pair (which model is side a, which side b) a probability; the draw follows it.
The probability is stored with the battle, so that ratings can correct for pairs that were drawn more often.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Protocol

from arena.config import MatchmakingSettings

OrderedPair = tuple[str, str]


@dataclass(frozen=True)
class Draw:
    """A drawn pair: side a, side b, the policy's name, and the probability of this ordered pair."""

    a: str
    b: str
    policy: str
    probability: float


class Policy(Protocol):
    """A distribution over ordered pairs of model names."""

    @property
    def name(self) -> str:
        """How the policy is recorded with a battle."""
        ...

    def probabilities(self, models: Sequence[str]) -> dict[OrderedPair, float]:
        """The probability of every ordered pair of different models; they sum to 1."""
        ...


@dataclass(frozen=True)
class Uniform:
    """Every pair is equally likely, and so are its two orders."""

    name: str = "uniform"

    def probabilities(self, models: Sequence[str]) -> dict[OrderedPair, float]:
        """See `Policy`."""
        pairs = list(permutations(models, 2))
        return {pair: 1 / len(pairs) for pair in pairs}


@dataclass(frozen=True)
class Weighted:
    """A pair is as likely as the product of its models' weights (1 where none is given)."""

    weights: Mapping[str, float] = field(default_factory=dict)
    name: str = "weighted"

    def probabilities(self, models: Sequence[str]) -> dict[OrderedPair, float]:
        """See `Policy`."""
        raw = {
            (a, b): self.weights.get(a, 1.0) * self.weights.get(b, 1.0) for a, b in permutations(models, 2)
        }
        total = sum(raw.values())
        return {pair: weight / total for pair, weight in raw.items()}


@dataclass(frozen=True)
class Boosted:
    """With `probability` the boosted pair, in either order; otherwise what `base` draws.

    Where one of the pair is not on the roster, `base` alone draws.
    """

    base: Policy
    pair: OrderedPair
    probability: float

    @property
    def name(self) -> str:
        """The base policy's name and the boost."""
        return f"{self.base.name}+boost({self.probability:g})"

    def probabilities(self, models: Sequence[str]) -> dict[OrderedPair, float]:
        """See `Policy`."""
        table = self.base.probabilities(models)
        a, b = self.pair
        if (a, b) not in table:
            return table
        boosted = {pair: p * (1 - self.probability) for pair, p in table.items()}
        boosted[a, b] += self.probability / 2
        boosted[b, a] += self.probability / 2
        return boosted


class Changeable:
    """A policy whose boost can be set while an arena is served: for a new model against its parent, say."""

    def __init__(self, settings: MatchmakingSettings) -> None:
        self._base = _base(settings)
        boost = settings.boost
        self._boosted = None if boost is None else Boosted(self._base, boost.pair, boost.probability)

    @property
    def name(self) -> str:
        """See `Policy`."""
        return (self._boosted or self._base).name

    @property
    def boosted(self) -> OrderedPair | None:
        """The pair that is boosted now."""
        return None if self._boosted is None else self._boosted.pair

    def boost(self, pair: OrderedPair | None, probability: float = 0.5) -> None:
        """Boost this pair, and no other; None ends the boost. Battles that were drawn already stay as they are."""
        self._boosted = None if pair is None else Boosted(self._base, pair, probability)

    def probabilities(self, models: Sequence[str]) -> dict[OrderedPair, float]:
        """See `Policy`."""
        return (self._boosted or self._base).probabilities(models)


def draw(models: Sequence[str], policy: Policy, rng: random.Random) -> Draw:
    """Draw an ordered pair of different models.

    Raises:
        ValueError: fewer than two models, or one is named twice.
    """
    if len(set(models)) != len(models):
        raise ValueError("a model is named twice")
    if len(models) < 2:
        raise ValueError("a battle needs two models")
    table = policy.probabilities(models)
    (a, b) = rng.choices(list(table), weights=list(table.values()))[0]
    return Draw(a, b, policy.name, table[a, b])


def policy_from(settings: MatchmakingSettings) -> Changeable:
    """The policy that the settings name."""
    return Changeable(settings)


def _base(settings: MatchmakingSettings) -> Policy:
    return Weighted(settings.weights) if settings.strategy == "weighted" else Uniform()
