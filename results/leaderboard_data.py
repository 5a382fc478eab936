"""The comparisons behind a leaderboard, read from the store: as counts where counts are enough, else row by
row with the weight of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from results.leaderboard_cells import Columns, Placing, outcomes_of, read_cells
from results.leaderboard_query import BoardQuery, By
from results.leaderboard_style import COVARIATES, covariates, style_columns, style_tables
from results.ratings import (
    OUTCOME,
    PairCounts,
    capped_weights,
    decay_weights,
    inverse_probability_weights,
)
from results.records import now
from results.store import CHANGE_WINDOW

if TYPE_CHECKING:
    from results.store import Store

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

SAME_MODEL = "same_model"
"""Exclusion reason of battles between two versions of one model, where versions are merged."""
NO_PROBABILITY = "no_probability"
"""Exclusion reason of comparisons whose pair nobody drew, where sampling is corrected."""
NO_TEXT = "no_text"
"""Exclusion reason of comparisons without both answers' texts, under style control."""

_CODES = " ".join(f"WHEN '{verdict}' THEN {code}" for verdict, code in OUTCOME.items())
OUTCOME_SQL = f"(CASE verdict {_CODES} END)::TINYINT"
# The last letter tells verdicts apart; comparing texts takes DuckDB several times as long for each row.
_LETTER_SQL = "ascii(right(verdict, 1))"
_MIRRORED = "coalesce(mirrored, false) AS mirrored"
_EXCHANGED = np.zeros(len(set(OUTCOME.values())), np.int64)
for _verdict, _other in (("a", "b"), ("b", "a"), ("tie", "tie"), ("both_bad", "both_bad")):
    _EXCHANGED[OUTCOME[_verdict]] = OUTCOME[_other]
_OUTCOME_OF = np.zeros(128, np.uint8)
_OUTCOME_OF[[ord(verdict[-1]) for verdict in OUTCOME]] = list(OUTCOME.values())
# Battles of scripts are over from the start, and every voter has the same seconds to think better of it.
_OPEN = "(state = 'open' OR mode = 'script')"
_SETTLED = f"(time <= ? OR battle_id NOT IN (SELECT id FROM battles WHERE {_OPEN}))"  # noqa: S608


@dataclass(frozen=True)
class Filter:
    """What is selected, as SQL conditions that begin with AND."""

    sql: str
    params: tuple[object, ...]

    @classmethod
    def of(cls, query: BoardQuery, *, times: bool = True, sources: bool = True) -> Filter:
        """The conditions of a query on `comparisons`; without `times` on `pair_counts` and without `sources` on
        `votes`, whose other columns have the same names."""
        wanted = {
            "source = ?": None if query.source == "all" or not sources else query.source,
            "category = ?": query.category,
            "language = ?": query.language,
            "judge = ?": query.judge if sources else None,
            "time >= ?": query.since if times else None,
            "time < ?": query.until if times else None,
            _SETTLED: now() - CHANGE_WINDOW if times and query.settled else None,
        }
        chosen = {condition: value for condition, value in wanted.items() if value is not None}
        return cls("".join(f" AND {condition}" for condition in chosen), tuple(chosen.values()))


@dataclass(frozen=True)
class Groups:
    """What stands in one row of the leaderboard: `names` of the groups, `of_version` the group of each
    version key (-1 for keys that do not exist)."""

    names: tuple[str, ...]
    of_version: Ints


@dataclass(frozen=True, eq=False)
class StyleRows:
    """Comparisons one by one, for style control: model indices, outcome codes, weights (None: all 1) and
    covariates (rows, k) called `names`. `mirrored` rows were seen with their sides exchanged."""

    a: Ints
    b: Ints
    outcome: Ints
    weight: Floats | None
    covariates: Floats
    names: tuple[str, ...]
    mirrored: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True, eq=False)
class Selected:
    """The comparisons of a query. `counts` are plain, `weighted` is the same where nothing is weighted.
    `names[i]` is the model with index i; `excluded` counts what is left out, by reason. `shown` is `weighted` with
    the sides as voters saw them, where that was asked for and makes a difference."""

    names: tuple[str, ...]
    present: Ints
    groups: Groups
    counts: PairCounts
    weighted: PairCounts
    excluded: dict[str, int]
    rows: StyleRows | None = None
    shown: PairCounts | None = None


