"""Operations of imports. Rows are staged chunk by chunk, each in a short transaction between votes, and
become visible all at once when the import is finished."""

from __future__ import annotations

import time
from uuid import UUID

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from results.records import ImportOutcome, ImportRecord, Record, StoredImport, now
from results.store._operations import Nothing, Operation
from results.store._transaction import Transaction, one
from results.store.cells import VERDICTS, cell_sql
from results.store.errors import BadWrite, KnownRows

# Rows that one transaction stages at first, or removes: what a vote may have to wait for.
CHUNK_ROWS = 2_500
# Seconds after which somebody who wrote is thought to have gone.
_LATELY = 2.0

IMPORT_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("battle_id", pa.string(), nullable=False),
        pa.field("prompt", pa.string()),
        pa.field("version_a", pa.int32(), nullable=False),
        pa.field("version_b", pa.int32(), nullable=False),
        pa.field("voter_id", pa.string()),
        pa.field("judge", pa.string()),
        pa.field("verdict", pa.string(), nullable=False),
        pa.field("time", pa.timestamp("us"), nullable=False),
        pa.field("category", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("conversation_a", pa.string()),
        pa.field("conversation_b", pa.string()),
    ]
)

_TABLES = ("votes", "judgments", "battles", "items", "voters")


_VOTERS = """
    INSERT INTO voters (id, origin, import_id, created_at)
    SELECT DISTINCT voter_id::UUID, 'import', ?::UUID, ?::TIMESTAMP
    FROM staged_rows WHERE voter_id IS NOT NULL
    ON CONFLICT DO NOTHING
"""
# Not ON CONFLICT DO NOTHING, which inserts rows in the order of a hash table: leaderboards that follow time read rows
# that lie in the order of seq without sorting them. {staged} are all rows, or those that are not stored yet: finding
# these means reading all stored ids, which fresh chunks do without.
_VOTES = """
    INSERT INTO votes (id, battle_id, voter_id, verdict, version_a, version_b, category, language, cell, seq, time,
                       changed_at, import_id)
    SELECT id::UUID, battle_id::UUID, voter_id::UUID, verdict, version_a, version_b, category, language, {cell}, seq,
           time, time, ?::UUID
    FROM {staged} {order}
"""
_JUDGMENTS = """
    INSERT INTO judgments (id, battle_id, judge_key, verdict, version_a, version_b, category, language, seq,
                           time, import_id)
    SELECT r.id::UUID, battle_id::UUID, g.judge_key, verdict, version_a, version_b, category, language, seq,
           time, ?::UUID
    FROM {staged} r JOIN judges g ON g.name = coalesce(r.judge, ?) ORDER BY seq
"""
_NOT_STORED = """(
    SELECT * FROM (SELECT DISTINCT ON (id) * REPLACE (id::UUID AS id) FROM staged_rows ORDER BY seq)
    ANTI JOIN {table} USING (id)
)"""
_KNOWN_STAY = "ON CONFLICT DO NOTHING"
# The key is results.ids.item_id in SQL.
_ITEMS = """
    INSERT INTO items (id, text, category, language, origin, import_id, created_at)
    SELECT DISTINCT ON (prompt)
           sha256(prompt)[:32]::UUID, prompt, category, language, 'import', ?::UUID, ?::TIMESTAMP
    FROM staged_rows WHERE prompt IS NOT NULL ORDER BY seq
"""
_BATTLES = """
    INSERT INTO battles (id, item_id, version_a, version_b, mode, state, category, language, conversation_a,
                         conversation_b, import_id, created_at)
    SELECT {distinct}
           battle_id::UUID, sha256(prompt)[:32]::UUID, version_a, version_b, 'import', 'done', category,
           language, conversation_a, conversation_b, ?::UUID, time
    FROM staged_rows {order}
"""
_COUNTS = """
    INSERT INTO pair_counts
    SELECT version_a, version_b, source, judge, category, language, verdict, count(*)
    FROM comparisons WHERE import_id = ? AND excluded IS NULL GROUP BY ALL
    ON CONFLICT DO UPDATE SET n = n + excluded.n
"""


