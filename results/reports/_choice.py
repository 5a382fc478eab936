"""Which model to take: quality against memory, latency and cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from results.leaderboard_facts import RowFacts, row_facts
from results.ratings import predict

if TYPE_CHECKING:
    from results.leaderboard import Rated
    from results.reports._model import ReportQuery
    from results.store import Store

Standing = Literal["leader", "good", "open", "worse"]
"""Against the leader, which wins at most half plus X of battles against a model that is `good`: its interval excludes
a loss over X, that of a `worse` one excludes anything less, and an `open` one has both in it."""
Resource = Literal["memory", "latency", "cost"]


@dataclass(frozen=True)
class Option:
    """A rated model: `share` is P(it beats the leader), a tie counting half, with its interval (0.5 for the leader)."""

    name: str
    share: float
    lower: float
    upper: float
    standing: Standing
    facts: RowFacts

    def of(self, resource: Resource) -> float | None:
        """What it takes: bytes, seconds to the first token, or the cost of 1,000 answers; None where not known."""
        if resource == "memory":
            size = self.facts.bytes_on_disk
            return None if size is None else float(size)
        return self.facts.first_token if resource == "latency" else self.facts.cost_per_1000


@dataclass(frozen=True)
class Pick:
    """For one resource: the `cheapest` of the models that are good enough (None: undecided), those that take less and
    are `still_open`, and how many rated models' use of it is `unknown`."""

    resource: Resource
    cheapest: Option | None
    still_open: tuple[Option, ...]
    unknown: int


@dataclass(frozen=True)
class Choice:
    """All rated models, best first, and the pick for each resource of which anything is known."""

    leader: str
    options: tuple[Option, ...]
    picks: tuple[Pick, ...]


def choice(store: Store, query: ReportQuery, rated: Rated) -> Choice | None:
    """Weigh quality against what models take; None where fewer than two are rated or nothing is known of any."""
    rows = [row for row in rated.board.models if row.rating is not None]
    if rated.fit is None or len(rows) < 2:
        return None
    facts = row_facts(store, rated)
    first = rated.names.index(rows[0].model)
    least = 0.5 - query.acceptable_loss
    options = []
    for row in rows:
        known = facts[row.model]
        if row is rows[0]:
            options.append(Option(row.model, 0.5, 0.5, 0.5, "leader", known))
            continue
        found = predict(rated.fit, rated.names.index(row.model), first)
        standing: Standing = "good" if found.lower >= least else "worse" if found.upper < least else "open"
        options.append(Option(row.model, found.probability, found.lower, found.upper, standing, known))
    resources: tuple[Resource, ...] = ("memory", "latency", "cost")
    picks = [_pick(options, resource) for resource in resources]
    told = tuple(pick for pick in picks if pick.unknown < len(options))
    return Choice(rows[0].model, tuple(options), told) if told else None


def _pick(options: list[Option], resource: Resource) -> Pick:
    known = sorted(
        (option for option in options if option.of(resource) is not None),
        key=lambda option: (option.of(resource) or 0.0, -option.share, option.name),
    )
    good = next((option for option in known if option.standing in ("leader", "good")), None)
    less = [
        option
        for option in known
        if option.standing == "open"
        and (good is None or (option.of(resource) or 0.0) < (good.of(resource) or 0.0))
    ]
    return Pick(resource, good, tuple(less), len(options) - len(known))
