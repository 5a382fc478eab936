"""Exporting votes or judgments to a file in the usual schema, which `import_votes` reads back exactly."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from results.interchange.covers import Cover
from results.interchange.errors import BadFile
from results.interchange.reading import format_of
from results.interchange.shapes import SHAPES, Shape
from results.interchange.votes import IMPORTED
from results.interchange.writers import open_writer
from results.records import Source
from results.store import Store

_PAGE = 20_000

COLUMNS = (
    "model_a", "model_b", "winner", "voter", "judge", "prompt", "timestamp", "language", "category",
    "conversation_a", "conversation_b", "digest_a", "digest_b", "battle_uuid", "vote_uuid",
)  # fmt: skip
"""Columns of an export, in order; all are text."""

_WINNER = {"a": "model_a", "b": "model_b", "tie": "tie", "both_bad": "tie (bothbad)"}

_SELECT = """
SELECT c.id::VARCHAR AS vote_uuid, c.battle_id::VARCHAR AS battle_uuid, c.verdict, c.judge, c.time, c.seq,
       c.voter::VARCHAR AS voter, c.language, c.category, b.mode, i.text AS prompt, b.conversation_a,
       b.conversation_b, ma.name AS model_a, va.digest AS digest_a, mb.name AS model_b, vb.digest AS digest_b
FROM (SELECT * FROM comparisons WHERE excluded IS NULL AND source = ? AND (time > ? OR (time = ? AND seq > ?))
      ORDER BY time, seq LIMIT ?) c
LEFT JOIN battles b ON b.id = c.battle_id
LEFT JOIN items i ON i.id = b.item_id
JOIN model_versions va ON va.version_key = c.version_a JOIN models ma ON ma.model_key = va.model_key
JOIN model_versions vb ON vb.version_key = c.version_b JOIN models mb ON mb.model_key = vb.model_key
ORDER BY c.time, c.seq
"""

_SAID = """
SELECT t.battle_id::VARCHAR AS battle, t.number, t.message, g.side, g.text
FROM turns t JOIN generations g ON g.battle_id = t.battle_id AND g.turn = t.number
WHERE t.battle_id IN (SELECT unnest(?::UUID[])) AND g.error_kind IS NULL
ORDER BY t.battle_id, t.number, g.created_at
"""


class ExportSummary(BaseModel):
    """What was written; `left_out` counts comparisons that do not count in ratings, by reason, and
    `other_source` those of the other source. `screened` counts marks in the place of personal data, by kind
    (public exports)."""

    model_config = ConfigDict(frozen=True)

    file: str
    rows: int
    left_out: dict[str, int]
    other_source: int
    format: str = "votes"
    public: bool = False
    screened: dict[str, int] = {}


def export_votes(
    store: Store,
    path: Path,
    *,
    source: Source = "human",
    format: str = "votes",
    public: bool = False,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> ExportSummary:
    """Write all counted votes (or judgments) in the order in which they were cast to CSV, JSONL, JSON or
    Parquet, as the file's name says. Imported into an empty store, it gives the same ratings; into this one,
    nothing new (unless it is `public`).

    `format` is "votes" (the usual schema) or one of `results.interchange.shapes.SHAPES`. With `public` voters
    and ids are keyed pseudonyms, and personal data in texts is replaced by marks. The file appears when it is
    complete. `progress` is told rows written and rows in all. Raises BadFile where the file cannot be written.
    """
    shape = _shape(path, format, source)
    columns = shape.columns or [
        name for name in COLUMNS if name != ("judge" if source == "human" else "voter")
    ]
    cover = Cover(store.data_dir) if public else None
    total, left_out, other = _sizes(store, source)
    rows = 0
    with open_writer(path, columns) as write:
        for page in _pages(store, source):
            ready = page if cover is None else [cover.row(row) for row in page]
            write([shape.of(row) for row in ready] if shape.of is not None else ready)
            rows += len(page)
            progress(rows, max(total, rows))
    return ExportSummary(
        file=str(path),
        rows=rows,
        left_out=left_out,
        other_source=other,
        format=format,
        public=public,
        screened=dict(cover.found) if cover is not None else {},
    )


def _shape(path: Path, format: str, source: Source) -> Shape:
    if format == "votes":
        return Shape()
    shape = SHAPES.get(format)
    if shape is None:
        raise BadFile(
            f"--format {format}: there are votes, {', '.join(SHAPES)} and the formats of preferences"
        )
    if format_of(path) not in shape.kinds:
        raise BadFile(f"{path.name}: a {format} file ends in {', '.join('.' + kind for kind in shape.kinds)}")
    if shape.source is not None and shape.source != source:
        raise BadFile(f"--format {format} holds verdicts of --source {shape.source}")
    return shape


def _sizes(store: Store, source: Source) -> tuple[int, dict[str, int], int]:
    table = store.query(
        "SELECT source, excluded, count(*) AS n FROM comparisons GROUP BY ALL ORDER BY n DESC"
    )
    rows = table.to_pylist()
    total = sum(row["n"] for row in rows if row["source"] == source and row["excluded"] is None)
    left_out = {row["excluded"]: row["n"] for row in rows if row["source"] == source and row["excluded"]}
    return total, left_out, sum(row["n"] for row in rows if row["source"] != source)


def _pages(store: Store, source: Source) -> Iterator[list[dict[str, Any]]]:
    time, seq = datetime.min, -1
    while True:
        found = store.query(_SELECT, [source, time, time, seq, _PAGE]).to_pylist()
        if not found:
            return
        time, seq = found[-1]["time"], found[-1]["seq"]
        said = _said(store, [row["battle_uuid"] for row in found if row["mode"] not in (None, "import")])
        yield [_row(row, said) for row in found]


def _said(store: Store, battles: Sequence[str]) -> dict[tuple[str, str], list[dict[str, str]]]:
    """The conversation of each (battle, side) whose turns and generations are stored one by one; of several
    answers to one turn the last one stands."""
    if not battles:
        return {}
    ids = [UUID(battle) for battle in sorted(set(battles))]
    answers: dict[tuple[str, str], dict[int, tuple[str, str]]] = {}
    for row in store.query(_SAID, [ids]).to_pylist():
        turns = answers.setdefault((row["battle"], row["side"]), {})
        turns[row["number"]] = (row["message"], row["text"])
    return {
        key: [
            {"role": role, "content": content}
            for number in sorted(turns)
            for role, content in zip(("user", "assistant"), turns[number], strict=True)
        ]
        for key, turns in answers.items()
    }


def _row(row: dict[str, Any], said: dict[tuple[str, str], list[dict[str, str]]]) -> dict[str, Any]:
    conversations = {}
    for side in ("a", "b"):
        stored, live = row[f"conversation_{side}"], said.get((row["battle_uuid"], side))
        conversations[f"conversation_{side}"] = (
            stored if stored is not None or live is None else json.dumps(live, ensure_ascii=False)
        )
    digests = {name: "" if row[name] == IMPORTED else row[name] for name in ("digest_a", "digest_b")}
    return {
        **row,
        **conversations,
        **digests,
        "winner": _WINNER[row["verdict"]],
        "timestamp": row["time"].replace(tzinfo=UTC).isoformat(),
    }
