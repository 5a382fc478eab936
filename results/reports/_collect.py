"""Read the store and compute everything that a report tells."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from results.leaderboard import LeaderboardRow
from results.ratings import (
    REASONS,
    BradleyTerry,
    PairCounts,
    Unidentified,
    bradley_terry,
    rank_bounds,
    rate_with_ties,
)
from results.records import now
from results.reports._agreement import agreements
from results.reports._decide import lead
from results.reports._evidence import examples, exclusions, speeds, voters
from results.reports._history import history
from results.reports._model import Facts, Group, Report, ReportQuery
from results.reports._reading import Selection, conditions, select

if TYPE_CHECKING:
    from results.ratings import Estimate
    from results.store import Store

_GROUPS = 12
_LINES = 6

Progress = Callable[[str], None]
"""Told what is read or computed next: `ratings`, `history`, `agreement`, `evidence`."""


def collect(
    store: Store, query: ReportQuery | None = None, *, progress: Progress = lambda step: None
) -> Report:
    """Everything that a report on the selected comparisons tells. Raises StoreError."""
    query = query or ReportQuery()
    progress("ratings")
    selection = select(store, query)
    counts = selection.counts
    fit = bradley_terry(counts, level=query.level)
    rows, order = _rows(selection.names, counts, fit)
    names = {key: selection.names[i] for key, i in enumerate(selection.of_version.tolist()) if i >= 0}
    progress("history")
    lines = tuple(i for i, row in zip(order, rows, strict=True) if row.rating is not None)[:_LINES]
    over_time = history(store, query, selection, lines)
    progress("agreement")
    agreement = agreements(store, query)
    progress("evidence")
    return Report(
        query=query,
        facts=_facts(store, query, selection),
        selection=selection,
        rows=rows,
        order=order,
        scores=counts.wins + counts.ties / 2,
        lead=lead(selection.names, counts, fit, query.seed),
        history=over_time,
        categories=_groups(selection, "category", query),
        languages=_groups(selection, "language", query),
        agreement=agreement,
        position=_position(counts, query.level),
        excluded=exclusions(store, query),
        voters=voters(store, query),
        speed=speeds(store, names),
        examples=examples(store, query, names) if query.examples else (),
    )


def _rows(
    names: tuple[str, ...], counts: PairCounts, fit: BradleyTerry
) -> tuple[tuple[LeaderboardRow, ...], tuple[int, ...]]:
    """The leaderboard's rows (rated first, best first) and the index of each row's model."""
    best, worst = rank_bounds(fit)
    wins, losses, ties = counts.wins.sum(axis=1), counts.wins.sum(axis=0), counts.ties.sum(axis=1)
    order = sorted(
        (i for i in range(len(names)) if counts.games[i].any()),
        key=lambda i: (
            not math.isfinite(fit.ratings[i]),
            -_or_zero(float(fit.ratings[i])),
            fit.status[i],
            names[i],
        ),
    )
    rows: list[LeaderboardRow] = []
    for place, i in enumerate(order, start=1):
        rated = math.isfinite(fit.ratings[i])
        above = rows[-1] if rows else None
        equal = above is not None and above.rating is not None and above.rating - fit.ratings[i] < 1e-6
        rows.append(
            LeaderboardRow(
                rank=None if not rated else above.rank if above and equal else place,
                model=names[i],
                rating=_number(fit.ratings[i]),
                lower=_number(fit.lower[i]),
                upper=_number(fit.upper[i]),
                votes=int(wins[i] + losses[i] + ties[i]),
                wins=int(wins[i]),
                losses=int(losses[i]),
                ties=int(ties[i]),
                rank_best=int(best[i]) or None,
                rank_worst=int(worst[i]) or None,
                status=fit.status[i],
                reason=REASONS[fit.status[i]] or None,
            )
        )
    return tuple(rows), tuple(order)


def _groups(selection: Selection, column: str, query: ReportQuery) -> tuple[Group, ...]:
    """Categories or languages with the most comparisons, rated each by itself; empty unless there are two."""
    parts = selection.parts(column)
    if len(parts) < 2:
        return ()
    groups = []
    for name, counts in list(parts.items())[:_GROUPS]:
        rows, _ = _rows(selection.names, counts, bradley_terry(counts, level=query.level))
        groups.append(Group(name, int(counts.total), rows))
    return tuple(groups)


def _position(counts: PairCounts, level: float) -> Estimate | None:
    """What sitting on side a is worth; None where the votes cannot tell."""
    try:
        return rate_with_ties(counts, "half", position=True, level=level).position
    except Unidentified:
        return None


def _facts(store: Store, query: ReportQuery, selection: Selection) -> Facts:
    where, params = conditions(query)
    row = store.query(
        "SELECT min(time) AS first, max(time) AS last, count(DISTINCT battle_id) AS battles, "  # noqa: S608
        "(SELECT max(version) FROM schema_version) AS schema, version() AS duckdb "
        f"FROM comparisons WHERE excluded IS NULL{where}",
        params,
    ).to_pylist()[0]
    try:
        palaestra = version("palaestra")
    except PackageNotFoundError:
        palaestra = "not installed"
    return Facts(palaestra=palaestra, created=now(), fingerprint=selection.fingerprint, **row)


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _or_zero(value: float) -> float:
    return value if math.isfinite(value) else 0.0
