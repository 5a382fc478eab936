"""Single grades as FastChat's `model_judgment` files hold them: one answer, one judge, a grade from 1 to 10 a turn.

Sources of the format: FastChat's `fastchat/llm_judge` (gen_judgment.py, common.py), which writes a row a turn with
`score`; and its derivatives with both turns in one row (`score_turn1`, `score_turn2`).
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from results.ids import named_id
from results.interchange.votes import IMPORTED, Unusable

LOWEST, HIGHEST = 1.0, 10.0


class Grade(NamedTuple):
    """One grade. `score` is None where the judge's reply held none on the scale: such files write -1. `prompts` names
    the judge's prompt, `asked` is what the judge was shown, `stamp` epoch seconds."""

    id: UUID
    judge: str
    prompts: str
    model: str
    digest: str
    question: str
    turn: int
    score: float | None
    asked: str
    reply: str
    category: str
    language: str
    stamp: float | None


def grades_of(values: Mapping[str, Any], fixed: Mapping[str, str] | None = None) -> list[Grade]:
    """The grades in a row; `fixed` has values that all rows of the file are given (judge, category, language).

    A grade is recognised again by judge, turn and everything that its row says, or by the row's `grade_uuid`, which our
    own export writes. Raises Unusable.
    """
    fixed = fixed or {}
    judge = values.get("judge") or values.get("judge_id")
    prompts = ""
    if isinstance(judge, list):
        prompts = _text(judge[1]) if len(judge) > 1 else ""
        judge = judge[0] if judge else None
    name = fixed.get("judge") or _text(judge)
    model = _text(values.get("model") or values.get("model_id"))
    question = _text(values.get("question_id"))
    for what, value in (("judge", name), ("model", model), ("question_id", question)):
        if not value:
            raise Unusable(f"{what} is empty")
    if not model.isprintable():
        raise Unusable(f"model {model[:80]!r} has a line break or control character in it")
    found = []
    for turn, score, reply in _turns(values):
        own = values.get("grade_uuid")
        try:
            id_ = UUID(str(own)) if own else named_id("grade", name, str(turn), _canonical(values))
        except ValueError:
            raise Unusable(f"grade_uuid {str(own)[:40]!r} is not a UUID") from None
        found.append(
            Grade(
                id=id_,
                judge=name,
                prompts=prompts,
                model=model,
                digest=_text(values.get("digest")) or IMPORTED,
                question=question,
                turn=turn,
                score=score,
                asked=_raw(values.get("user_prompt")),
                reply=reply,
                category=fixed.get("category") or _text(values.get("category")),
                language=fixed.get("language") or _text(values.get("language")),
                stamp=_number(values.get("tstamp")),
            )
        )
    return found


def _turns(values: Mapping[str, Any]) -> list[tuple[int, float | None, str]]:
    if "score" in values:
        turn = values.get("turn") or 1
        if not isinstance(turn, int) or isinstance(turn, bool) or turn < 1:
            raise Unusable(f"turn {str(turn)[:40]!r} is no number from 1 on")
        return [(turn, _score(values["score"]), _raw(values.get("judgment")))]
    return [
        (turn, _score(values[f"score_turn{turn}"]), _raw(values.get(f"judgment_turn{turn}")))
        for turn in (1, 2)
        if f"score_turn{turn}" in values
    ]


def _score(value: Any) -> float | None:
    """A grade on the scale; None for what is outside it, which is how such files say that there is none."""
    if value is None:
        return None
    score = _number(value)
    if score is None:
        raise Unusable(f"score {str(value)[:40]!r} is no number")
    return score if LOWEST <= score <= HIGHEST else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        return None
    return float(value)


def _text(value: Any) -> str:
    """A name: composed (NFC), without space around it; numbers as text."""
    if value is None or isinstance(value, (list, dict, bool)):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return unicodedata.normalize("NFC", str(value).strip())


def _raw(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _canonical(values: Mapping[str, Any]) -> str:
    try:
        return json.dumps(values, ensure_ascii=False, sort_keys=True, default=str)
    except RecursionError as error:
        raise Unusable("is nested too deeply") from error