def groups_of(store: Store, by: By) -> Groups:
    """The rows that a leaderboard may have: a version is called by its model's name alone where the model has
    only one."""
    table = store.query(
        "SELECT v.model_key, number, version_key, name FROM model_versions v JOIN models m USING (model_key)"
    )
    # Two hundred rows are sorted here in a fraction of what it takes to ask for it.
    rows = sorted(zip(*(column.to_pylist() for column in table.columns), strict=True))
    models, numbers, keys, titles = zip(*rows, strict=True) if rows else ((), (), (), ())
    versions = Counter(models)
    of_version = np.full(max(keys, default=0) + 1, -1, np.int64)
    names: dict[str, int] = {}
    for key, model, name, number in zip(keys, models, titles, numbers, strict=True):
        label = name if by == "model" or versions[model] == 1 else f"{name}@{number}"
        of_version[key] = names.setdefault(label, len(names))
    return Groups(tuple(names), of_version)


def select(store: Store, query: BoardQuery) -> Selected:
    """Read what a query selects. Raises StoreError."""
    excluded = _excluded(store, query)
    return _from_rows(store, query, excluded) if query.needs_rows else _from_counts(store, query, excluded)


def history(store: Store, query: BoardQuery, selected: Selected) -> Iterator[Columns]:
    """The selected comparisons in (time, seq) order, as chunks of model indices and outcome codes."""
    table = _read_cells(store, query, "cell, time")
    batches = table.to_batches()
    # Votes lie almost always in the order in which they came: looking costs less than sorting, and where no two
    # have the same time, their sequence numbers need not be read.
    if not _in_order(batches):
        table = _read_cells(store, query, "cell, time, seq")
        when, seq = (values_of(table, name) for name in ("time", "seq"))
        batches = table.take(np.lexsort((seq, when.view(np.int64)))).to_batches()
    groups = selected.groups.of_version
    place = np.where(np.isin(groups, selected.present), np.searchsorted(selected.present, groups), -1)
    largest = max((int(values_of(batch, "cell").max()) for batch in batches if batch.num_rows), default=0)
    placed = Placing(place, largest, table.num_rows)
    for batch in batches:
        a, b, outcome = placed(values_of(batch, "cell"))
        rated = (a != b) & (a >= 0) & (b >= 0)
        yield (a, b, outcome) if rated.all() else (a[rated], b[rated], outcome[rated])


def _read_cells(store: Store, query: BoardQuery, columns: str, end: str = "") -> pa.Table:
    """`columns` of the counted comparisons that a query selects (see `read_cells`)."""
    votes = query.source == "human" and query.judge is None
    return read_cells(
        store, Filter.of(query, sources=False) if votes else None, Filter.of(query), columns, end
    )


def _in_order(batches: Sequence[pa.RecordBatch]) -> bool:
    """Whether each time is later than the one before."""
    last: Any = None
    for batch in batches:
        time = values_of(batch, "time")
        if not len(time):
            continue
        if (last is not None and time[0] <= last) or (time[1:] <= time[:-1]).any():
            return False
        last = time[-1]
    return True


def values_of(table: pa.Table | pa.RecordBatch, name: str) -> npt.NDArray[Any]:
    """A column without nulls as NumPy has its type, without a copy where there is one chunk."""
    return np.asarray(table.column(name).to_numpy())


def ints(table: pa.Table, column: str) -> Ints:
    """A column as int64."""
    return np.asarray(table[column].to_numpy(), dtype=np.int64)


def _excluded(store: Store, query: BoardQuery) -> dict[str, int]:
    votes = query.source == "human" and query.judge is None
    chosen = Filter.of(query, sources=not votes)
    # Votes of an import that runs are not looked at by anything that excludes, so their table can be read itself.
    table = store.query(
        f"SELECT excluded AS reason, count(*) AS n FROM {'votes' if votes else 'comparisons'} "  # noqa: S608
        f"WHERE excluded IS NOT NULL{chosen.sql} GROUP BY 1",
        chosen.params,
    )
    counted = zip(table["reason"].to_pylist(), table["n"].to_pylist(), strict=True)
    return dict(sorted(counted, key=lambda each: (-each[1], each[0])))


