"""What became of ratings and ranks since another time."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.special import ndtri

from results.leaderboard import Rated, rate
from results.leaderboard_query import BoardQuery
from results.ratings import PairCounts, bradley_terry
from results.ratings.changes import change_of_ratings

if TYPE_CHECKING:
    from results.store import Store


class RatingChange(BaseModel):
    """A model's rating and rank by the comparisons before the time and by all, ratings moved to mean 1000 over the
    models that both rate; `change` has an interval that takes into account that the later rating contains the
    earlier comparisons, and is `clear` where that excludes 0. `votes` are those that were added."""

    model_config = ConfigDict(frozen=True)

    model: str
    before: float
    after: float
    change: float
    lower: float
    upper: float
    clear: bool
    rank_before: int | None
    rank_after: int | None
    votes: int


def changes_since(store: Store, query: BoardQuery, time: datetime) -> tuple[Rated, Rated, list[RatingChange]]:
    """The leaderboard of `query` now and as it stood before `time`, and the change of each model that both rate, in
    the order of the newer leaderboard; empty where they rate fewer than two models in common.

    Raises ValueError for options whose ratings of two times cannot be compared with an interval (Elo, weights, style
    control, tie models), and as `results.leaderboard.rate`.
    """
    refused = [*query.weighting, *(["style control"] if query.style_control else [])]
    refused += ["method elo"] if query.method == "elo" else []
    refused += [f"ties {query.ties}"] if query.ties != "half" else []
    if refused:
        raise ValueError(
            f"a change since another time is for plain Bradley-Terry, without {', '.join(refused)}"
        )
    plain = query.model_copy(update={"position_bias": False, "bootstrap": None})
    now = rate(store, plain)
    then = rate(store, plain.model_copy(update={"until": time}))
    return now, then, _changes(now, then)


def _changes(now: Rated, then: Rated) -> list[RatingChange]:
    names = now.names
    if not set(then.names) <= set(names):
        # Votes were taken back in the meantime: what is left of the earlier ones is compared.
        names = tuple(dict.fromkeys([*names, *then.names]))
    later, earlier = (_on(rated, names) for rated in (now, then))
    after, before = bradley_terry(later, level=now.query.level), bradley_terry(earlier, level=now.query.level)
    common = np.intersect1d(after.rated, before.rated)
    if len(common) < 2:
        return []
    rise, error = change_of_ratings(later, after, earlier, before, common)
    half = float(ndtri(0.5 + now.query.level / 2)) * error
    rows = {rated: {row.model: row for row in rated.board.models} for rated in (now, then)}
    found = {}
    for k, i in enumerate(common.tolist()):
        name = names[i]
        new, old = rows[now].get(name), rows[then].get(name)
        if new is None or old is None:
            continue
        found[name] = RatingChange(
            model=name,
            before=1000 + float(before.ratings[i] - before.ratings[common].mean()),
            after=1000 + float(after.ratings[i] - after.ratings[common].mean()),
            change=float(rise[k]),
            lower=float(rise[k] - half[k]),
            upper=float(rise[k] + half[k]),
            clear=bool(abs(rise[k]) > half[k]),
            rank_before=old.rank,
            rank_after=new.rank,
            votes=new.votes - old.votes,
        )
    return [found[row.model] for row in now.board.models if row.model in found]


def _on(rated: Rated, names: tuple[str, ...]) -> PairCounts:
    """A leaderboard's counts with these models as indices."""
    place = [names.index(name) for name in rated.names]
    cells = np.zeros((len(names), len(names), 3))
    cells[np.ix_(place, place)] = rated.counts.cells
    return PairCounts(cells, cells)
