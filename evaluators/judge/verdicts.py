"""What a judge's replies on one battle come to. Pure: replies in, outcomes out."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from evaluators.judge.families import Kin
from evaluators.judge.prompts import PromptMode
from evaluators.judge.subjects import Subject
from results.store.judging import JudgeCall, Outcome, PairVerdict, Status

# Of several replies without a verdict, what the battle is told to be: the worst that happened to it.
_WORST: tuple[Status, ...] = ("failed", "refused", "unparsed")
_SCORES: dict[PairVerdict, float] = {"a": 1.0, "tie": 0.5, "b": 0.0}


def outcomes(
    mode: PromptMode,
    subjects: Sequence[Subject],
    calls: Iterable[JudgeCall],
    kin: Mapping[UUID, Kin],
    *,
    tie_within: float = 0.1,
) -> list[Outcome]:
    """An outcome for each subject all of whose replies are there (or failed); the others are still open."""
    by_battle: dict[UUID, list[JudgeCall]] = defaultdict(list)
    for call in calls:
        by_battle[call.battle_id].append(call)
    found = []
    for subject in subjects:
        mine = by_battle.get(subject.battle_id, [])
        pair = mode in ("pairwise", "reference")
        told = pair_outcome(mine) if pair else grades_outcome(mine, len(subject.turns), mode, tie_within)
        if told is None:
            continue
        status, verdict, expected = told
        length_a, length_b = subject.lengths
        found.append(
            Outcome(
                battle_id=subject.battle_id, status=status, verdict=verdict, expected=expected,
                kin=kin.get(subject.battle_id, ""), length_a=length_a, length_b=length_b,
            )
        )  # fmt: skip
    return found


Told = tuple[Status, PairVerdict | None, float | None]


def pair_outcome(calls: Sequence[JudgeCall]) -> Told | None:
    """Of the two orders under the plain labels: the verdict where they agree, an inconsistent tie where they do not,
    and no verdict where one is missing. The expected score of a is the mean of the orders', from the probabilities
    where they are known. None where an order has not been asked."""
    plain = {call.first: call for call in calls if call.first_label == "A"}
    if len(plain) < 2:
        return None
    orders = (plain["a"], plain["b"])
    if missing := _missing(orders):
        return missing, None, None
    scores = [_score(call) for call in orders]
    verdicts = {call.verdict for call in orders}
    expected = sum(scores) / 2
    if len(verdicts) > 1:
        return "inconsistent", "tie", expected
    return "verdict", orders[0].verdict, expected


def grades_outcome(
    calls: Sequence[JudgeCall], turns: int, mode: PromptMode, tie_within: float
) -> Told | None:
    """The side with the higher mean grade over its turns wins; within `tie_within` it is a tie. The expected score
    is the logistic function of the difference of (expected) grades: a monotone scale, to be calibrated."""
    wanted = turns if mode == "single" else 1
    sides = {side: [call for call in calls if call.side == side] for side in ("a", "b")}
    if any(len(graded) < wanted for graded in sides.values()):
        return None
    if missing := _missing([*sides["a"], *sides["b"]]):
        return missing, None, None
    means = {side: sum(call.score or 0.0 for call in graded) / wanted for side, graded in sides.items()}
    fine = {
        side: sum(call.expected if call.expected is not None else call.score or 0.0 for call in graded)
        / wanted
        for side, graded in sides.items()
    }
    gap = means["a"] - means["b"]
    # Grades are read from decimal text: a gap of 0.1 must not fail by its binary form.
    verdict: PairVerdict = "tie" if abs(gap) <= tie_within + 1e-9 else "a" if gap > 0 else "b"
    return "verdict", verdict, 1 / (1 + math.exp(fine["b"] - fine["a"]))


def _missing(calls: Iterable[JudgeCall]) -> Status | None:
    readings = {call.reading for call in calls}
    return next((status for status in _WORST if status in readings), None)


def _score(call: JudgeCall) -> float:
    if call.expected is not None:
        return call.expected
    return _SCORES[call.verdict] if call.verdict is not None else 0.5


def jury_verdict(votes: Mapping[str, tuple[PairVerdict, float]], weights: Mapping[str, float]) -> Told:
    """A jury's verdict from its jurors' (verdict, expected score of a) by name; jurors without a verdict are absent.

    The side with the most weight wins; where two verdicts weigh the same it is a tie. Without a verdict from more
    than half of the jury's weight it has none.
    """
    present = sum(weights[name] for name in votes)
    if present <= sum(weights.values()) / 2:
        return "unparsed", None, None
    tally: dict[PairVerdict, float] = {"a": 0.0, "b": 0.0, "tie": 0.0}
    for name, (verdict, _) in votes.items():
        tally[verdict] += weights[name]
    most = max(tally.values())
    leading = [verdict for verdict, weight in tally.items() if weight >= most - 1e-12]
    expected = sum(weights[name] * score for name, (_, score) in votes.items()) / present
    return "verdict", leading[0] if len(leading) == 1 else "tie", expected
