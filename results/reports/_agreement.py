"""How well judges agree with people on the battles that both have seen, and people with each other: what
`results.agreement` says of the report's comparisons."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from results.agreement import Agreement, Share, cross_tables, own_tables, summarise
from results.leaderboard_data import OUTCOME_SQL
from results.reports._reading import conditions

if TYPE_CHECKING:
    from results.reports._model import ReportQuery
    from results.store import Store

__all__ = ["Agreement", "Share", "agreements", "summarise"]


def agreements(store: Store, query: ReportQuery) -> tuple[Agreement, ...]:
    """Every judge with people, most battles first, after people with each other; empty where no battle has
    both."""
    where, params = conditions(query, source=False)
    verdicts = ", ".join(
        f"count(*) FILTER ({OUTCOME_SQL} = {code}) AS {name}" for code, name in enumerate(("a", "t", "b"))
    )
    counted = f"FROM comparisons WHERE excluded IS NULL{where}"
    table = store.query(
        f"WITH h AS (SELECT battle_id, {verdicts} {counted} AND source = 'human' GROUP BY 1), "  # noqa: S608
        f"j AS (SELECT battle_id, judge, {verdicts} {counted} AND source = 'judge' GROUP BY 1, 2) "
        "SELECT judge, h.a, h.t, h.b, j.a AS ja, j.t AS jt, j.b AS jb, count(*) AS n "
        "FROM h JOIN j USING (battle_id) GROUP BY ALL",
        params * 2,
    )
    if not table.num_rows:
        return ()
    judges = np.asarray(table["judge"].to_pylist(), dtype=object)
    people = np.stack([table[c].to_numpy() for c in ("a", "t", "b")], axis=1).astype(np.float64)
    theirs = np.stack([table[c].to_numpy() for c in ("ja", "jt", "jb")], axis=1).astype(np.float64)
    n = np.asarray(table["n"].to_numpy(), dtype=np.float64)
    found = []
    for judge in sorted(set(judges.tolist())):
        mine = judges == judge
        h, j = people[mine], theirs[mine]
        tables = cross_tables(h, j)
        votes = int((h.sum(1) * n[mine]).sum())
        found.append(summarise(judge, tables, n[mine], votes, query.level))
    found.sort(key=lambda each: -each.battles)
    with_each_other = _people(store, query)
    return (*([with_each_other] if with_each_other else []), *found)


def _people(store: Store, query: ReportQuery) -> Agreement | None:
    where, params = conditions(query, source=False)
    verdicts = ", ".join(
        f"count(*) FILTER ({OUTCOME_SQL} = {code}) AS {name}" for code, name in enumerate(("a", "t", "b"))
    )
    table = store.query(
        f"SELECT a, t, b, count(*) AS n FROM (SELECT battle_id, {verdicts} FROM comparisons "  # noqa: S608
        f"WHERE excluded IS NULL AND source = 'human'{where} GROUP BY 1) WHERE a + t + b > 1 GROUP BY ALL",
        params,
    )
    if not table.num_rows:
        return None
    h = np.stack([table[c].to_numpy() for c in ("a", "t", "b")], axis=1).astype(np.float64)
    size = h.sum(axis=1)
    tables = own_tables(h)
    n = np.asarray(table["n"].to_numpy(), dtype=np.float64)
    return summarise(None, tables, n, int((size * n).sum()), query.level)
