"""Leaderboards: models of the store, rated from the comparisons that a filter selects."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from results.ratings import OUTCOME, REASONS, PairCounts, Status, bradley_terry, elo, rank_bounds

if TYPE_CHECKING:
    import pyarrow as pa

    from results.store import Store

Method = Literal["bt", "elo"]
SourceFilter = Literal["human", "judge", "all"]
By = Literal["model", "version"]

SAME_MODEL = "same_model"
"""Exclusion reason of battles between two versions of one model, where versions are merged."""

_CODES = " ".join(f"WHEN '{verdict}' THEN {code}" for verdict, code in OUTCOME.items())
_OUTCOME = f"(CASE verdict {_CODES} END)::TINYINT"
_ELO_CHUNK = 500_000
_SAME_RATING = 1e-6


class LeaderboardRow(BaseModel):
    """One model's place. A model that cannot be rated has no rank and no rating but a `reason`, and one bound
    where one exists. `rank_best` and `rank_worst` are the ranks that the intervals of pairwise differences
    allow. `ties` counts verdicts `tie` and `both_bad`."""

    model_config = ConfigDict(frozen=True)

    rank: int | None
    model: str
    rating: float | None
    lower: float | None
    upper: float | None
    votes: int
    wins: int
    losses: int
    ties: int
    rank_best: int | None = None
    rank_worst: int | None = None
    status: Status = "rated"
    reason: str | None = None


class Leaderboard(BaseModel):
    """Rated models, best first, then those that cannot be rated. `votes` counts the comparisons behind it,
    `excluded` those left out, by reason."""

    model_config = ConfigDict(frozen=True)

    method: Method
    votes: int
    excluded: dict[str, int]
    models: tuple[LeaderboardRow, ...]
    source: SourceFilter
    judge: str | None = None
    category: str | None = None
    language: str | None = None
    by: By
    level: float | None = None


@dataclass(frozen=True)
class _Filter:
    """What is selected, as SQL on `pair_counts` and `comparisons`, whose columns have the same names."""

    sql: str
    params: tuple[str, ...]

    @classmethod
    def of(cls, **wanted: str | None) -> _Filter:
        chosen = {column: value for column, value in wanted.items() if value is not None}
        return cls("".join(f" AND {column} = ?" for column in chosen), tuple(chosen.values()))


@dataclass(frozen=True)
class _Groups:
    """What stands in one row of the leaderboard: `names` of the groups, `of_version` the group of each
    version key (-1 for keys that do not exist)."""

    names: tuple[str, ...]
    of_version: npt.NDArray[np.int64]


def leaderboard(
    store: Store,
    method: Method = "bt",
    source: SourceFilter = "human",
    category: str | None = None,
    language: str | None = None,
    *,
    judge: str | None = None,
    by: By = "version",
    level: float = 0.95,
) -> Leaderboard:
    """Rate the models that the selected comparisons name.

    Bradley-Terry (`bt`) reads the kept pair counts and has intervals at `level`; `elo` reads all comparisons
    in (time, seq) order and has none. `by` "version" has a row per model version, called by the model's name
    alone where it has only one version; "model" merges versions and leaves out battles between them.
    """
    chosen = _Filter.of(
        source=None if source == "all" else source, category=category, language=language, judge=judge
    )
    groups = _groups(store, by)
    table = store.query(
        f"SELECT version_a, version_b, {_OUTCOME} AS outcome, sum(n)::BIGINT AS n "  # noqa: S608
        f"FROM pair_counts WHERE n > 0{chosen.sql} GROUP BY ALL",
        chosen.params,
    )
    outcome = _ints(table, "outcome")
    a, b, n = (
        groups.of_version[_ints(table, "version_a")],
        groups.of_version[_ints(table, "version_b")],
        _ints(table, "n"),
    )
    within = a == b
    present = np.unique(np.concatenate([a[~within], b[~within]]))
    a, b = np.searchsorted(present, a[~within]), np.searchsorted(present, b[~within])
    counts = PairCounts.of(a, b, outcome[~within], len(present), count=n[~within])
    excluded = _excluded(store, chosen)
    if within.any():
        excluded[SAME_MODEL] = int(n[within].sum())

    names = [groups.names[group] for group in present]
    if method == "elo":
        ratings = elo(_history(store, chosen, groups, present), len(present))
        rows = _elo_rows(names, ratings, counts)
    else:
        rows = _bradley_terry_rows(names, counts, level)
    return Leaderboard(
        method=method,
        votes=int(counts.total),
        excluded=excluded,
        models=tuple(_ranked(rows)),
        source=source,
        judge=judge,
        category=category,
        language=language,
        by=by,
        level=level if method == "bt" else None,
    )


def known_values(store: Store, column: Literal["category", "language", "judge"]) -> list[str]:
    """The categories, languages or judges that counted comparisons have, most votes first."""
    table = store.query(
        f"SELECT {column} AS value FROM pair_counts WHERE n > 0 AND {column} <> '' "  # noqa: S608
        "GROUP BY 1 ORDER BY sum(n) DESC, 1"
    )
    return [str(value) for value in table["value"].to_pylist()]


def _groups(store: Store, by: By) -> _Groups:
    table = store.query(
        "SELECT version_key, m.model_key, name, number, count(*) OVER (PARTITION BY m.model_key) AS versions "
        "FROM model_versions v JOIN models m ON v.model_key = m.model_key ORDER BY m.model_key, number"
    )
    keys = table["version_key"].to_pylist()
    of_version = np.full(max(keys, default=0) + 1, -1, np.int64)
    names: dict[str, int] = {}
    for row in table.to_pylist():
        label = row["name"] if by == "model" or row["versions"] == 1 else f"{row['name']}@{row['number']}"
        of_version[row["version_key"]] = names.setdefault(label, len(names))
    return _Groups(tuple(names), of_version)


def _excluded(store: Store, chosen: _Filter) -> dict[str, int]:
    table = store.query(
        "SELECT excluded AS reason, count(*) AS n FROM comparisons "  # noqa: S608
        f"WHERE excluded IS NOT NULL{chosen.sql} GROUP BY 1 ORDER BY 2 DESC, 1",
        chosen.params,
    )
    return dict(zip(table["reason"].to_pylist(), table["n"].to_pylist(), strict=True))


def _history(
    store: Store, chosen: _Filter, groups: _Groups, present: npt.NDArray[np.int64]
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    table = store.query(
        f"SELECT version_a, version_b, {_OUTCOME} AS outcome "  # noqa: S608
        f"FROM comparisons WHERE excluded IS NULL{chosen.sql} ORDER BY time, seq",
        chosen.params,
    )
    for start in range(0, table.num_rows, _ELO_CHUNK):
        part = table.slice(start, _ELO_CHUNK)
        a, b = (groups.of_version[_ints(part, column)] for column in ("version_a", "version_b"))
        apart = a != b
        outcome = _ints(part, "outcome")[apart]
        yield np.searchsorted(present, a[apart]), np.searchsorted(present, b[apart]), outcome


def _ints(table: pa.Table, column: str) -> npt.NDArray[np.int64]:
    return np.asarray(table[column].to_numpy(), dtype=np.int64)


@dataclass(frozen=True)
class _Tally:
    wins: int
    losses: int
    ties: int

    @property
    def fields(self) -> dict[str, Any]:
        return {
            "votes": self.wins + self.losses + self.ties,
            "wins": self.wins,
            "losses": self.losses,
            "ties": self.ties,
        }


def _tallies(counts: PairCounts) -> list[_Tally]:
    wins, losses, ties = counts.wins.sum(axis=1), counts.wins.sum(axis=0), counts.ties.sum(axis=1)
    return [_Tally(int(w), int(lost), int(t)) for w, lost, t in zip(wins, losses, ties, strict=True)]


def _elo_rows(
    names: Sequence[str], ratings: npt.NDArray[np.float64], counts: PairCounts
) -> list[LeaderboardRow]:
    return [
        LeaderboardRow(rank=None, model=name, rating=float(rating), lower=None, upper=None, **tally.fields)
        for name, rating, tally in zip(names, ratings, _tallies(counts), strict=True)
    ]


def _bradley_terry_rows(names: Sequence[str], counts: PairCounts, level: float) -> list[LeaderboardRow]:
    fit = bradley_terry(counts, level=level)
    best, worst = rank_bounds(fit)
    return [
        LeaderboardRow(
            rank=None,
            model=name,
            rating=_number(fit.ratings[i]),
            lower=_number(fit.lower[i]),
            upper=_number(fit.upper[i]),
            **tally.fields,
            rank_best=int(best[i]) or None,
            rank_worst=int(worst[i]) or None,
            status=fit.status[i],
            reason=REASONS[fit.status[i]] or None,
        )
        for i, (name, tally) in enumerate(zip(names, _tallies(counts), strict=True))
    ]


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


_UNRATED_ORDER: tuple[Status, ...] = ("undefeated", "unplaced", "apart", "no_votes", "winless")


def _ranked(rows: Sequence[LeaderboardRow]) -> Iterator[LeaderboardRow]:
    """Best first and numbered, equal ratings alike; then what cannot be rated."""
    rated = sorted(
        (row for row in rows if row.rating is not None), key=lambda row: (-(row.rating or 0.0), row.model)
    )
    rank, above = 0, math.inf
    for place, row in enumerate(rated, start=1):
        rating = row.rating if row.rating is not None else math.nan
        if above - rating > _SAME_RATING:
            rank, above = place, rating
        yield row.model_copy(update={"rank": rank})
    yield from sorted(
        (row for row in rows if row.rating is None),
        key=lambda row: (_UNRATED_ORDER.index(row.status), -(row.lower or row.upper or 0.0), row.model),
    )