class Chunk(Record):
    """The number of a chunk of an import, from 0; its rows travel beside it. Of a `fresh` one nothing is known yet,
    neither comparisons nor battles nor prompts, which saves looking for them in the whole store; where that is not
    so, nothing is written and KnownRows raised."""

    import_id: UUID
    number: int
    fresh: bool = False


class Staged(Record):
    """A chunk is stored. `busy`: others have been writing meanwhile, or shortly before."""

    busy: bool


class ImportId(Record):
    """Which import."""

    import_id: UUID


class Finish(Record):
    """An import whose `chunks` chunks have all been sent."""

    import_id: UUID
    chunks: int


def _begin(tx: Transaction, record: ImportRecord) -> StoredImport:
    """Start an import; one that is done already is returned as it is, with its state."""
    stored = _stored(tx, record.id)
    if stored is not None:
        return stored
    tx.insert(
        "imports",
        {**record.model_dump(), "state": "running", "chunks": 0, "added": 0, "known": 0},
    )
    return StoredImport(**record.model_dump(), state="running", added=0, known=0, finished_at=None)


def _stored(tx: Transaction, import_id: UUID) -> StoredImport | None:
    found = [stored for stored in _list(tx, Nothing()) if stored.id == import_id]
    return found[0] if found else None


def _stage(tx: Transaction, chunk: Chunk, rows: pa.Table) -> Staged:
    row = tx.row(
        "SELECT state, chunks, source, coalesce(judge, '') FROM imports WHERE id = ?", chunk.import_id
    )
    if row is None or row[0] != "running":
        raise BadWrite(f"the import {chunk.import_id} is not running: start it again")
    done, source, judge = row[1:]
    busy = time.monotonic() - tx.others_at < _LATELY
    if chunk.number < done:
        return Staged(busy=busy)
    if chunk.number > done:
        raise BadWrite(f"chunk {chunk.number} of the import {chunk.import_id} came before chunk {done}")
    first = tx.take_seq(rows.num_rows)
    rows = rows.append_column("seq", pa.array(range(first, first + rows.num_rows), pa.int64()))
    with tx.table("staged_rows", rows):
        _check(tx, rows)
        judged = source == "judge"
        try:
            added = _stage_judgments(tx, chunk, judge) if judged else _stage_votes(tx, chunk, rows)
            _stage_battles(tx, chunk, rows)
        except duckdb.ConstraintException as error:
            raise KnownRows(f"chunk {chunk.number} of the import is not fresh: {error}") from error
        except duckdb.ConversionException as error:
            raise BadWrite(_no_uuid(rows) or str(error)) from error
    tx.write(
        "UPDATE imports SET chunks = chunks + 1, added = added + ?, known = known + ? WHERE id = ?",
        added, rows.num_rows - added, chunk.import_id,
    )  # fmt: skip
    return Staged(busy=busy)


def _check(tx: Transaction, rows: pa.Table) -> None:
    known = {key for (key,) in tx.rows("SELECT version_key FROM model_versions")}
    named = np.unique(np.concatenate([rows["version_a"].to_numpy(), rows["version_b"].to_numpy()]))
    unknown = [key for key in named.tolist() if key not in known]
    if unknown:
        raise BadWrite(f"there is no model version {unknown[0]}: write it first (upsert_model_versions)")
    bad = set(pc.unique(rows["verdict"]).to_pylist()) - set(VERDICTS)
    if bad:
        raise BadWrite(f"{bad.pop()!r} is no verdict: a, b, tie or both_bad")


def _no_uuid(rows: pa.Table) -> str | None:
    """What is wrong with the first id that is none."""
    for column in ("id", "battle_id", "voter_id"):
        for value in rows[column].drop_null().to_pylist():
            try:
                UUID(value)
            except ValueError:
                return f"{value!r} is no UUID"
    return None


def _stage_votes(tx: Transaction, chunk: Chunk, rows: pa.Table) -> int:
    if _has(rows, "voter_id"):
        tx.write(_VOTERS, chunk.import_id, now())
    # As they come, rows lie in the order of seq.
    order = "" if chunk.fresh else "ORDER BY seq"
    return tx.write(
        _VOTES.format(cell=cell_sql(), staged=_staged(chunk, "votes"), order=order), chunk.import_id
    )


