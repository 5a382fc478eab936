"""Leaderboards: models of the store, rated from the comparisons that a query selects."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from results.leaderboard_data import SAME_MODEL, Selected, StyleRows, history, select
from results.leaderboard_query import BoardQuery, By, Method, SourceFilter
from results.ratings import (
    REASONS,
    BradleyTerry,
    Estimate,
    PairCounts,
    Status,
    StyleFit,
    TieFit,
    Unidentified,
    bootstrap,
    bradley_terry,
    elo,
    rank_bounds,
    rate_with_style,
    rate_with_ties,
)

if TYPE_CHECKING:
    from results.store import Store

_SAME_RATING = 1e-6
_POSITION = "position"

Fields = dict[str, Any]
"""The fields of a row that has no rank yet."""


class LeaderboardRow(BaseModel):
    """One model's place. A model that cannot be rated has no rank and no rating but a `reason`, and one bound
    where one exists. `rank_best` and `rank_worst` are the ranks that the intervals of pairwise differences
    allow. `votes`, `wins`, `losses` and `ties` count comparisons, whatever they weigh; `ties` counts verdicts
    `tie` and `both_bad`."""

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


class Effect(BaseModel):
    """An estimate beside the ratings, with its standard error, interval and two-sided p-value against zero.

    Of style, in natural units: one standard deviation more of it on side a multiplies the odds of a by
    exp(value). Of `position`, in rating points: what side a is worth."""

    model_config = ConfigDict(frozen=True)

    name: str
    value: float
    error: float
    lower: float
    upper: float
    p_value: float | None

    @classmethod
    def of(cls, name: str, estimate: Estimate, factor: float = 1.0) -> Effect:
        """An estimate in units that are `factor` times smaller."""
        return cls(
            name=name,
            value=estimate.value * factor,
            error=estimate.error * factor,
            lower=estimate.lower * factor,
            upper=estimate.upper * factor,
            p_value=_number(estimate.p_value),
        )


class Leaderboard(BaseModel):
    """Rated models, best first, then those that cannot be rated. `votes` counts the comparisons behind it,
    `excluded` those left out, by reason.

    What only some queries have is null, and absent from JSON, for the others: `options` beyond the filters,
    the tie model's parameter `tie_parameter` (nu or theta), `position` (the advantage of side a), `style`
    (coefficients), `failed_draws` (resamplings that left a model unrateable).
    """

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
    options: dict[str, Any] | None = None
    tie_parameter: float | None = None
    position: Effect | None = None
    style: tuple[Effect, ...] | None = None
    failed_draws: int | None = None

    @model_serializer(mode="wrap")
    def _without_what_was_not_asked(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        optional = ("options", "tie_parameter", "position", "style", "failed_draws")
        return {key: value for key, value in plain(self).items() if value is not None or key not in optional}


class UnknownModel(ValueError):
    """A name that no model of the leaderboard has; the message says which are near."""


@dataclass(frozen=True, eq=False)
class Rated:
    """A leaderboard with what it was computed from: index i of `counts` (plain) and of `fit` is the model
    `names[i]`. `fit` is null for Elo; `ties` is set where ties have a model of their own."""

    query: BoardQuery
    board: Leaderboard
    selected: Selected
    fit: BradleyTerry | None
    ties: TieFit | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The models that comparisons name, rated or not."""
        return self.selected.names

    @property
    def counts(self) -> PairCounts:
        """Comparisons per ordered pair, each counted once."""
        return self.selected.counts

    def index(self, name: str) -> int:
        """The index of a model, by its name here or by a model's name where that means one row. Raises
        UnknownModel."""
        found = matching(self.names, name)
        if len(found) > 1:
            raise UnknownModel(f"{name!r} has {len(found)} versions here: name one of {', '.join(found)}")
        return self.names.index(found[0])


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
    """The plain leaderboard: `rate` with filters alone. Bradley-Terry reads the kept pair counts, so that it
    takes milliseconds at any number of votes."""
    query = BoardQuery(
        method=method, source=source, category=category, language=language, judge=judge, by=by, level=level
    )
    return rate(store, query).board


def rate(store: Store, query: BoardQuery) -> Rated:
    """Rate the models that the query's comparisons name.

    Raises Unidentified where the comparisons do not determine the effect of style, UnknownModel for a name in
    `query.models` that no compared model has, StoreError.
    """
    selected = select(store, query)
    if query.method == "elo":
        ratings = elo(history(store, query, selected), len(selected.names))
        rows = _elo_rows(selected.names, ratings, selected.counts)
        return Rated(query, _board(query, selected, rows), selected, None)
    extra: dict[str, Any] = {}
    fit, ties = _fit(selected, query, extra)
    if query.position_bias and selected.rows is None:
        extra["position"] = _position(selected.shown or selected.weighted, query)
    best, worst = rank_bounds(fit, simultaneous=query.simultaneous)
    if query.bootstrap:
        resampled = bootstrap(selected.counts, query.bootstrap, level=query.level)
        fit = replace(fit, lower=_or(resampled.lower, fit.lower), upper=_or(resampled.upper, fit.upper))
        extra["failed_draws"] = resampled.failed
    rows = _bradley_terry_rows(selected.names, selected.counts, fit, best, worst)
    return Rated(query, _board(query, selected, rows, extra), selected, fit, ties)


def rated_rows(
    names: Sequence[str], counts: PairCounts, fit: BradleyTerry, *, simultaneous: bool = False
) -> list[LeaderboardRow]:
    """The rows of a leaderboard, best first, of a fit to the counts of the models `names`."""
    best, worst = rank_bounds(fit, simultaneous=simultaneous)
    return list(_ranked(_bradley_terry_rows(names, counts, fit, best, worst)))


