"""Ratings over time: what the leaderboard would have said at some moments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from results.figures import Series
from results.leaderboard_history import rating_history
from results.reports._reading import conditions

if TYPE_CHECKING:
    from results.leaderboard import BoardQuery
    from results.reports._model import ReportQuery
    from results.store import Store

MOMENTS = 16
_LINES = 6
_FEWEST = 4


def history(store: Store, query: ReportQuery, board: BoardQuery) -> tuple[Series, ...]:
    """The ratings of the first six models at 16 moments; empty where comparisons fall into fewer than four of
    the spans between them (imports without times of their own all have the import's)."""
    where, params = conditions(query)
    spans = store.query(
        "WITH c AS (SELECT epoch_us(time) AS t FROM comparisons WHERE excluded IS NULL"  # noqa: S608
        f"{where}), s AS (SELECT min(t) AS first, greatest(max(t) - min(t), 1) AS long FROM c) "
        "SELECT count(DISTINCT floor((t - first) / long * ?)) AS n FROM c, s",
        (*params, MOMENTS - 1),
    )["n"][0].as_py()
    if spans < _FEWEST:
        return ()
    tracks = rating_history(store, board, MOMENTS)[:_LINES]
    return tuple(
        Series(track.model, tuple(p.time for p in track.points), tuple(p.rating for p in track.points))
        for track in tracks
    )