def _staged(chunk: Chunk, table: str) -> str:
    return "staged_rows" if chunk.fresh else _NOT_STORED.format(table=table)


def _stage_judgments(tx: Transaction, chunk: Chunk, default: str) -> int:
    """`default` is the judge of rows that name none."""
    names = [
        str(name)
        for (name,) in tx.rows("SELECT DISTINCT coalesce(judge, ?) FROM staged_rows ORDER BY ALL", default)
    ]
    if "" in names:
        raise BadWrite("a judgment needs the name of its judge: in the row, or for the whole import")
    for name in names:
        if tx.row("SELECT 1 FROM judges WHERE name = ?", name) is None:
            key = int(one(tx.row("SELECT coalesce(max(judge_key), 0) + 1 FROM judges")))
            tx.insert("judges", {"judge_key": key, "name": name, "created_at": now()})
    return tx.write(_JUDGMENTS.format(staged=_staged(chunk, "judgments")), chunk.import_id, default)


def _stage_battles(tx: Transaction, chunk: Chunk, rows: pa.Table) -> None:
    end = "" if chunk.fresh else _KNOWN_STAY
    if _has(rows, "prompt"):
        tx.write(_ITEMS + end, chunk.import_id, now())
    once = pc.count_distinct(rows["battle_id"]).as_py() == rows.num_rows
    distinct, order = ("", "") if once else ("DISTINCT ON (battle_id)", "ORDER BY seq ")
    tx.write(_BATTLES.format(distinct=distinct, order=order) + end, chunk.import_id)


def _has(rows: pa.Table, column: str) -> bool:
    return bool(rows[column].null_count < rows.num_rows)


def _finish(tx: Transaction, finish: Finish) -> ImportOutcome:
    stored = _stored(tx, finish.import_id)
    if stored is None:
        raise BadWrite(f"there is no import {finish.import_id}: start it again")
    if stored.state == "running":
        chunks = one(tx.row("SELECT chunks FROM imports WHERE id = ?", finish.import_id))
        if chunks != finish.chunks:
            raise BadWrite(f"the import {finish.import_id} has {chunks} of its {finish.chunks} chunks")
        tx.write("UPDATE imports SET state = 'done', finished_at = ? WHERE id = ?", now(), finish.import_id)
        tx.write(_COUNTS, finish.import_id)
    return ImportOutcome(import_id=stored.id, added=stored.added, known=stored.known)


def _discard_some(tx: Transaction, payload: ImportId) -> bool:
    """Remove up to CHUNK_ROWS rows of an import that is not done; true when nothing of it is left."""
    row = tx.row("SELECT state FROM imports WHERE id = ?", payload.import_id)
    if row is None or row[0] == "done":
        return True
    for table in _TABLES:
        # rowid keeps each step short; the rows of one import lie together.
        removed = tx.write(
            f"DELETE FROM {table} WHERE rowid IN "  # noqa: S608
            f"(SELECT rowid FROM {table} WHERE import_id = ? LIMIT {CHUNK_ROWS})",
            payload.import_id,
        )
        if removed:
            return False
    tx.write("DELETE FROM imports WHERE id = ?", payload.import_id)
    return True


def _list(tx: Transaction, payload: Nothing) -> list[StoredImport]:
    columns = list(StoredImport.model_fields)
    rows = tx.rows(f"SELECT {', '.join(columns)} FROM imports ORDER BY created_at, id")  # noqa: S608
    return [StoredImport.model_validate(dict(zip(columns, row, strict=True))) for row in rows]


BEGIN_IMPORT = Operation("begin_import", ImportRecord, StoredImport, _begin)
STAGE_CHUNK = Operation(
    "stage_chunk", Chunk, Staged, _stage, kind="write alone", takes_rows=True, timeout=300
)
FINISH_IMPORT = Operation("finish_import", Finish, ImportOutcome, _finish, kind="write alone", timeout=300)
DISCARD_IMPORT = Operation("discard_import", ImportId, bool, _discard_some, kind="write alone", timeout=300)
IMPORTS = Operation("imports", Nothing, list[StoredImport], _list, kind="read")
