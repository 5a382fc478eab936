"""What is known of a judge: its verdicts and failures, what moves it beside the answers, and whether it can be used."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluators.judge.stored import KnownJudge, find_judge, stored_calls
from results.agreement import Share, wilson
from results.grade_means import ModelGrades, judge_grades
from results.judge_bias import (
    FEW_PAIRS,
    LengthControl,
    SlotAndLabel,
    TwoOrders,
    Usability,
    length_control,
    mean_with_interval,
    slot_and_label,
    standing,
    two_orders,
)
from results.store import Store
from results.store.judging import JudgeCall


@dataclass(frozen=True)
class Kinship:
    """How a judge scores models of its own family, on battles with exactly one such side: its mean score for the kin,
    people's on the same battles, and the difference where people have voted there (None: they have not)."""

    battles: int
    judge: Share
    with_people: int
    difference: Share | None


@dataclass(frozen=True)
class Verbosity:
    """`longer`: how often a judge that names a winner names the longer answer; `people` the same of people's votes on
    the same battles (None where there are none); `slope` as in `LengthControl`."""

    battles: int
    longer: Share
    people: Share | None
    slope: Share


@dataclass(frozen=True)
class WinRate:
    """One model under this judge: its win rate (ties half), and at equal length (AlpacaEval's GLM)."""

    model: str
    control: LengthControl


@dataclass(frozen=True)
class JudgeSummary:
    """Everything told of one judge. `outcomes` counts battles by status, `readings` replies by what could be made of
    them; `orders` and `labels` are None for judges that grade, `grades` empty for those that do not."""

    judge: KnownJudge
    outcomes: dict[str, int]
    readings: dict[str, int]
    retried: int
    cached: int
    with_probabilities: int
    orders: TwoOrders | None
    labels: SlotAndLabel | None
    verbosity: Verbosity | None
    kinship: Kinship | None
    win_rates: tuple[WinRate, ...]
    grades: tuple[ModelGrades, ...]
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    standing: Usability


def orders_of(calls: Iterable[JudgeCall]) -> tuple[TwoOrders, int]:
    """Verdicts of pairs under the plain labels in both orders, and the number of battles where one is missing
    (failed calls, which are still to be asked, aside)."""
    pairs: dict[Any, dict[str, JudgeCall]] = defaultdict(dict)
    for call in calls:
        if call.first is not None and call.first_label == "A" and call.reading != "failed":
            pairs[call.battle_id][call.first] = call
    read, unread = [], 0
    for orders in pairs.values():
        if len(orders) < 2:
            continue
        ab, ba = orders["a"].verdict, orders["b"].verdict
        if ab is None or ba is None:
            unread += 1
        else:
            read.append((ab, ba))
    return two_orders(read), unread


def labels_of(calls: Iterable[JudgeCall]) -> SlotAndLabel | None:
    """Slot and label told apart on battles that were shown all four ways; None where there are none."""
    battles: dict[Any, list[JudgeCall]] = defaultdict(list)
    for call in calls:
        if call.first is not None and call.verdict is not None:
            battles[call.battle_id].append(call)
    shown = [
        [_choice(call) for call in four if call.verdict != "tie"]
        for four in battles.values()
        if len(four) == 4
    ]
    return slot_and_label(shown) if shown else None


def _choice(call: JudgeCall) -> tuple[bool, bool]:
    first = call.verdict == call.first
    return first, first == (call.first_label == "A")


def standing_of(calls: Sequence[JudgeCall], statuses: Counter[str]) -> Usability:
    """Whether a judge can be used, by its pairs' orders; one that grades by what could be read."""
    if any(call.first is not None for call in calls):
        orders, unread = orders_of(calls)
        return standing(orders, unread)
    told, unread = statuses["verdict"], statuses["unparsed"] + statuses["refused"]
    if told + unread < FEW_PAIRS:
        return Usability(None, "few")
    lost = wilson(unread, told + unread).lower
    if lost is not None and lost > 0.5:
        return Usability(False, "unparsed")
    grades = {call.score for call in calls if call.score is not None}
    if told >= 20 and len(grades) == 1:
        return Usability(False, "no_winner")
    return Usability(True, "fine") if told >= FEW_PAIRS else Usability(None, "few")


