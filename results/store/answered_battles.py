"""Battles whose answers exist and on which nobody has given a verdict yet, in bulk: from files of answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pyarrow as pa

from results.records import Record, now
from results.store._imports import CHUNK_ROWS
from results.store._operations import Operation
from results.store._transaction import Transaction
from results.store.errors import BadWrite

if TYPE_CHECKING:
    from results.store._store import Store

ANSWERED_SCHEMA = pa.schema(
    [
        pa.field("battle_id", pa.string(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("version_a", pa.int32(), nullable=False),
        pa.field("version_b", pa.int32(), nullable=False),
        pa.field("conversation_a", pa.string(), nullable=False),
        pa.field("conversation_b", pa.string(), nullable=False),
        pa.field("category", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("selection_probability", pa.float64()),
        pa.field("time", pa.timestamp("us"), nullable=False),
    ]
)
"""Rows of `add_answered_battles`: ids are UUIDs as text, conversations JSON lists of messages."""

# The keys of items are results.ids.item_id in SQL.
_ITEMS = """
    INSERT INTO items (id, text, category, language, origin, created_at)
    SELECT DISTINCT ON (prompt) sha256(prompt)[:32]::UUID, prompt, category, language, 'import', ?::TIMESTAMP
    FROM answered_rows ON CONFLICT DO NOTHING
"""
_BATTLES = """
    INSERT INTO battles (id, item_id, version_a, version_b, mode, state, selection_policy, selection_probability,
                         category, language, conversation_a, conversation_b, created_at)
    SELECT DISTINCT ON (battle_id) battle_id::UUID, sha256(prompt)[:32]::UUID, version_a, version_b, 'import',
           'done', ?, selection_probability, category, language, conversation_a, conversation_b, time
    FROM answered_rows ON CONFLICT DO NOTHING
"""
# An import of votes that is broken off takes its own rows with it, but not these any more.
_KEEP = """
    UPDATE {table} SET import_id = NULL
    WHERE import_id IN (SELECT id FROM imports WHERE state = 'running') AND id IN (SELECT {key} FROM answered_rows)
"""


class AnsweredBattles(Record):
    """How the pairs of a chunk of battles were chosen; its rows travel beside it."""

    policy: str | None = None


def _add(tx: Transaction, payload: AnsweredBattles, rows: pa.Table) -> int:
    with tx.table("answered_rows", rows):
        unknown = tx.row(
            "SELECT v FROM (SELECT version_a AS v FROM answered_rows UNION SELECT version_b FROM answered_rows) "
            "WHERE v NOT IN (SELECT version_key FROM model_versions)"
        )
        if unknown is not None:
            raise BadWrite(f"there is no model version {unknown[0]}: write it first (upsert_model_versions)")
        tx.write(_KEEP.format(table="items", key="sha256(prompt)[:32]::UUID"))
        tx.write(_KEEP.format(table="battles", key="battle_id::UUID"))
        tx.write(_ITEMS, now())
        return tx.write(_BATTLES, payload.policy)


ADD_ANSWERED_BATTLES = Operation(
    "add_answered_battles", AnsweredBattles, int, _add, kind="write alone", takes_rows=True, timeout=300
)


def add_answered_battles(
    store: Store, batches: Iterable[pa.Table], *, policy: str | None = None
) -> tuple[int, int]:
    """Store battles with the columns of `ANSWERED_SCHEMA`, in transactions of at most `CHUNK_ROWS` rows between
    which votes go on; `policy` says how their pairs were chosen.

    Returns how many were added and how many were there already (by id), so that a broken-off run is finished by
    the same one again. Raises BadWrite and other StoreErrors.
    """
    added = known = 0
    for table in batches:
        rows = table.cast(ANSWERED_SCHEMA)
        for start in range(0, rows.num_rows, CHUNK_ROWS):
            part = rows.slice(start, CHUNK_ROWS).combine_chunks()
            new = store.perform(ADD_ANSWERED_BATTLES, AnsweredBattles(policy=policy), part)
            added, known = added + new, known + part.num_rows - new
    return added, known
