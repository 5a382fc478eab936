"""Ratings over time: what a leaderboard would have said at some moments, from all comparisons until then."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from results.figures import Series
from results.ratings import bradley_terry
from results.reports._reading import OUTCOME_SQL, conditions, ints, pair_counts

if TYPE_CHECKING:
    from results.reports._model import ReportQuery
    from results.reports._reading import Selection
    from results.store import Store

_MOMENTS = 24
_FEWEST_MOMENTS = 4


def history(
    store: Store, query: ReportQuery, selection: Selection, order: tuple[int, ...]
) -> tuple[Series, ...]:
    """The ratings of the models `order` at up to 24 moments, evenly spaced in time; empty where comparisons
    fall on fewer than four of them (imports without times of their own all have the import's)."""
    where, params = conditions(query)
    span = store.query(
        f"SELECT min(time) AS first, max(time) AS last FROM comparisons WHERE excluded IS NULL{where}",  # noqa: S608
        params,
    ).to_pylist()[0]
    first, last = span["first"], span["last"]
    if first is None or first == last:
        return ()
    # version_a <> version_b: as in the counts. Models that are new since those were read wait for the next report.
    rows = store.query(
        f"SELECT version_a, version_b, {OUTCOME_SQL} AS outcome, count(*) AS n, "  # noqa: S608
        "least(floor((epoch_us(time) - epoch_us(?::TIMESTAMP)) * ? / "
        "(epoch_us(?::TIMESTAMP) - epoch_us(?::TIMESTAMP))), ? - 1)::INTEGER AS moment "
        f"FROM comparisons WHERE excluded IS NULL AND version_a <> version_b{where} GROUP BY ALL",
        (first, _MOMENTS, last, first, _MOMENTS, *params),
    )
    moment = ints(rows, "moment")
    known = len(selection.of_version)
    placed = np.array([
        max(a, b) < known and min(selection.of_version[a], selection.of_version[b]) >= 0
        for a, b in zip(ints(rows, "version_a"), ints(rows, "version_b"), strict=True)
    ], dtype=bool)  # fmt: skip
    filled = sorted(set(moment[placed].tolist()))
    if len(filled) < _FEWEST_MOMENTS:
        return ()
    values: dict[int, list[float | None]] = {i: [] for i in order}
    for until in filled:
        counts = pair_counts(
            rows.filter(placed & (moment <= until)), selection.of_version, len(selection.names)
        )
        ratings = bradley_terry(counts, level=query.level).ratings
        for i in order:
            values[i].append(float(ratings[i]) if np.isfinite(ratings[i]) else None)
    times = tuple(_end_of(moment, first, last) for moment in filled)
    return tuple(Series(selection.names[i], times, tuple(values[i])) for i in order)


def _end_of(moment: int, first: datetime, last: datetime) -> datetime:
    ended: datetime = first + timedelta(seconds=(last - first).total_seconds() * (moment + 1) / _MOMENTS)
    return ended
