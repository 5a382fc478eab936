"""Battles as training data: pairs of a chosen and a rejected answer, single good and bad answers, and the winning
conversations, each with where it comes from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from results.interchange.covers import Cover
from results.interchange.errors import BadFile
from results.interchange.paging import MODELS, SAID, conversation_of, write_battles
from results.interchange.shapes import Message
from results.store import Store

PREFERENCE_FORMATS: dict[str, tuple[str, ...]] = {
    "dpo": ("prompt", "chosen", "rejected", "provenance"),
    "kto": ("prompt", "completion", "label", "provenance"),
    "reward": ("chosen", "rejected", "provenance"),
    "openai-preference": ("input", "preferred_output", "non_preferred_output", "provenance"),
    "openai-chat": ("messages", "provenance"),
}
"""Formats of training data, and the fields of their rows."""

_BATTLES = f"""
SELECT b.id::VARCHAR AS battle, b.conversation_a, b.conversation_b, b.category, b.language,
       ma.name || '@' || va.number AS model_a, va.digest AS digest_a,
       mb.name || '@' || vb.number AS model_b, vb.digest AS digest_b,
       (SELECT list({{'verdict': c.verdict, 'source': c.source, 'judge': c.judge}} ORDER BY c.time, c.seq)
        FROM comparisons c WHERE c.battle_id = b.id AND c.excluded IS NULL AND (? = 'all' OR c.source = ?)) AS verdicts,
       {SAID}
FROM battles b
{MODELS}
WHERE NOT coalesce((SELECT held_out FROM items i WHERE i.id = b.item_id), false)
  AND b.id IN (SELECT battle_id FROM comparisons WHERE excluded IS NULL AND (? = 'all' OR source = ?))
  AND b.id > ?::UUID
ORDER BY b.id LIMIT ?
"""  # noqa: S608 - parts of our own


class PreferenceSummary(BaseModel):
    """What was written of `battles` battles; `left_out` says why others gave no row."""

    model_config = ConfigDict(frozen=True)

    file: str
    format: str
    rows: int
    battles: int
    left_out: dict[str, int]
    public: bool = False
    screened: dict[str, int] = {}


def export_preferences(
    store: Store,
    path: Path,
    format: str,
    *,
    source: str = "human",
    agreement: float = 0.5,
    public: bool = False,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> PreferenceSummary:
    """Write training data to JSONL (or JSON): a row per battle that has a winner (`kto`: also for both answers
    of a battle that people found bad).

    The winner is the side with more than `agreement` of the battle's counted verdicts of `source` ("human",
    "judge" or "all"). The prompt is what both conversations begin with; what differs is the answer. Held-out
    items are never written. Each row's `provenance` names battle, model versions, source, judges and
    agreement. Raises BadFile.
    """
    fields = PREFERENCE_FORMATS.get(format)
    if fields is None:
        raise BadFile(f"--format {format}: training data can be {', '.join(PREFERENCE_FORMATS)}")
    cover = Cover(store.data_dir) if public else None
    left_out: Counter[str] = Counter()

    def rows_of(battle: dict[str, Any]) -> list[dict[str, Any]]:
        made = _rows(format, battle, agreement, left_out)
        return made if cover is None else [_covered(row, cover) for row in made]

    battles, rows = write_battles(store, path, fields, _BATTLES, [source] * 4, rows_of, progress)
    return PreferenceSummary(
        file=str(path),
        format=format,
        rows=rows,
        battles=battles,
        left_out=dict(left_out.most_common()),
        public=public,
        screened=dict(cover.found) if cover is not None else {},
    )


def _rows(
    format: str, battle: dict[str, Any], agreement: float, left_out: Counter[str]
) -> list[dict[str, Any]]:
    conversations = [conversation_of(battle, side) for side in ("a", "b")]
    verdicts = Counter(each["verdict"] for each in battle["verdicts"])
    total = sum(verdicts.values())
    prompt, answers = _split(conversations)
    if not all(answers):
        left_out["no answers stored"] += 1
        return []
    winner = next((side for side in ("a", "b") if verdicts[side] > agreement * total), None)
    if winner is None:
        if format == "kto" and verdicts["both_bad"] > agreement * total:
            return [
                {"prompt": prompt, "completion": answer, "label": False,
                 "provenance": _provenance(battle, side, "both_bad", verdicts)}
                for side, answer in zip(("a", "b"), answers, strict=True)
            ]  # fmt: skip
        left_out["no winner"] += 1
        return []
    if answers[0] == answers[1]:
        left_out["equal answers"] += 1
        return []
    chosen, rejected = answers if winner == "a" else answers[::-1]
    provenance = _provenance(battle, winner, winner, verdicts)
    if format == "kto":
        other = "b" if winner == "a" else "a"
        return [
            {"prompt": prompt, "completion": chosen, "label": True, "provenance": provenance},
            {"prompt": prompt, "completion": rejected, "label": False,
             "provenance": _provenance(battle, other, winner, verdicts)},
        ]  # fmt: skip
    if format == "dpo":
        return [{"prompt": prompt, "chosen": chosen, "rejected": rejected, "provenance": provenance}]
    if format == "reward":
        return [{"chosen": prompt + chosen, "rejected": prompt + rejected, "provenance": provenance}]
    if format == "openai-chat":
        return [{"messages": prompt + chosen, "provenance": provenance}]
    return [
        {
            "input": {"messages": prompt},
            "preferred_output": chosen,
            "non_preferred_output": rejected,
            "provenance": provenance,
        }
    ]


def _split(conversations: list[list[Message]]) -> tuple[list[Message], list[list[Message]]]:
    """What both conversations begin with, up to a user's message, and what follows on each side."""
    first, second = conversations
    common = 0
    while common < min(len(first), len(second)) and first[common] == second[common]:
        common += 1
    while common and first[common - 1]["role"] != "user":
        common -= 1
    if common == 0:
        return [], [[], []]
    return first[:common], [each[common:] for each in conversations]


def _provenance(battle: dict[str, Any], side: str, verdict: str, verdicts: Counter[str]) -> dict[str, Any]:
    other = "b" if side == "a" else "a"
    total = sum(verdicts.values())
    return {
        "battle": battle["battle"],
        "model": battle[f"model_{side}"],
        "digest": battle[f"digest_{side}"],
        "other_model": battle[f"model_{other}"],
        "other_digest": battle[f"digest_{other}"],
        "side": side,
        "source": "+".join(sorted({each["source"] for each in battle["verdicts"]})),
        "judges": sorted({each["judge"] for each in battle["verdicts"] if each["judge"]}),
        "verdicts": dict(sorted(verdicts.items())),
        "agreement": verdicts[verdict] / total,
        "category": battle["category"],
        "language": battle["language"],
    }


def _covered(row: dict[str, Any], cover: Cover) -> dict[str, Any]:
    provenance = {**row["provenance"], "battle": cover.battle(row["provenance"]["battle"])}
    return {**{name: cover.text(value) for name, value in row.items()}, "provenance": provenance}
