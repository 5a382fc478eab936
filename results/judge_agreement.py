"""Judges and people on the same battles, read from the store: agreement, its ceiling, and calibration.

Intervals resample items: battles on one prompt hang together. Judgments of a judge that was found unusable are
read as well, so that its agreement can be seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from results.agreement import (
    Share,
    alpha_of,
    clustered,
    coincidences,
    cross_tables,
    kappa_of,
    own_tables,
)
from results.calibration import Calibration, Map, calibrate

if TYPE_CHECKING:
    from results.store import Store

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

Replaces = Literal["yes", "no", "undecided", "no ceiling"]

NO_CATEGORY = "(none)"
"""What battles without a category are called beside those with one."""

_UNUSABLE = "unusable_judge"
_VERDICTS = ("a", "tie", "b")


@dataclass(frozen=True)
class Raters:
    """How two kinds of raters agree: the share of equal verdicts, Cohen's kappa, Krippendorff's alpha, and the share
    of equal winners where both named one. `table`: mean shares, rows a person's verdict (A, tie, B)."""

    battles: int
    items: int
    votes: int
    agreement: Share
    kappa: Share
    alpha: Share
    same_winner: Share
    table: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class JudgeAgreement:
    """A judge against people, in one category ('' for all of them).

    `people` is how people agree with each other on the same battles: the ceiling (None where no battle has two
    votes). `gap` is the judge's agreement with a person less a second person's, on battles where both are known.
    `majority` is how often the judge says what most people say, on battles with a strict majority. `replaces` says
    whether one more person could be replaced by the judge within `margin`: yes where the gap's whole interval lies
    above -margin, no where it lies below.
    """

    judge: str
    category: str
    with_people: Raters
    people: Raters | None
    gap: Share | None
    majority: Share | None
    margin: float
    replaces: Replaces


def judge_agreement(
    store: Store,
    judge: str,
    *,
    category: str | None = None,
    language: str | None = None,
    by_category: bool = True,
    margin: float = 0.05,
    level: float = 0.95,
    seed: int = 0,
) -> list[JudgeAgreement]:
    """Agreement on all battles that the judge and people have both judged, and by category where there are several.

    Empty where there is no such battle.
    """
    rows = _both(store, judge, category, language)
    if not rows:
        return []
    found = [_agreement(judge, "" if category is None else category, rows, margin, level, seed)]
    categories = sorted({row["category"] for row in rows})
    if by_category and category is None and len(categories) > 1:
        found += [
            _agreement(
                judge, each or NO_CATEGORY, [r for r in rows if r["category"] == each], margin, level, seed
            )
            for each in categories
        ]
    return found