def _from_counts(store: Store, query: BoardQuery, excluded: dict[str, int]) -> Selected:
    judges = ", source = 'judge' AS judged" if query.judge_weight is not None else ""
    columns = f"version_a, version_b, {_LETTER_SQL} AS letter{judges}"
    turned = query.position_bias and _any_mirrored(store)
    if query.since is not None or query.until is not None or turned:
        asked = f"cell{judges}{f', {_MIRRORED}' if turned else ''}, count(*) AS n"
        table = _read_cells(store, query, asked, "GROUP BY ALL")
        version_a, version_b, outcome = outcomes_of(values_of(table, "cell"))
    else:
        table = _read_counts(store, query, columns)
        version_a, version_b = (values_of(table, name) for name in ("version_a", "version_b"))
        outcome = _OUTCOME_OF[values_of(table, "letter")]
    groups = groups_of(store, query.by)  # after the counts, so that it has every version that they name
    n = ints(table, "n")
    placed = _place(groups, version_a, version_b)
    apart = placed.apart
    if not apart.all():
        excluded[SAME_MODEL] = int(n[~apart].sum())
        outcome, n = outcome[apart], n[apart]
    size = len(placed.present)
    counts = PairCounts.of(placed.a, placed.b, outcome, size, count=n)
    weighted, weight = counts, None
    if query.judge_weight is not None:
        judged = np.asarray(table["judged"].to_numpy(), dtype=bool)[apart]
        weight = np.where(judged, query.judge_weight, 1.0)
        weighted = PairCounts.of(placed.a, placed.b, outcome, size, count=n, weight=weight)
    shown = None
    if turned:
        seen = _as_shown(placed, outcome, np.asarray(table["mirrored"].to_numpy(), dtype=bool)[apart])
        shown = PairCounts.of(*seen, size, count=n, weight=weight)
    return Selected(placed.names, placed.present, groups, counts, weighted, excluded, shown=shown)


def _any_mirrored(store: Store) -> bool:
    return bool(store.query("SELECT 1 FROM votes WHERE mirrored LIMIT 1").num_rows)


def _as_shown(
    placed: _Placed, outcome: npt.NDArray[Any], mirrored: npt.NDArray[np.bool_]
) -> tuple[Ints, Ints, Ints]:
    """Sides and outcomes as voters saw them."""
    a, b = np.where(mirrored, placed.b, placed.a), np.where(mirrored, placed.a, placed.b)
    return a, b, np.where(mirrored, _EXCHANGED[outcome], outcome)


def _read_counts(store: Store, query: BoardQuery, columns: str) -> pa.Table:
    """The kept counts. NumPy sums them up in less time than another GROUP BY takes."""
    chosen = Filter.of(query, times=False)
    sql, params = f"SELECT {columns}, n FROM pair_counts WHERE n > 0{chosen.sql}", chosen.params  # noqa: S608
    if not query.settled or query.source == "judge":
        return store.query(sql, params)
    # Newest votes are counted already: take them off again, seen in the same snapshot.
    recent = (
        f"SELECT {columns}, -1 AS n FROM (SELECT v.*, 'human' AS source, '' AS judge FROM votes v "  # noqa: S608
        f"JOIN battles b ON b.id = v.battle_id WHERE v.time > ? AND {_OPEN}) "
        f"WHERE excluded IS NULL AND import_id IS NULL{chosen.sql}"
    )
    table = store.query(f"{sql} UNION ALL {recent}", (*params, now() - CHANGE_WINDOW, *params))
    keys = [name for name in table.column_names if name != "n"]
    if not table.num_rows or pc.min(table["n"]).as_py() > 0:
        return table
    summed = table.group_by(keys).aggregate([("n", "sum")]).rename_columns([*keys, "n"])
    return summed.filter(pc.greater(summed["n"], 0))


@dataclass(frozen=True)
class _Placed:
    """Sides as indices among the models that are there. `apart` marks the rows whose sides are two models;
    `a` and `b` hold those rows only."""

    names: tuple[str, ...]
    present: Ints
    apart: npt.NDArray[np.bool_]
    a: Ints
    b: Ints


def _place(groups: Groups, version_a: Ints, version_b: Ints) -> _Placed:
    a, b = groups.of_version[version_a], groups.of_version[version_b]
    apart = a != b
    if not apart.all():
        a, b = a[apart], b[apart]
    there = np.zeros(len(groups.names), dtype=bool)
    there[a] = there[b] = True
    present = np.flatnonzero(there)
    if len(present) < len(there):
        place = np.cumsum(there) - 1
        a, b = place[a], place[b]
    return _Placed(tuple(groups.names[group] for group in present), present, apart, a, b)