def summarise_judge(store: Store, name: str | None = None) -> JudgeSummary:
    """Everything told of a judge of ours (or of an imported one, what its verdicts alone tell).

    Raises UnknownJudge.
    """
    judge = find_judge(store, name)
    calls = stored_calls(store, judge.name)
    rows = _outcomes(store, judge.name)
    statuses = Counter(row["status"] for row in rows)
    totals = store.query(
        "SELECT coalesce(sum(prompt_tokens), 0)::BIGINT AS p, coalesce(sum(completion_tokens), 0)::BIGINT AS c, "
        "sum(cost) AS cost FROM judge_calls JOIN judges USING (judge_key) WHERE name = ?",
        [judge.name],
    ).to_pylist()[0]
    pairs = any(call.first is not None for call in calls)
    judged = [row for row in rows if row["verdict"] is not None]
    return JudgeSummary(
        judge=judge,
        outcomes=dict(statuses),
        readings=dict(Counter(call.reading for call in calls)),
        retried=sum(call.retried for call in calls),
        cached=sum(call.cached for call in calls),
        with_probabilities=sum(call.expected is not None for call in calls),
        orders=orders_of(calls)[0] if pairs else None,
        labels=labels_of(calls),
        verbosity=_verbosity(judged),
        kinship=_kinship(judged),
        win_rates=_win_rates(judged),
        grades=tuple(judge_grades(store, judge.name)),
        prompt_tokens=totals["p"],
        completion_tokens=totals["c"],
        cost=totals["cost"],
        standing=standing_of(calls, statuses) if calls else Usability(judge.usable, judge.reason or "few"),
    )


_OUTCOMES = """
WITH people AS (
    SELECT battle_id, avg(CASE verdict WHEN 'a' THEN 1.0 WHEN 'b' THEN 0.0 ELSE 0.5 END) AS people
    FROM comparisons WHERE source = 'human' AND excluded IS NULL GROUP BY 1
)
SELECT o.status, o.verdict, o.expected, o.kin, o.length_a, o.length_b, coalesce(b.item_id, b.id)::VARCHAR AS item,
       ma.name AS model_a, mb.name AS model_b, p.people
FROM judge_outcomes o JOIN judges g USING (judge_key) JOIN battles b ON b.id = o.battle_id
JOIN model_versions va ON va.version_key = b.version_a JOIN models ma ON ma.model_key = va.model_key
JOIN model_versions vb ON vb.version_key = b.version_b JOIN models mb ON mb.model_key = vb.model_key
LEFT JOIN people p ON p.battle_id = o.battle_id
WHERE g.name = ? ORDER BY o.battle_id
"""


def _outcomes(store: Store, judge: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = store.query(_OUTCOMES, [judge]).to_pylist()
    return rows


def _clusters(rows: Sequence[dict[str, Any]]) -> npt.NDArray[np.int64]:
    places: dict[str, int] = {}
    return np.asarray([places.setdefault(row["item"], len(places)) for row in rows], dtype=np.int64)


def _preferred(rows: Sequence[dict[str, Any]]) -> npt.NDArray[np.float64]:
    return np.asarray([row["expected"] for row in rows], dtype=np.float64)


def _verbosity(rows: Sequence[dict[str, Any]]) -> Verbosity | None:
    if not rows:
        return None
    gap = np.asarray([row["length_a"] - row["length_b"] for row in rows], dtype=np.float64)
    control = length_control(_preferred(rows), gap, clusters=_clusters(rows))

    def longer(scores: Iterable[float | None]) -> Share | None:
        named = [
            (score > 0.5) == (away > 0)
            for score, away in zip(scores, gap.tolist(), strict=True)
            if score is not None and score != 0.5 and away
        ]
        return wilson(sum(named), len(named)) if named else None

    score = {"a": 1.0, "b": 0.0}
    mine = longer(score.get(row["verdict"], 0.5) for row in rows)
    people = longer(row["people"] for row in rows)
    return Verbosity(len(rows), mine, people, control.slope) if mine else None


def _kinship(rows: Sequence[dict[str, Any]]) -> Kinship | None:
    one = [row for row in rows if row["kin"] in ("a", "b")]
    if not one:
        return None

    def for_kin(key: str, chosen: Sequence[dict[str, Any]]) -> npt.NDArray[np.float64]:
        return np.asarray(
            [row[key] if row["kin"] == "a" else 1 - row[key] for row in chosen], dtype=np.float64
        )

    voted = [row for row in one if row["people"] is not None]
    difference = None
    if voted:
        gaps = for_kin("expected", voted) - for_kin("people", voted)
        difference = mean_with_interval(gaps, _clusters(voted))
    mine = mean_with_interval(for_kin("expected", one), _clusters(one))
    return Kinship(len(one), mine, len(voted), difference)


def _win_rates(rows: Sequence[dict[str, Any]]) -> tuple[WinRate, ...]:
    """Every model against all that it met."""
    models = sorted({row[side] for row in rows for side in ("model_a", "model_b")})
    found = []
    for model in models:
        mine = [row for row in rows if (row["model_a"] == model) != (row["model_b"] == model)]
        if not mine:
            continue
        on_a = np.asarray([row["model_a"] == model for row in mine])
        scores, gap = (
            _preferred(mine),
            np.asarray([row["length_a"] - row["length_b"] for row in mine], np.float64),
        )
        control = length_control(
            np.where(on_a, scores, 1 - scores), np.where(on_a, gap, -gap), clusters=_clusters(mine)
        )
        found.append(WinRate(model, control))
    return tuple(sorted(found, key=lambda each: -each.control.raw))