def calibrate_judge(
    store: Store,
    judge: str,
    *,
    method: Map = "logistic",
    category: str | None = None,
    language: str | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Calibration:
    """The judge's expected scores (verdict probabilities where it gave them, else its verdicts as 1, 0.5, 0) set
    against people's votes on the same battles, checked on held-out items. Raises `results.calibration.TooFewItems`
    where there are too few."""
    rows = _both(store, judge, category, language)
    scores = {"a": 1.0, "tie": 0.5, "b": 0.0}
    judged = np.asarray(
        [row["expected"] if row["expected"] is not None else scores[row["verdict"]] for row in rows],
        dtype=np.float64,
    )
    counts = _counts(rows)
    people = (counts[:, 0] + counts[:, 1] / 2) / counts.sum(axis=1) if rows else np.empty(0)
    return calibrate(judged, people, _clusters(rows), method=method, level=level, seed=seed)


_BOTH = """
WITH people AS (
    SELECT battle_id, count(*) FILTER (verdict = 'a') AS a, count(*) FILTER (verdict IN ('tie', 'both_bad')) AS t,
           count(*) FILTER (verdict = 'b') AS b
    FROM comparisons WHERE source = 'human' AND excluded IS NULL GROUP BY 1
)
SELECT coalesce(b.item_id, b.id)::VARCHAR AS item, b.category, p.a, p.t, p.b,
       CASE c.verdict WHEN 'both_bad' THEN 'tie' ELSE c.verdict END AS verdict, o.expected
FROM comparisons c JOIN people p USING (battle_id) JOIN battles b ON b.id = c.battle_id
LEFT JOIN judges g ON g.name = c.judge
LEFT JOIN judge_outcomes o ON o.battle_id = c.battle_id AND o.judge_key = g.judge_key
WHERE c.source = 'judge' AND c.judge = ? AND (c.excluded IS NULL OR c.excluded = ?){more}
ORDER BY c.seq
"""


def _both(store: Store, judge: str, category: str | None, language: str | None) -> list[dict[str, Any]]:
    conditions = {"b.category": category, "b.language": language}
    chosen = {column: value for column, value in conditions.items() if value is not None}
    sql = _BOTH.format(more="".join(f" AND {column} = ?" for column in chosen))
    rows: list[dict[str, Any]] = store.query(sql, [judge, _UNUSABLE, *chosen.values()]).to_pylist()
    return rows


def _counts(rows: Sequence[dict[str, Any]]) -> Floats:
    return np.asarray([(row["a"], row["t"], row["b"]) for row in rows], dtype=np.float64).reshape(-1, 3)


def _clusters(rows: Sequence[dict[str, Any]]) -> Ints:
    places: dict[str, int] = {}
    return np.asarray([places.setdefault(row["item"], len(places)) for row in rows], dtype=np.int64)


def _agreement(
    judge: str, category: str, rows: Sequence[dict[str, Any]], margin: float, level: float, seed: int
) -> JudgeAgreement:
    counts, clusters = _counts(rows), _clusters(rows)
    said = np.asarray(
        [[row["verdict"] == verdict for verdict in _VERDICTS] for row in rows], dtype=np.float64
    )
    cross = cross_tables(counts, said)
    with_people = _raters(cross, _pairs_of(cross), clusters, int(counts.sum()), level, seed)
    several = counts.sum(axis=1) >= 2
    people, gap = None, None
    if several.any():
        own, own_counts = own_tables(counts[several]), counts[several]
        paired = np.stack([coincidences(each[None, :]) for each in own_counts])
        people = _raters(own, paired, clusters[several], int(own_counts.sum()), level, seed)
        traces = np.trace(cross[several], axis1=1, axis2=2) - np.trace(own, axis1=1, axis2=2)
        parts = np.column_stack([traces, np.ones_like(traces)])
        gap = clustered(lambda t: float(t[0] / t[1]), parts, clusters[several], level=level, seed=seed)
    top = counts.max(axis=1)
    strict = (counts == top[:, None]).sum(axis=1) == 1
    majority = None
    if strict.any():
        right = (counts.argmax(axis=1) == said.argmax(axis=1))[strict].astype(np.float64)
        parts = np.column_stack([right, np.ones_like(right)])
        majority = clustered(lambda t: float(t[0] / t[1]), parts, clusters[strict], level=level, seed=seed)
    return JudgeAgreement(judge, category, with_people, people, gap, majority, margin, _replaces(gap, margin))


def _pairs_of(tables: Floats) -> Floats:
    """Coincidence matrices of one person's and one judge's verdict: each pair of values, both ways."""
    return np.asarray(tables + tables.transpose(0, 2, 1))


def _raters(tables: Floats, paired: Floats, clusters: Ints, votes: int, level: float, seed: int) -> Raters:
    def share(statistic: Any, parts: Floats) -> Share:
        return clustered(statistic, parts, clusters, level=level, seed=seed)

    def normal(total: Floats) -> Floats:
        return np.asarray(total / total.sum())

    def same(total: Floats) -> float:
        named = float(total[[0, 0, 2, 2], [0, 2, 0, 2]].sum())
        return float(total[0, 0] + total[2, 2]) / named if named > 0 else float("nan")

    mean = normal(tables.sum(axis=0))
    return Raters(
        battles=len(tables),
        items=len(np.unique(clusters)),
        votes=votes,
        agreement=share(lambda total: float(np.trace(normal(total))), tables),
        kappa=share(lambda total: kappa_of(normal(total)), tables),
        alpha=share(alpha_of, paired),
        same_winner=share(same, tables),
        table=tuple(tuple(float(x) for x in row) for row in mean),
    )


def _replaces(gap: Share | None, margin: float) -> Replaces:
    if gap is None:
        return "no ceiling"
    if gap.lower is None or gap.upper is None:
        return "undecided"
    if gap.lower >= -margin:
        return "yes"
    return "no" if gap.upper < -margin else "undecided"
