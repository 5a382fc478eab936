"""The item-response view of a suite: which of its items tell models apart, how hard each is, and which ones to look at
because they are too easy, too hard or solved by the wrong models."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from results.leaderboard_data import groups_of
from results.ratings.items import item_response
from results.store.suites import item_scores

if TYPE_CHECKING:
    from results.store import Store

Remark = Literal["", "all solved", "none solved", "misleading", "tells little"]
"""What is striking about an item: all or none of the models solve it, abler models fail it more often (its slope is
clearly below 0), or its slope is clearly below a third of the usual one."""

_LITTLE = 1 / 3


class ItemRow(BaseModel):
    """One item. `solved` is its mean score over `models` models. `discrimination` is its slope at ability, with its
    interval; `difficulty` the ability at which half the models solve it, null where the slope may be 0.
    `information` is what it tells of the ability of models like these."""

    model_config = ConfigDict(frozen=True)

    item: str
    language: str
    category: str
    models: int
    solved: float
    discrimination: float
    discrimination_lower: float
    discrimination_upper: float
    difficulty: float | None
    difficulty_lower: float | None
    difficulty_upper: float | None
    information: float
    remark: Remark


class AbilityRow(BaseModel):
    """One model: its mean score on the `items` it answered, and its ability (mean 0 and standard deviation 1 over
    models like these) with its standard error."""

    model_config = ConfigDict(frozen=True)

    model: str
    items: int
    score: float
    ability: float
    error: float


class SuiteItems(BaseModel):
    """The item-response view: items, the most informative first, and models, the ablest first."""

    model_config = ConfigDict(frozen=True)

    suite: str
    level: float
    items: tuple[ItemRow, ...]
    models: tuple[AbilityRow, ...]


class TooFewScores(ValueError):
    """The suite was run with too few models for an item-response view; the message says with how many."""


def suite_items(store: Store, suite: str, *, language: str | None = None, level: float = 0.95) -> SuiteItems:
    """Fit the newest scores of every model version on every item of `suite` (of one language where given).

    Raises TooFewScores for fewer than two models, StoreError. With fewer than about ten models intervals are wide:
    sort by them, and judge no item by its slope alone.
    """
    rows = [
        row
        for row in item_scores(store, suite).to_pylist()
        if language is None or row["language"] == language
    ]
    keys = sorted({row["version_key"] for row in rows})
    if len(keys) < 2:
        of_language = f" in {language}" if language is not None else ""
        raise TooFewScores(
            f"the suite {suite}{of_language} has scores of {len(keys)} model versions in this store; an item-response "
            "view needs at least two: `arena bench run` with more models"
        )
    # Equal hashes are the same test, whatever it was called in which version of the suite.
    items = {row["item_hash"]: row for row in rows}
    place = {item: n for n, item in enumerate(items)}
    line = {key: n for n, key in enumerate(keys)}
    scores = np.full((len(keys), len(items)), np.nan)
    for row in rows:
        scores[line[row["version_key"]], place[row["item_hash"]]] = min(max(row["score"], 0.0), 1.0)
    fit = item_response(scores, level=level)
    means = np.nanmean(scores, axis=0)
    tried = np.isfinite(scores)
    found = [
        ItemRow(
            item=row["item"],
            language=row["language"] or "",
            category=row["category"] or "",
            models=int(tried[:, n].sum()),
            solved=float(means[n]),
            discrimination=float(fit.discrimination[n]),
            discrimination_lower=float(fit.discrimination_lower[n]),
            discrimination_upper=float(fit.discrimination_upper[n]),
            difficulty=_number(fit.difficulty[n]),
            difficulty_lower=_number(fit.difficulty_lower[n]),
            difficulty_upper=_number(fit.difficulty_upper[n]),
            information=float(fit.information[n]),
            remark=_remark(means[n], fit.discrimination_upper[n]),
        )
        for n, row in enumerate(items.values())
    ]
    groups = groups_of(store, "version")
    models = [
        AbilityRow(
            model=groups.names[groups.of_version[key]],
            items=int(tried[n].sum()),
            score=float(np.nanmean(scores[n])),
            ability=float(fit.ability[n]),
            error=float(fit.ability_error[n]),
        )
        for n, key in enumerate(keys)
    ]
    return SuiteItems(
        suite=suite,
        level=level,
        items=tuple(sorted(found, key=lambda row: (-row.information, row.item))),
        models=tuple(sorted(models, key=lambda row: (-row.ability, row.model))),
    )


def _remark(solved: float, upper: float) -> Remark:
    if solved >= 1:
        return "all solved"
    if solved <= 0:
        return "none solved"
    if upper < 0:
        return "misleading"
    return "tells little" if upper < _LITTLE else ""


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
