"""Battles read page by page, so that millions of them need not be in memory at once, and rows made of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from results.interchange.errors import BadFile
from results.interchange.reading import format_of
from results.interchange.shapes import Message
from results.interchange.writers import open_writer
from results.store import Store

SAID = """(SELECT list({'number': t.number, 'message': t.message, 'side': g.side, 'text': g.text}
                    ORDER BY t.number, g.created_at)
        FROM turns t JOIN generations g ON g.battle_id = t.battle_id AND g.turn = t.number
        WHERE t.battle_id = b.id AND g.error_kind IS NULL) AS said"""
"""Of a battle `b` the turns and answers that are stored one by one, for `conversation_of`."""

MODELS = """JOIN model_versions va ON va.version_key = b.version_a JOIN models ma ON ma.model_key = va.model_key
JOIN model_versions vb ON vb.version_key = b.version_b JOIN models mb ON mb.model_key = vb.model_key"""
"""The versions (`va`, `vb`) and models (`ma`, `mb`) of a battle `b`."""

_PAGE = 2_000
_TELL_EVERY = 500
_BEFORE_ALL = "00000000-0000-0000-0000-000000000000"


def paged_battles(store: Store, sql: str, params: Sequence[Any] = ()) -> Iterator[dict[str, Any]]:
    """The rows of a SELECT that ends in `b.id > ? ... ORDER BY b.id LIMIT ?`: `params`, the last id (its column
    `battle`) and the size of a page are its parameters, in this order."""
    after = _BEFORE_ALL
    while page := store.query(sql, [*params, after, _PAGE]).to_pylist():
        after = page[-1]["battle"]
        yield from page


def write_battles(
    store: Store, path: Path, fields: Sequence[str], sql: str, params: Sequence[Any],
    rows_of: Callable[[dict[str, Any]], list[dict[str, Any]]], progress: Callable[[int, int], None],
) -> tuple[int, int]:  # fmt: skip
    """Write the rows that `rows_of` makes of each battle of a SELECT (see `paged_battles`) to a JSONL or JSON file.
    Returns how many battles were read and rows written. Raises BadFile."""
    if format_of(path) not in ("jsonl", "json"):
        raise BadFile(f"{path.name}: rows of texts go to a file that ends in .jsonl or .json")
    battles = rows = 0
    with open_writer(path, fields) as write:
        for battle in paged_battles(store, sql, params):
            made = rows_of(battle)
            write(made)
            battles += 1
            rows += len(made)
            if battles % _TELL_EVERY == 0:
                progress(battles, battles)
    return battles, rows


def conversation_of(battle: dict[str, Any], side: str) -> list[Message]:
    """A side's messages, from `conversation_a`/`conversation_b` or from `said` (turns with their answers)."""
    stored = battle[f"conversation_{side}"]
    if stored:
        messages: list[Message] = json.loads(stored)
        return messages
    # Of several answers to one turn the last one stands.
    turns = {
        said["number"]: (said["message"], said["text"])
        for said in battle["said"] or ()
        if said["side"] == side
    }
    return [
        {"role": role, "content": text}
        for number in sorted(turns)
        for role, text in zip(("user", "assistant"), turns[number], strict=True)
    ]
