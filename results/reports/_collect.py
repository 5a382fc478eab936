"""Read the store and compute everything that a report tells."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Literal

from results.leaderboard import BoardQuery, Rated, rate
from results.records import now
from results.reports._agreement import agreements
from results.reports._choice import choice
from results.reports._decide import lead
from results.reports._evidence import examples, exclusions, speeds, voters
from results.reports._history import history
from results.reports._model import Facts, Group, Report, ReportQuery
from results.reports._reading import conditions, fingerprint, version_names
from results.reports._style import style
from results.reports._suites import suites

if TYPE_CHECKING:
    from results.store import Store

_GROUPS = 12

Progress = Callable[[str], None]
"""Told what is read or computed next: `ratings`, `history`, `style`, `agreement`, `suites`, `evidence`."""


def collect(
    store: Store, query: ReportQuery | None = None, *, progress: Progress = lambda step: None
) -> Report:
    """Everything that a report on the selected comparisons tells. Raises StoreError."""
    query = query or ReportQuery()
    progress("ratings")
    board = BoardQuery(
        source=query.source, judge=query.judge, category=query.category, level=query.level, position_bias=True
    )
    rated = rate(store, board)
    names = version_names(rated)
    plain = board.model_copy(update={"position_bias": False})
    categories = _groups(store, query, plain, "category") if query.category is None else ()
    languages = _groups(store, query, plain, "language")
    progress("history")
    over_time = history(store, query, plain)
    progress("style")
    controlled = style(store, query, plain)
    progress("agreement")
    agreement = agreements(store, query)
    progress("suites")
    tested = suites(store, query)
    progress("evidence")
    return Report(
        query=query,
        facts=_facts(store, query, rated),
        rated=rated,
        lead=lead(rated, query.seed),
        history=over_time,
        categories=categories,
        languages=languages,
        style=controlled,
        agreement=agreement,
        excluded=exclusions(store, query),
        voters=voters(store, query),
        speed=speeds(store, names),
        suites=tested,
        choice=choice(store, query, rated),
        examples=examples(store, query, names) if query.examples else (),
    )


def _groups(
    store: Store, query: ReportQuery, board: BoardQuery, column: Literal["category", "language"]
) -> tuple[Group, ...]:
    """Categories or languages with the most comparisons, rated each by itself; empty unless there are two."""
    where, params = conditions(query)
    values = store.query(
        f"SELECT {column} AS value FROM pair_counts WHERE n > 0{where} "  # noqa: S608
        "GROUP BY 1 ORDER BY sum(n) DESC, 1",
        params,
    )["value"].to_pylist()
    if len(values) < 2:
        return ()
    groups = []
    for value in values[:_GROUPS]:
        found = rate(store, board.model_copy(update={column: value})).board
        groups.append(Group(value, found.votes, found.models))
    return tuple(groups)


def _facts(store: Store, query: ReportQuery, rated: Rated) -> Facts:
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
    return Facts(palaestra=palaestra, created=now(), fingerprint=fingerprint(rated), **row)