def known_values(store: Store, column: Literal["category", "language", "judge"]) -> list[str]:
    """The categories, languages or judges that counted comparisons have, most votes first."""
    table = store.query(
        f"SELECT {column} AS value FROM pair_counts WHERE n > 0 AND {column} <> '' "  # noqa: S608
        "GROUP BY 1 ORDER BY sum(n) DESC, 1"
    )
    return [str(value) for value in table["value"].to_pylist()]


def matching(names: Sequence[str], wanted: str) -> list[str]:
    """The rows that a name means: the row of that name, else all versions of that model. Raises UnknownModel,
    naming the nearest."""
    found = [wanted] if wanted in names else [name for name in names if name.rpartition("@")[0] == wanted]
    if not found:
        near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.5)
        meant = f" Did you mean {near[0]!r}?" if near else ""
        there = ", ".join(sorted(names)[:20]) or "none"
        raise UnknownModel(f"no compared model is called {wanted!r}.{meant} There are: {there}.")
    return found


def _fit(selected: Selected, query: BoardQuery, extra: dict[str, Any]) -> tuple[BradleyTerry, TieFit | None]:
    if selected.rows is not None:
        fitted = _with_style(selected.rows, len(selected.names), query)
        effects = dict(fitted.coefficients)
        position = effects.pop(_POSITION, None)
        if position is not None:
            extra["position"] = Effect.of(_POSITION, position, fitted.base.scale / math.log(10))
        extra["style"] = tuple(Effect.of(name, estimate) for name, estimate in effects.items())
        return fitted.base, None
    if query.ties != "half":
        ties = rate_with_ties(selected.weighted, query.ties, level=query.level)
        extra["tie_parameter"] = ties.ties
        return ties.base, ties
    return bradley_terry(selected.weighted, level=query.level), None


def _with_style(rows: StyleRows, models: int, query: BoardQuery) -> StyleFit:
    x, names = rows.covariates, rows.names
    if query.position_bias:
        first = np.ones(len(x)) if rows.mirrored is None else np.where(rows.mirrored, -1.0, 1.0)
        x, names = np.column_stack([x, first]), (*names, _POSITION)
    return rate_with_style(
        rows.a, rows.b, rows.outcome, x, models, names=names, weight=rows.weight, level=query.level
    )


def _position(counts: PairCounts, query: BoardQuery) -> Effect | None:
    """What side a is worth; None where that cannot be told from the models' strengths."""
    try:
        fitted = rate_with_ties(counts, query.ties, position=True, level=query.level)
    except Unidentified:
        return None
    return None if fitted.position is None else Effect.of(_POSITION, fitted.position)


def _or(values: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(np.isfinite(values), values, others)


def _board(
    query: BoardQuery, selected: Selected, rows: Sequence[Fields], extra: dict[str, Any] | None = None
) -> Leaderboard:
    ranked = tuple(_ranked(rows))
    if query.models:
        shown = {name for wanted in query.models for name in matching(selected.names, wanted)}
        ranked = tuple(row for row in ranked if row.model in shown)
    return Leaderboard(
        method=query.method,
        votes=int(selected.counts.total),
        excluded=selected.excluded,
        models=ranked,
        source=query.source,
        judge=query.judge,
        category=query.category,
        language=query.language,
        by=query.by,
        level=query.level if query.method == "bt" else None,
        options=query.options or None,
        **(extra or {}),
    )


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


def _elo_rows(names: Sequence[str], ratings: npt.NDArray[np.float64], counts: PairCounts) -> list[Fields]:
    return [
        {
            "model": name,
            "rating": float(rating),
            "lower": None,
            "upper": None,
            "status": "rated",
            **tally.fields,
        }
        for name, rating, tally in zip(names, ratings, _tallies(counts), strict=True)
    ]


def _bradley_terry_rows(
    names: Sequence[str],
    counts: PairCounts,
    fit: BradleyTerry,
    best: npt.NDArray[np.int64],
    worst: npt.NDArray[np.int64],
) -> list[Fields]:
    return [
        {
            "model": name,
            "rating": _number(fit.ratings[i]),
            "lower": _number(fit.lower[i]),
            "upper": _number(fit.upper[i]),
            **tally.fields,
            "rank_best": int(best[i]) or None,
            "rank_worst": int(worst[i]) or None,
            "status": fit.status[i],
            "reason": REASONS[fit.status[i]] or None,
        }
        for i, (name, tally) in enumerate(zip(names, _tallies(counts), strict=True))
    ]


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


_UNRATED_ORDER: tuple[Status, ...] = ("undefeated", "unplaced", "apart", "no_votes", "winless")


def _ranked(rows: Sequence[Fields]) -> Iterator[LeaderboardRow]:
    """Best first and numbered, equal ratings alike; then what cannot be rated."""
    rated = sorted(
        (row for row in rows if row["rating"] is not None), key=lambda row: (-row["rating"], row["model"])
    )
    rank, above = 0, math.inf
    for place, row in enumerate(rated, start=1):
        if above - row["rating"] > _SAME_RATING:
            rank, above = place, row["rating"]
        yield LeaderboardRow(rank=rank, **row)
    unrated = sorted(
        (row for row in rows if row["rating"] is None),
        key=lambda row: (
            _UNRATED_ORDER.index(row["status"]), -(row["lower"] or row["upper"] or 0.0), row["model"],
        ),
    )  # fmt: skip
    for row in unrated:
        yield LeaderboardRow(rank=None, **row)


__all__ = [
    "SAME_MODEL",
    "BoardQuery",
    "By",
    "Effect",
    "Leaderboard",
    "LeaderboardRow",
    "Method",
    "Rated",
    "SourceFilter",
    "UnknownModel",
    "known_values",
    "leaderboard",
    "matching",
    "rate",
    "rated_rows",
]
