"""Rows of judges' files, in the usual schema."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

from results.interchange.grades import Grade, grades_of
from results.interchange.reading import BadRow, Row
from results.interchange.votes import IMPORTED, Unusable

INCONSISTENT = "inconsistent"
"""Marks a row of `pair` whose two games disagree; no field of a vote."""

_TIE_WITHIN = 0.1
_BASELINE = "gpt-4-0314"
_GAMES = {
    "A>>B": "a",
    "A>B": "a",
    "A=B": "tie",
    "B=A": "tie",
    "B>A": "b",
    "B>>A": "b",
    "A<B": "b",
    "A<<B": "b",
}


def pair(values: dict[str, Any], pseudonym: Callable[[str], str]) -> list[dict[str, Any]]:
    """FastChat's pairwise judgment: one verdict of two games in both orders, a tie where they disagree. A
    game that ended in an error makes the row unusable."""
    if "g1_winner" in values:
        games = [values.get("g1_winner"), values.get("g2_winner")]
        if any(game not in ("model_1", "model_2", "tie") for game in games):
            raise Unusable(f"the judge gave no verdict ({games[0]}, {games[1]})")
        agreed = str(games[0]) if games[0] == games[1] else "tie"
        inconsistent = games[0] != games[1]
        winner = {"model_1": "model_a", "model_2": "model_b", "tie": "tie"}[agreed]
        models = values.get("model_1"), values.get("model_2")
        judge: Any = values.get("judge")
    else:
        winner = str(values.get("winner"))
        if winner == "error":
            raise Unusable("the judge gave no verdict (error)")
        inconsistent = winner == "inconsistent"
        winner = "tie" if inconsistent else winner
        models = values.get("model_a"), values.get("model_b")
        judge = values.get("judge_id")
    return [
        {
            "model_a": models[0],
            "model_b": models[1],
            "winner": values.get("verdict") or winner,
            "judge": values.get("judge_name") or (judge[0] if isinstance(judge, list) and judge else judge),
            "id": _question(values),
            "category": values.get("category"),
            "timestamp": values.get("tstamp"),
            INCONSISTENT: inconsistent,
        }
    ]


def pairs_from_grades(rows: list[Row]) -> Iterator[Row | BadRow]:
    """FastChat's single grades: of two models graded on one question and turn by one judge the higher wins;
    within 0.1 it is a tie (compute_agreement.py). Replies without a grade give no comparison."""
    graded: dict[tuple[str, str, int], dict[tuple[str, str], tuple[Grade, Row]]] = defaultdict(dict)
    for row in rows:
        try:
            found = grades_of(row.values)
        except Unusable as error:
            yield BadRow(row.line, str(error), row.values)
            continue
        for grade in found:
            if grade.score is not None:
                answer = graded[grade.judge, grade.question, grade.turn]
                answer.setdefault((grade.model, grade.digest), (grade, row))
    for by_model in graded.values():
        for first, second in combinations(sorted(by_model), 2):
            (one, row), (other, _) = by_model[first], by_model[second]
            yield Row(row.line, _pair_of(one, other, row.values.get("category")))


def _pair_of(one: Grade, other: Grade, category: Any) -> dict[str, Any]:
    """Two grades of one question and turn as a row of the usual schema."""
    gap = (one.score or 0.0) - (other.score or 0.0)
    digests = {
        field: grade.digest
        for field, grade in (("digest_a", one), ("digest_b", other))
        if grade.digest != IMPORTED
    }
    return {
        "model_a": one.model,
        "model_b": other.model,
        # Grades are read from decimal text: a gap of 0.1 must not fail by its binary form.
        "winner": "tie" if abs(gap) <= _TIE_WITHIN + 1e-9 else "model_a" if gap > 0 else "model_b",
        "judge": one.judge,
        "id": f"{one.question} turn {one.turn}",
        "category": category,
        "timestamp": max(one.stamp or 0.0, other.stamp or 0.0) or None,
        **digests,
    }


def alpaca(values: dict[str, Any], pseudonym: Callable[[str], str]) -> list[dict[str, Any]]:
    """AlpacaEval's annotation: a preference from 1 (output_1) to 2 (output_2); the middle, and 0 in old files,
    is a tie."""
    try:
        preference = float(values["preference"])
    except (TypeError, ValueError):
        raise Unusable("preference is empty: the annotator gave no verdict") from None
    if preference not in (0.0,) and not 1.0 <= preference <= 2.0:
        raise Unusable(f"preference {preference} is not between 1 and 2")
    winner = "tie" if preference in (0.0, 1.5) else "model_a" if preference < 1.5 else "model_b"
    instruction = values.get("instruction") or ""
    conversations = values.get("conversation_a"), values.get("conversation_b")
    made = [
        conversation
        or [
            {"role": "user", "content": instruction},
            {"role": "assistant", "content": values.get(output) or ""},
        ]
        for conversation, output in zip(conversations, ("output_1", "output_2"), strict=True)
    ]
    return [
        {
            "model_a": values.get("generator_1") or "output_1",
            "model_b": values.get("generator_2") or "output_2",
            "winner": values.get("verdict") or winner,
            "judge": values.get("annotator"),
            "id": values.get("dataset"),
            "prompt": instruction,
            "conversation_a": made[0],
            "conversation_b": made[1],
        }
    ]


def arena_hard(values: dict[str, Any], pseudonym: Callable[[str], str]) -> list[dict[str, Any]]:
    """Arena-Hard's judgment: the baseline is A in the first game and B in the second; each game is a verdict.
    Strong verdicts (>>) count once, where Arena-Hard's own script counts them three times."""
    games = values.get("games")
    if not isinstance(games, list) or not games:
        raise Unusable("games is empty")
    baseline, model = values.get("baseline") or _BASELINE, values.get("model")
    found = []
    for number, game in enumerate(games[:2]):
        score = str(game.get("score") if isinstance(game, dict) else None).replace(" ", "")
        if score not in _GAMES:
            raise Unusable(f"game {number + 1} has no verdict ({score[:20]})")
        sides = (baseline, model) if number == 0 else (model, baseline)
        found.append(
            {
                "model_a": sides[0],
                "model_b": sides[1],
                "winner": _GAMES[score],
                "judge": _judge(values),
                "id": f"{values.get('question_id') or values.get('uid')} game {number + 1}",
                "category": values.get("category"),
                "timestamp": values.get("tstamp"),
            }
        )
    return found


def _question(values: dict[str, Any]) -> str | None:
    question, turn = values.get("question_id"), values.get("turn")
    if question is None:
        return None
    return str(question) if turn is None else f"{question} turn {turn}"


def _judge(values: dict[str, Any]) -> str:
    judge = values.get("judge") or values.get("judge_id")
    return str(judge[0] if isinstance(judge, list) and judge else judge)
