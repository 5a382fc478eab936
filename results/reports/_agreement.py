"""How well judges agree with people on the battles that both have seen, and people with each other.

A battle's table (3, 3) says how likely two verdicts drawn at random from it fall where: a person's against a
judge's, or two different people's. Battles weigh the same. Agreement is the trace of the mean table; Cohen's
kappa (1960) sets it against what the margins alone would give. Intervals are by the delta method with battles
as the independent units, because votes on one battle are not independent of each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from results.leaderboard_data import OUTCOME_SQL
from results.reports._reading import conditions

if TYPE_CHECKING:
    from results.reports._model import ReportQuery
    from results.store import Store

Floats = npt.NDArray[np.float64]

ENOUGH = 20
"""Below this many battles no interval is given: the normal approximation would be worth nothing."""


@dataclass(frozen=True)
class Share:
    """A share or a coefficient, with its interval where there are enough battles."""

    value: float
    lower: float | None
    upper: float | None


@dataclass(frozen=True)
class Agreement:
    """`judge` against people, or people with each other (None). `kappa` is None where all verdicts are equal.
    `same_winner` is the agreement where both named a winner (None where they never did).
    `table` holds the mean shares; rows: a person's verdict (A, tie, B), columns: the other's."""

    judge: str | None
    battles: int
    votes: int
    agreement: Share
    kappa: Share | None
    same_winner: Share | None
    table: tuple[tuple[float, ...], ...]


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
        tables = np.einsum("bi,bj->bij", h / h.sum(1, keepdims=True), j / j.sum(1, keepdims=True))
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
    tables = np.einsum("bi,bj->bij", h, h)
    tables[:, range(3), range(3)] -= h
    tables /= (size * (size - 1))[:, None, None]
    n = np.asarray(table["n"].to_numpy(), dtype=np.float64)
    return summarise(None, tables, n, int((size * n).sum()), query.level)


def summarise(judge: str | None, tables: Floats, n: Floats, votes: int, level: float) -> Agreement:
    """Agreement and kappa of battles' tables (k, 3, 3), each standing for `n` (k,) battles."""
    battles = n.sum()
    mean = np.einsum("b,bij->ij", n, tables) / battles
    rows, columns = mean.sum(axis=1), mean.sum(axis=0)
    agreed, by_chance = float(np.trace(mean)), float(rows @ columns)
    diagonal = np.eye(3)

    def share(value: float, gradient: Floats, least: float) -> Share:
        if battles < ENOUGH:
            return Share(value, None, None)
        influence = np.einsum("ij,bij->b", gradient, tables - mean)
        error = math.sqrt(float((n * influence**2).sum())) / float(battles)
        half = float(ndtri(0.5 + level / 2)) * error
        return Share(value, max(least, value - half), min(1.0, value + half))

    kappa = None
    if 1 - by_chance > 1e-12:
        slope = (diagonal * (1 - by_chance) - (1 - agreed) * (columns[:, None] + rows[None, :])) / (
            1 - by_chance
        ) ** 2
        kappa = share((agreed - by_chance) / (1 - by_chance), slope, -1.0)
    same_winner = None
    corners = np.ix_([0, 2], [0, 2])
    named = float(mean[corners].sum())
    if named > 0:
        same = float(mean[0, 0] + mean[2, 2]) / named
        slope = np.zeros((3, 3))
        slope[corners] = (np.eye(2) - same) / named
        same_winner = share(same, slope, 0.0)
    shares = tuple(tuple(float(x) for x in row) for row in mean)
    return Agreement(judge, int(battles), votes, share(agreed, diagonal, 0.0), kappa, same_winner, shares)
