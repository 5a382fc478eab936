"""Answers of models as other tools' evaluators read them: AlpacaEval's outputs, FastChat's and Arena-Hard's
answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from results.ids import item_id, named_id
from results.interchange.covers import Cover
from results.interchange.errors import BadFile
from results.interchange.paging import MODELS, SAID, conversation_of, write_battles
from results.interchange.shapes import Message
from results.store import Store

ANSWER_FORMATS: dict[str, tuple[str, ...]] = {
    "alpaca-outputs": ("instruction", "output", "generator", "dataset"),
    "mt-bench-answers": ("question_id", "answer_id", "model_id", "choices", "tstamp"),
    "arena-hard-answers": ("uid", "ans_id", "model", "messages", "tstamp"),
}
"""Formats of answers, and the fields of their rows."""

_BATTLES = f"""
SELECT b.id::VARCHAR AS battle, b.conversation_a, b.conversation_b, epoch(b.created_at) AS time,
       ma.name || '@' || va.number AS model_a, mb.name || '@' || vb.number AS model_b,
       {SAID}
FROM battles b
{MODELS}
WHERE b.id > ?::UUID AND (b.import_id IS NULL OR b.import_id IN (SELECT id FROM imports WHERE state = 'done'))
ORDER BY b.id LIMIT ?
"""  # noqa: S608 - parts of our own


class AnswerSummary(BaseModel):
    """What was written: a row per model version and conversation; `left_out` says why others gave none."""

    model_config = ConfigDict(frozen=True)

    file: str
    format: str
    rows: int
    left_out: dict[str, int]
    public: bool = False
    screened: dict[str, int] = {}


def export_answers(
    store: Store,
    path: Path,
    format: str,
    *,
    model: str | None = None,
    public: bool = False,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> AnswerSummary:
    """Write stored answers, of all models or one (`name` or `name@version`), to JSONL or JSON.

    Of a model's answers to the same messages the first stands, as these tools expect one each. AlpacaEval has
    one turn: of longer conversations the first. Raises BadFile.
    """
    fields = ANSWER_FORMATS.get(format)
    if fields is None:
        raise BadFile(f"--format {format}: answers can be {', '.join(ANSWER_FORMATS)}")
    cover = Cover(store.data_dir) if public else None
    left_out: Counter[str] = Counter()
    seen: set[tuple[str, str]] = set()

    def rows_of(battle: dict[str, Any]) -> list[dict[str, Any]]:
        sides = [side for side in ("a", "b") if _is_asked(model, battle[f"model_{side}"])]
        found = [_first_answer(format, battle, side, seen, left_out) for side in sides]
        rows = [row for row in found if row is not None]
        return rows if cover is None else [cover.text(row) for row in rows]

    write_battles(store, path, fields, _BATTLES, [], rows_of, progress)
    return AnswerSummary(
        file=str(path),
        format=format,
        rows=len(seen),
        left_out=dict(left_out.most_common()),
        public=public,
        screened=dict(cover.found) if cover is not None else {},
    )


def _is_asked(wanted: str | None, label: str) -> bool:
    """Whether a version's label is the wanted one (a name, name@version, or None for all)."""
    return wanted in (None, label, label.rpartition("@")[0])


def _first_answer(
    format: str, battle: dict[str, Any], side: str, seen: set[tuple[str, str]], left_out: Counter[str]
) -> dict[str, Any] | None:
    """The row of a side's answer; None where it has none, or its model answered the same before (`seen`)."""
    name, messages = battle[f"model_{side}"], conversation_of(battle, side)
    asked = [each["content"] for each in messages if each["role"] == "user"]
    if not asked or messages[-1]["role"] != "assistant":
        left_out["no answers stored"] += 1
        return None
    key = (name, "\0".join(asked[:1] if format == "alpaca-outputs" else asked))
    if key in seen:
        left_out["answered before"] += 1
        return None
    seen.add(key)
    return _row(format, name, messages, battle["time"])


def _row(format: str, model: str, messages: list[Message], time: float) -> dict[str, Any]:
    asked = [each["content"] for each in messages if each["role"] == "user"]
    answers = [each["content"] for each in messages if each["role"] == "assistant"]
    question = item_id("\0".join(asked)).hex
    answer = named_id("answer", model, question).hex
    if format == "alpaca-outputs":
        return {"instruction": asked[0], "output": answers[0], "generator": model, "dataset": "palaestra"}
    if format == "mt-bench-answers":
        return {
            "question_id": question,
            "answer_id": answer,
            "model_id": model,
            "choices": [{"index": 0, "turns": answers}],
            "tstamp": time,
        }
    # Arena-Hard-Auto 2.0: an answer is an object, beside which its length is kept by other tools.
    said = [
        {**each, "content": {"answer": each["content"]}} if each["role"] == "assistant" else each
        for each in messages
    ]
    return {"uid": question, "ans_id": answer, "model": model, "messages": said, "tstamp": time}
