"""How the models did on test suites: scores with standard errors, and paired differences to the best one."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from results.items import ItemRow, TooFewScores, suite_items
from results.leaderboard_data import groups_of
from results.store.suites import item_scores

if TYPE_CHECKING:
    from results.reports._model import ReportQuery
    from results.store import Store

_ITEMS_FROM = 3
"""Models from which on items are looked at: with two, nothing tells an item from the models."""
_ITEMS = 5


@dataclass(frozen=True)
class SuiteScore:
    """A model's mean score on `items` items with its standard error, clustered by item group; and how far it is below
    the best model on the `shared` items that both answered, item by item, with an interval. `clear`: it excludes 0."""

    name: str
    items: int
    score: float
    error: float
    shared: int | None
    behind: float | None
    lower: float | None
    upper: float | None
    clear: bool


@dataclass(frozen=True)
class SuiteView:
    """One suite: models, best first, and the items that tell most, or that should be looked at (`odd`)."""

    suite: str
    scores: tuple[SuiteScore, ...]
    telling: tuple[ItemRow, ...]
    odd: tuple[ItemRow, ...]


def suites(store: Store, query: ReportQuery) -> tuple[SuiteView, ...]:
    """Every suite that was run, by name; the newest score of each model version on each item."""
    names = store.query("SELECT DISTINCT suite FROM samples WHERE score IS NOT NULL ORDER BY 1")["suite"]
    if not len(names):
        return ()
    groups = groups_of(store, "version")
    found = []
    for suite in names.to_pylist():
        scores: dict[str, dict[str, float]] = defaultdict(dict)
        clusters: dict[str, str] = {}
        for row in item_scores(store, suite).to_pylist():
            scores[groups.names[groups.of_version[row["version_key"]]]][row["item_hash"]] = row["score"]
            clusters[row["item_hash"]] = row["item_group"] or row["item_hash"]
        telling, odd = _items(store, suite, len(scores), query.level)
        found.append(SuiteView(suite, tuple(_scored(scores, clusters, query.level)), telling, odd))
    return tuple(found)


def _scored(scores: dict[str, dict[str, float]], clusters: dict[str, str], level: float) -> list[SuiteScore]:
    means = {name: float(np.mean(list(by_item.values()))) for name, by_item in scores.items()}
    order = sorted(means, key=lambda name: (-means[name], name))
    z, best, rows = float(ndtri(0.5 + level / 2)), scores[order[0]], []
    for name in order:
        mine = scores[name]
        shared = [item for item in best if item in mine] if name != order[0] else []
        behind = error = None
        if len(shared) > 1:
            gaps = np.array([best[item] - mine[item] for item in shared])
            behind, error = float(gaps.mean()), _error(gaps, [clusters[item] for item in shared])
        rows.append(
            SuiteScore(
                name=name,
                items=len(mine),
                score=means[name],
                error=_error(np.array(list(mine.values())), [clusters[item] for item in mine]),
                shared=len(shared) or None,
                behind=behind,
                lower=None if behind is None or error is None else behind - z * error,
                upper=None if behind is None or error is None else behind + z * error,
                clear=behind is not None and error is not None and abs(behind) > z * error,
            )
        )
    return rows


def _error(values: npt.NDArray[np.float64], clusters: list[str]) -> float:
    """The standard error of a mean whose clusters are independent (Liang & Zeger, 1986)."""
    residual = values - values.mean()
    codes = np.unique(clusters, return_inverse=True)[1]
    sums = np.bincount(codes, residual)
    many = len(sums)
    return math.sqrt(float((sums**2).sum()) * many / max(many - 1, 1)) / len(values)


def _items(
    store: Store, suite: str, models: int, level: float
) -> tuple[tuple[ItemRow, ...], tuple[ItemRow, ...]]:
    if models < _ITEMS_FROM:
        return (), ()
    try:
        rows = suite_items(store, suite, level=level).items
    except TooFewScores:
        return (), ()
    odd = [row for row in rows if row.remark == "misleading"]
    return rows[:_ITEMS], tuple(odd[:_ITEMS])
