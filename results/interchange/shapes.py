"""Votes in the formats of other tools. Each has, beside its own columns, those that make importing it give the
same ratings (`results.interchange.dialects.EXTRAS`, and the verdict where the format cannot say it)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from results.interchange.dialects import EXTRAS
from results.records import Source

Message = dict[str, Any]

_TYPES = {"model_a": "leftvote", "model_b": "rightvote", "tie": "tievote", "tie (bothbad)": "bothbad_vote"}
_ALPACA = {"model_a": 1.0, "model_b": 2.0, "tie": 1.5, "tie (bothbad)": 1.5}
_GAMES = {"model_a": "model_1", "model_b": "model_2"}


@dataclass(frozen=True)
class Shape:
    """A format: the columns of its file, a function from a row in the usual schema (None: as it is), the
    kinds of file it may have, and the source it is for (None: both)."""

    columns: tuple[str, ...] = ()
    of: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    kinds: tuple[str, ...] = ("csv", "jsonl", "json", "parquet", "arrow")
    source: Source | None = None


def conversation(row: dict[str, Any], side: str) -> list[Message]:
    """A side's messages; the prompt alone where no conversation is stored."""
    stored = row.get(f"conversation_{side}")
    if stored:
        messages: list[Message] = json.loads(stored) if isinstance(stored, str) else stored
        return messages
    return [{"role": "user", "content": row["prompt"]}] if row.get("prompt") else []


def _lmsys(row: dict[str, Any]) -> dict[str, Any]:
    turns = {side: _turns(conversation(row, side)) for side in ("a", "b")}
    count = max(len(each) for each in turns.values())
    padded = {side: [*each, *[("", "")] * (count - len(each))] for side, each in turns.items()}
    prompts = [one or other for (one, _), (other, _) in zip(padded["a"], padded["b"], strict=True)]
    winner = row["winner"]
    return {
        **_extras(row),
        "id": row["vote_uuid"],
        "model_a": row["model_a"],
        "model_b": row["model_b"],
        "prompt": _array(prompts),
        "response_a": _array([answer for _, answer in padded["a"]]),
        "response_b": _array([answer for _, answer in padded["b"]]),
        "winner_model_a": str(int(winner == "model_a")),
        "winner_model_b": str(int(winner == "model_b")),
        "winner_tie": str(int(winner not in ("model_a", "model_b"))),
        "verdict": winner,
    }


def _fastchat(row: dict[str, Any]) -> dict[str, Any]:
    return {
        **_extras(row),
        "tstamp": row["time"].timestamp() if row.get("time") is not None else None,
        "type": _TYPES[row["winner"]],
        "models": ["", ""],
        "states": [
            {
                "template_name": "palaestra",
                "system_message": "",
                "roles": ["user", "assistant"],
                "messages": [[message["role"], message["content"]] for message in conversation(row, side)],
                "offset": 0,
                "conv_id": row["battle_uuid"],
                "model_name": row[f"model_{side}"],
            }
            for side in ("a", "b")
        ],
    }


def _mt_bench(row: dict[str, Any]) -> dict[str, Any]:
    game = _GAMES.get(row["winner"], "tie")
    return {
        **_extras(row),
        "question_id": row["battle_uuid"],
        "model_1": row["model_a"],
        "model_2": row["model_b"],
        "g1_winner": game,
        "g2_winner": game,
        "judge": [row["judge"], "pair"],
        "judge_name": row["judge"],
        "verdict": row["winner"],
        "turn": 1,
        "tstamp": row["time"].timestamp() if row.get("time") is not None else None,
    }


def _alpaca(row: dict[str, Any]) -> dict[str, Any]:
    messages = {side: conversation(row, side) for side in ("a", "b")}
    answers = {
        side: next((each["content"] for each in reversed(said) if each["role"] == "assistant"), "")
        for side, said in messages.items()
    }
    return {
        **_extras(row),
        "instruction": row["prompt"] or "",
        "output_1": answers["a"],
        "generator_1": row["model_a"],
        "output_2": answers["b"],
        "generator_2": row["model_b"],
        "annotator": row.get("judge") or "human",
        "preference": _ALPACA[row["winner"]],
        "verdict": row["winner"],
        "conversation_a": row["conversation_a"],
        "conversation_b": row["conversation_b"],
    }


def _extras(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row.get(name) or None for name in EXTRAS}


def _turns(messages: list[Message]) -> list[tuple[str, str]]:
    """User messages with the answers to them; the text of other roles belongs to neither."""
    turns: list[tuple[str, str]] = []
    for message in messages:
        if message["role"] == "user":
            turns.append((message["content"], ""))
        elif message["role"] == "assistant" and turns:
            turns[-1] = (turns[-1][0], message["content"])
    return turns


def _array(texts: list[str]) -> str:
    return json.dumps(texts, ensure_ascii=False)


SHAPES: dict[str, Shape] = {
    "lmsys": Shape(
        ("id", "model_a", "model_b", "prompt", "response_a", "response_b", "winner_model_a", "winner_model_b",
         "winner_tie", "verdict", *EXTRAS),
        _lmsys, source="human",
    ),
    "fastchat": Shape(("tstamp", "type", "models", "states", *EXTRAS), _fastchat, ("jsonl",), "human"),
    "mt-bench-pair": Shape(
        ("question_id", "model_1", "model_2", "g1_winner", "g2_winner", "judge", "turn", "tstamp", "judge_name",
         "verdict", *EXTRAS),
        _mt_bench, ("jsonl",), "judge",
    ),
    "alpaca-eval": Shape(
        ("instruction", "output_1", "generator_1", "output_2", "generator_2", "annotator", "preference", "verdict",
         "conversation_a", "conversation_b", *EXTRAS),
        _alpaca, ("json", "jsonl"), "judge",
    ),
}  # fmt: skip
"""Formats of other tools that votes can be written in."""