def _from_rows(store: Store, query: BoardQuery, excluded: dict[str, int]) -> Selected:
    table = _read_rows(store, query)
    groups = groups_of(store, query.by)
    if query.correct_sampling:
        table = _leave_out(table, "probability", NO_PROBABILITY, excluded)
    if query.style_control:
        table = _leave_out(table, f"{COVARIATES[0]}_a", NO_TEXT, excluded)
    placed = _place(groups, ints(table, "version_a"), ints(table, "version_b"))
    if not placed.apart.all():
        excluded[SAME_MODEL] = int((~placed.apart).sum())
        table = table.filter(placed.apart)
    outcome, size = ints(table, "outcome"), len(placed.present)
    counts = PairCounts.of(placed.a, placed.b, outcome, size)
    weight = _weights(table, query) if query.weighting else None
    weighted = counts if weight is None else PairCounts.of(placed.a, placed.b, outcome, size, weight=weight)
    rows = shown = mirrored = None
    if query.position_bias:
        mirrored = np.asarray(table["mirrored"].to_numpy(), dtype=bool)
        shown = PairCounts.of(*_as_shown(placed, outcome, mirrored), size, weight=weight)
    if query.style_control:
        names, x = covariates(table)
        rows = StyleRows(placed.a, placed.b, outcome, weight, x, names, mirrored)
    return Selected(placed.names, placed.present, groups, counts, weighted, excluded, rows, shown)


def _read_rows(store: Store, query: BoardQuery) -> pa.Table:
    """The selected comparisons with just the columns that the query's options need."""
    chosen = Filter.of(query)
    columns, joins = ["version_a", "version_b", f"{OUTCOME_SQL} AS outcome"], ""
    if query.position_bias:
        columns.append(_MIRRORED)
    if query.half_life is not None:
        columns.append("epoch_us(time) AS time")
    if query.max_votes_per_voter is not None:
        columns.append("CASE WHEN voter IS NOT NULL THEN hash(voter) END AS voter")
    if query.max_votes_per_prompt is not None:
        columns.append("CASE WHEN item_id IS NOT NULL THEN hash(item_id) END AS prompt")
        joins += " LEFT JOIN (SELECT id, item_id FROM battles) b ON b.id = battle_id"
    if query.correct_sampling:
        columns.append("selection_probability AS probability")
    if query.judge_weight is not None:
        columns.append("source = 'judge' AS judged")
    tables = ""
    if query.style_control:
        tables = f", {style_tables('chosen')}"
        columns += style_columns()
        joins += " LEFT JOIN styles USING (battle_id)"
    return store.query(
        f"WITH chosen AS (SELECT * EXCLUDE (id) FROM comparisons WHERE excluded IS NULL{chosen.sql}){tables} "  # noqa: S608
        f"SELECT {', '.join(columns)} FROM chosen{joins}",
        chosen.params,
    )


def _leave_out(table: pa.Table, column: str, reason: str, excluded: dict[str, int]) -> pa.Table:
    """The rows that have a value in `column`; the others are counted under `reason`."""
    missing = table[column].null_count
    if missing:
        excluded[reason] = missing
        return table.filter(table[column].is_valid())
    return table


def _weights(table: pa.Table, query: BoardQuery) -> Floats:
    """What each comparison weighs. Caps come last, so that what they promise holds for the result."""
    weight = np.ones(table.num_rows)
    if query.judge_weight is not None:
        weight[np.asarray(table["judged"].to_numpy(), dtype=bool)] = query.judge_weight
    if query.half_life is not None and table.num_rows:
        days = ints(table, "time") / 86_400e6
        weight *= decay_weights(days, now=float(days.max()), half_life=query.half_life)
    if query.correct_sampling:
        weight *= inverse_probability_weights(table["probability"].to_numpy())
    for column, cap in (("voter", query.max_votes_per_voter), ("prompt", query.max_votes_per_prompt)):
        if cap is not None:
            weight = capped_weights(_numbered(table, column), cap, weight)
    return weight


def _numbered(table: pa.Table, column: str) -> Ints:
    """The values of a column numbered from 0; -1 for null."""
    codes = table[column].combine_chunks().dictionary_encode().indices
    return np.asarray(codes.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64)
