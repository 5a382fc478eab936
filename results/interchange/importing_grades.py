"""Single grades from files to the store, beside the comparisons that are made of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import pyarrow as pa

from results.interchange.errors import BadFile
from results.interchange.grades import HIGHEST, LOWEST, Grade, grades_of
from results.interchange.reading import BadRow, open_rows
from results.interchange.votes import Unusable
from results.records import ModelVersionRecord
from results.store import CHUNK_ROWS, Store
from results.store.grades import GRADES_SCHEMA, add_grades


class GradesAdded(NamedTuple):
    """How many grades a file has, how many of them are new, and how many replies held none."""

    grades: int
    added: int
    unparsed: int


def check_judges(store: Store, path: Path, fixed: Mapping[str, str]) -> None:
    """Refuse grades by a judge of this store: its comparisons are here already, made of its grades in battles.

    Raises BadFile.
    """
    own = store.query("SELECT name FROM judges JOIN judge_profiles USING (judge_key)")["name"].to_pylist()
    found = {grade.judge for grade in _grades(path, fixed)} & set(own)
    if found:
        name = min(found)
        raise BadFile(
            f"{path.name}: {name} is a judge of this store, with grades of its own. To import these beside them give "
            f"the judge another name: --source judge --judge '{name} (imported)'"
        )


def import_grades(store: Store, import_id: UUID, path: Path, fixed: Mapping[str, str]) -> GradesAdded:
    """Store the grades of a file or folder; those that are known stay as they are. Rows that cannot be used are told
    where comparisons are made of them."""
    keys: dict[tuple[str, str], int] = {}
    chunk: list[Grade] = []
    total = added = unparsed = 0
    for grade in _grades(path, fixed):
        chunk.append(grade)
        unparsed += grade.score is None
        if len(chunk) >= CHUNK_ROWS:
            added += _add(store, import_id, chunk, keys, total)
            total += len(chunk)
            chunk = []
    if chunk:
        added += _add(store, import_id, chunk, keys, total)
        total += len(chunk)
    return GradesAdded(total, added, unparsed)


def _grades(path: Path, fixed: Mapping[str, str]) -> Iterator[Grade]:
    with open_rows(path) as rows:
        for row in rows:
            if isinstance(row, BadRow):
                continue
            try:
                yield from grades_of(row.values, fixed)
            except Unusable:
                continue


def _add(
    store: Store, import_id: UUID, chunk: list[Grade], keys: dict[tuple[str, str], int], place: int
) -> int:
    unknown = sorted({(grade.model, grade.digest) for grade in chunk} - keys.keys())
    if unknown:
        records = [ModelVersionRecord(model=name, digest=digest, owner="import") for name, digest in unknown]
        found = store.upsert_model_versions(records)
        keys.update(zip(unknown, (ref.version_key for ref in found), strict=True))
    rows = [
        {
            **grade._asdict(),
            "id": str(grade.id),
            "version_key": keys[grade.model, grade.digest],
            "lowest": LOWEST,
            "highest": HIGHEST,
            "place": place + number,
        }
        for number, grade in enumerate(chunk)
    ]
    return add_grades(store, import_id, pa.Table.from_pylist(rows, GRADES_SCHEMA))
