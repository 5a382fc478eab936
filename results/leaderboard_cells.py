"""Counted comparisons read as cells (`results.store.cells`): one number each instead of two versions and a verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from results.ratings import OUTCOME
from results.store.cells import VERDICTS, cell_sql, unpacked

if TYPE_CHECKING:
    from results.leaderboard_data import Filter
    from results.store import Store

Ints = npt.NDArray[np.int64]
Columns = tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]

_IMPORTS = "FROM imports WHERE state = 'running'"
_RUNNING = f"SELECT count(*) {_IMPORTS}"
_FEW = 1_000_000
_OUTCOME_OF_CODE = np.array([OUTCOME[verdict] for verdict in VERDICTS], np.uint8)


def read_cells(
    store: Store, votes: Filter | None, comparisons: Filter, columns: str, end: str = ""
) -> pa.Table:
    """`columns` (of cell, time, seq and those of the view `comparisons`) of counted comparisons: of the table of votes
    where the query means nothing else (`votes`), else of the view."""
    table = None if votes is None else _of_votes(store, votes, columns, end)
    if table is not None:
        return table
    return store.query(
        f"SELECT {columns} FROM (SELECT *, {cell_sql()} AS cell FROM comparisons) "  # noqa: S608
        f"WHERE excluded IS NULL{comparisons.sql} {end}",
        comparisons.params,
    )


def _of_votes(store: Store, chosen: Filter, columns: str, end: str) -> pa.Table | None:
    """Read the table of votes itself, in a fraction of the view's time; None where that gives nothing.

    Rows of an import that runs are left out by its id as a constant, which DuckDB compares with whole blocks of rows at
    a time; a condition seen in the same snapshot leaves no rows where other imports run than is thought.
    """
    select = f"SELECT {columns} FROM votes WHERE cell IS NOT NULL{chosen.sql}"  # noqa: S608
    table = store.query(f"{select} AND ({_RUNNING}) = 0 {end}", chosen.params)
    if table.num_rows:
        return table
    running = [UUID(each) for each in store.query(f"SELECT id {_IMPORTS}")["id"].to_pylist()]
    if not running:
        return None
    visible = " AND (import_id IS NULL OR import_id <> ?)" * len(running)
    among = f"AND id IN ({', '.join('?' * len(running))})"
    table = store.query(
        f"{select}{visible} AND ({_RUNNING}) = ? AND ({_RUNNING} {among}) = ? {end}",
        (*chosen.params, *running, len(running), *running, len(running)),
    )
    return table if table.num_rows else None


def outcomes_of(cells: npt.NDArray[Any]) -> Columns:
    """Versions on side a and b and outcome codes of cells."""
    version_a, version_b, verdict = unpacked(cells)
    return version_a, version_b, _OUTCOME_OF_CODE[verdict]


class Placing:
    """Model indices and outcome codes of cells, in small types; -1 stands for versions without a place, such as those
    that came in the meantime. `place` is the model index of each version, -1 for none; cells up to `largest` are worked
    out once each unless that is more than there are rows."""

    def __init__(self, place: Ints, largest: int, rows: int) -> None:
        self._place = np.append(place, -1).astype(np.int16 if len(place) < 2**15 else np.int32)
        self._table = self._work_out(np.arange(largest + 1)) if largest < max(_FEW, rows) else None

    def __call__(self, cells: npt.NDArray[Any]) -> Columns:
        if self._table is None:
            return self._work_out(cells)
        a, b, outcome = self._table
        return a[cells], b[cells], outcome[cells]

    def _work_out(self, cells: npt.NDArray[Any]) -> Columns:
        version_a, version_b, outcome = outcomes_of(cells)
        last = len(self._place) - 1
        a, b = (self._place[np.minimum(version, last)] for version in (version_a, version_b))
        return a, b, outcome
