"""What judges that grade gave each model: means with intervals, by turn and by criterion.

Grades of battles (an answer that is judged in several battles has one reply, and counts once) and grades of single
answers from files of other tools. A reply without a grade is counted beside the mean and never part of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from results.agreement import Share
from results.judge_bias import mean_with_interval
from results.leaderboard_data import groups_of

if TYPE_CHECKING:
    from results.store import Store

WHOLE = ""
"""The name of the grade of a whole answer, beside those of a rubric's criteria."""


@dataclass(frozen=True)
class ModelGrades:
    """One model's grades by one judge. `mean` is over `answers` (a turn each) with a grade, its interval takes the
    answers to one question as one; None where there is no grade. `by_turn` and `by_criterion` are means."""

    model: str
    answers: int
    unparsed: int
    lowest: float
    highest: float
    mean: Share | None
    by_turn: dict[int, float]
    by_criterion: dict[str, float]


_GRADES = """
WITH judged AS (SELECT judge_key FROM judges WHERE name = ?)
SELECT version_key, question AS item, turn, '' AS criterion, score, lowest, highest, place
FROM answer_grades WHERE judge_key IN (FROM judged)
UNION ALL
SELECT * FROM (
    SELECT DISTINCT ON (r.version_key, r.criterion, coalesce(c.cache_key, r.id::VARCHAR))
           r.version_key, coalesce(b.item_id, b.id)::VARCHAR, r.turn, r.criterion, r.score, r.lowest, r.highest, 0
    FROM rubric_grades r LEFT JOIN judge_calls c ON c.id = r.call_id LEFT JOIN battles b ON b.id = r.battle_id
    WHERE r.judge_key IN (FROM judged) ORDER BY r.created_at, r.id
)
ORDER BY place
"""


def judge_grades(store: Store, judge: str) -> list[ModelGrades]:
    """A judge's grades model by model, the highest mean first; empty for judges that do not grade, and for those that
    are not known. Raises StoreError."""
    rows = store.query(_GRADES, [judge]).to_pylist()
    if not rows:
        return []
    groups = groups_of(store, "version")
    by_model: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_model[groups.names[groups.of_version[row["version_key"]]]].append(row)
    found = [_model(name, graded) for name, graded in by_model.items()]
    return sorted(found, key=lambda each: (-each.mean.value if each.mean else np.inf, each.model))


@dataclass(frozen=True)
class AllGrades:
    """The grades of all models by one judge: how many, their plain mean (None without any), replies without one."""

    answers: int
    mean: float | None
    unparsed: int


def all_grades(graded: Sequence[ModelGrades]) -> AllGrades:
    """What the models' grades come to together, every answer weighing the same."""
    total = sum(each.mean.value * each.answers for each in graded if each.mean)
    answers = sum(each.answers for each in graded)
    return AllGrades(answers, total / answers if answers else None, sum(each.unparsed for each in graded))


def _model(name: str, rows: Sequence[dict[str, Any]]) -> ModelGrades:
    whole = [row for row in rows if row["criterion"] == WHOLE]
    read = [row for row in whole if row["score"] is not None]
    mean = None
    if read:
        places: dict[str, int] = {}
        clusters = [places.setdefault(row["item"], len(places)) for row in read]
        mean = mean_with_interval(
            np.asarray([row["score"] for row in read], np.float64), np.asarray(clusters)
        )
    return ModelGrades(
        model=name,
        answers=len(read),
        unparsed=len(whole) - len(read),
        lowest=min(row["lowest"] for row in rows),
        highest=max(row["highest"] for row in rows),
        mean=mean,
        by_turn=_means((row["turn"], row["score"]) for row in whole),
        by_criterion=_means((row["criterion"], row["score"]) for row in rows if row["criterion"] != WHOLE),
    )


def _means(scores: Any) -> dict[Any, float]:
    """The mean of the scores under each key; scores that are None are left out."""
    found: dict[Any, list[float]] = defaultdict(list)
    for key, score in scores:
        if score is not None:
            found[key].append(score)
    return {key: sum(each) / len(each) for key, each in found.items()}
