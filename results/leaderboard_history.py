"""Ratings over time: the same leaderboard as it stood at several times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

from results.leaderboard import rate
from results.leaderboard_data import Filter
from results.leaderboard_query import BoardQuery
from results.records import UtcTime

if TYPE_CHECKING:
    from results.store import Store


class RatingPoint(BaseModel):
    """A model's rating by the comparisons before `time`; `votes` is how many of them are the model's."""

    model_config = ConfigDict(frozen=True)

    model: str
    time: UtcTime
    rating: float
    lower: float | None
    upper: float | None
    votes: int


class RatingTrack(BaseModel):
    """A model's ratings, oldest first; times at which it could not be rated are left out."""

    model_config = ConfigDict(frozen=True)

    model: str
    points: tuple[RatingPoint, ...]


def rating_history(store: Store, query: BoardQuery, points: int = 12) -> list[RatingTrack]:
    """The leaderboard of `query` at `points` times, equally far apart from the first comparison to the last, the
    last being now; models in the order of the newest leaderboard, without those that were never rated.

    Each point rates all comparisons up to it, so that a model's interval narrows as votes come in. The mean
    over rated models is the same at each time: where models join, all others may shift together. Raises
    ValueError for fewer than two points, else as `results.leaderboard.rate`.
    """
    if points < 2:
        raise ValueError("a history needs at least two points")
    times = _times(store, query, points)
    tracks: dict[str, list[RatingPoint]] = {}
    # Newest first, so that models come in the order of the newest leaderboard.
    for time in reversed(times):
        board = rate(store, query.model_copy(update={"until": time})).board
        for row in board.models:
            if row.rating is not None:
                point = RatingPoint(
                    model=row.model,
                    time=time,
                    rating=row.rating,
                    lower=row.lower,
                    upper=row.upper,
                    votes=row.votes,
                )
                tracks.setdefault(row.model, []).append(point)
    return [RatingTrack(model=model, points=tuple(reversed(found))) for model, found in tracks.items()]


def _times(store: Store, query: BoardQuery, points: int) -> list[UtcTime]:
    chosen = Filter.of(query)
    table = store.query(
        "SELECT epoch_us(min(time)) AS first, epoch_us(max(time)) AS last FROM comparisons "  # noqa: S608
        f"WHERE excluded IS NULL{chosen.sql}",
        chosen.params,
    )
    row = table.to_pylist()[0]
    if row["first"] is None:
        return []
    # `until` is exclusive: the last point must take the last comparison in.
    ends = np.linspace(row["first"], row["last"] + 1, points + 1)[1:]
    return [_time(float(end)) for end in dict.fromkeys(np.ceil(ends).tolist())]


def _time(microseconds: float) -> UtcTime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(microseconds))
