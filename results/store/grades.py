"""Grades that judges of other tools gave to single answers, in bulk: from files."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import pyarrow as pa
from pydantic import Field

from results.records import Record, UtcTime, now
from results.store._imports import CHUNK_ROWS
from results.store._operations import Operation
from results.store._transaction import Transaction, one
from results.store.errors import BadWrite

if TYPE_CHECKING:
    from results.store._store import Store

GRADES_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("judge", pa.string(), nullable=False),
        pa.field("version_key", pa.int32(), nullable=False),
        pa.field("question", pa.string(), nullable=False),
        pa.field("turn", pa.int32(), nullable=False),
        pa.field("score", pa.float64()),
        pa.field("lowest", pa.float64(), nullable=False),
        pa.field("highest", pa.float64(), nullable=False),
        pa.field("prompts", pa.string(), nullable=False),
        pa.field("asked", pa.string(), nullable=False),
        pa.field("reply", pa.string(), nullable=False),
        pa.field("category", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("stamp", pa.float64()),
        pa.field("place", pa.int32(), nullable=False),
    ]
)
"""Rows of `add_grades`: ids are UUIDs as text, a score is null where the reply held none."""

_ADD = """
    INSERT INTO answer_grades (id, judge_key, version_key, question, turn, reading, score, lowest, highest, prompts,
                               asked, reply, category, language, stamp, place, import_id, created_at)
    SELECT DISTINCT ON (r.id) r.id::UUID, j.judge_key, version_key, question, turn,
           CASE WHEN score IS NULL THEN 'unparsed' ELSE 'parsed' END, score, lowest, highest, prompts,
           asked, reply, category, language, stamp, place, ?::UUID, ?::TIMESTAMP
    FROM graded_rows r JOIN judges j ON j.name = r.judge ORDER BY place, turn ON CONFLICT DO NOTHING
"""


class AddGrades(Record):
    """The import that grades come with; their rows travel beside it."""

    import_id: UUID
    time: UtcTime = Field(default_factory=now)


def _add(tx: Transaction, payload: AddGrades, rows: pa.Table) -> int:
    with tx.table("graded_rows", rows):
        unknown = tx.row(
            "SELECT version_key FROM graded_rows WHERE version_key NOT IN (SELECT version_key FROM model_versions)"
        )
        if unknown is not None:
            raise BadWrite(f"there is no model version {unknown[0]}: write it first (upsert_model_versions)")
        outside = tx.row(
            "SELECT score, lowest, highest FROM graded_rows WHERE score NOT BETWEEN lowest AND highest"
        )
        if outside is not None:
            raise BadWrite(f"the grade {outside[0]:g} is not between {outside[1]:g} and {outside[2]:g}")
        new = "SELECT DISTINCT judge FROM graded_rows WHERE judge NOT IN (SELECT name FROM judges) ORDER BY judge"
        for (name,) in tx.rows(new):
            key = int(one(tx.row("SELECT coalesce(max(judge_key), 0) + 1 FROM judges")))
            tx.insert("judges", {"judge_key": key, "name": name, "created_at": now()})
        return tx.write(_ADD, payload.import_id, payload.time)


ADD_GRADES = Operation("add_grades", AddGrades, int, _add, kind="write alone", takes_rows=True, timeout=300)


def add_grades(store: Store, import_id: UUID, rows: pa.Table) -> int:
    """Store grades with the columns of `GRADES_SCHEMA`, in transactions of at most `CHUNK_ROWS` rows; judges that are
    not known become known. Returns how many are new (by id). Raises BadWrite and other StoreErrors."""
    rows, added = rows.cast(GRADES_SCHEMA), 0
    for start in range(0, rows.num_rows, CHUNK_ROWS):
        part = rows.slice(start, CHUNK_ROWS).combine_chunks()
        added += store.perform(ADD_GRADES, AddGrades(import_id=import_id), part)
    return added
