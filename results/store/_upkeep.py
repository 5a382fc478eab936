"""Operations that look after the whole database: checks, recounts, backups."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from uuid import uuid4

import duckdb

from results.records import Record
from results.store import _counting
from results.store._database import Database
from results.store._opening import copy_database, log_file, sync_file, sync_folder
from results.store._operations import Nothing, Operation
from results.store._transaction import Transaction, one
from results.store.cells import cell_sql
from results.store.errors import BadWrite, StoreBusy

_CHECKPOINT_TRIES = 40


class BackupTo(Record):
    """The absolute path of a backup to be made."""

    path: Path


_CELL = f"CASE WHEN excluded IS NULL THEN {cell_sql()} END"

_ORPHANS = {
    "votes without their battle": "SELECT count(*) FROM votes WHERE battle_id NOT IN (SELECT id FROM "
    "battles)",
    "votes without their voter": "SELECT count(*) FROM votes WHERE voter_id IS NOT NULL "
    "AND voter_id NOT IN (SELECT id FROM voters)",
    "judgments without their battle": "SELECT count(*) FROM judgments WHERE battle_id NOT IN (SELECT id "
    "FROM battles)",
    "generations without their battle": "SELECT count(*) FROM generations "
    "WHERE battle_id NOT IN (SELECT id FROM battles)",
    "turns without their battle": "SELECT count(*) FROM turns WHERE battle_id NOT IN (SELECT id FROM "
    "battles)",
    "battles of unknown model versions": "SELECT count(*) FROM battles "
    "WHERE version_a NOT IN (SELECT version_key FROM model_versions) "
    "OR version_b NOT IN (SELECT version_key FROM model_versions)",
    "grades of unknown judges or model versions": "SELECT count(*) FROM answer_grades "
    "WHERE judge_key NOT IN (SELECT judge_key FROM judges) "
    "OR version_key NOT IN (SELECT version_key FROM model_versions)",
    "comparisons that share a sequence number": "SELECT count(*) FROM "
    "(SELECT seq FROM (SELECT seq FROM votes UNION ALL SELECT seq FROM judgments) GROUP BY seq HAVING "
    "count(*) > 1)",
    "votes whose cell is not that of their verdict": f"SELECT count(*) FROM votes WHERE cell IS DISTINCT FROM {_CELL}",  # noqa: S608
    "votes that count although a side failed": "SELECT count(*) FROM votes v JOIN battles b ON b.id = v.battle_id "
    "WHERE v.excluded IS NULL AND b.failed_side IS NOT NULL",
}


_SET_COUNT = (
    "INSERT INTO pair_counts VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = excluded.n"
)


def problems_of(tx: Transaction) -> list[str]:
    """Problems found in the data, as sentences."""
    problems = [
        f"pair_counts holds {kept} instead of {true} for {dict(zip(_counting.KEY, key, strict=True))}"
        for *key, kept, true in _counting.differences(tx)
    ]
    for what, sql in _ORPHANS.items():
        if count := int(one(tx.row(sql))):
            problems.append(f"{count} {what}")
    return problems


def _check(tx: Transaction, payload: Nothing) -> list[str]:
    return problems_of(tx)


def _rebuild(tx: Transaction, payload: Nothing) -> None:
    """Correct what differs rather than deleting and inserting the same keys in one transaction, which
    DuckDB's key check does not allow."""
    tx.write(
        f"UPDATE votes SET cell = {_CELL} WHERE cell IS DISTINCT FROM {_CELL}"  # noqa: S608
    )
    for *key, _, true in _counting.differences(tx):
        tx.write(_SET_COUNT, *key, true)


def _backup(database: Database, payload: BackupTo) -> None:
    target = payload.path
    if not target.is_absolute() or not target.parent.is_dir():
        raise BadWrite(f"cannot back up to {target}: its folder does not exist")
    if target.exists():
        raise BadWrite(f"{target} exists already: choose another name or remove it first")
    # DuckDB may write to the backups folder only; the copy appears under its name when it is complete.
    copy, part = database.backups / f".{uuid4().hex}.duckdb", target.with_name(f".{target.name}.part")
    try:
        with database.reading() as cursor:
            copy_database(cursor, database.path, copy)
        if not _same_disk(copy, target.parent):
            shutil.copyfile(copy, part)
            copy, elsewhere = part, copy
            elsewhere.unlink()
        # What voters wrote is in it, and its folder may be open to others.
        copy.chmod(0o600)
        sync_file(copy)
        copy.replace(target)
        sync_folder(target.parent)
    except (duckdb.IOException, duckdb.OutOfMemoryException, OSError) as error:
        raise StoreBusy(
            f"{target} could not be written ({str(error).rstrip('. ')}): there is no backup. Check the space on "
            "the disk and the folder's permissions, and try again."
        ) from error
    finally:
        for left in (copy, log_file(copy), part):
            left.unlink(missing_ok=True)


def _same_disk(file: Path, folder: Path) -> bool:
    return file.stat().st_dev == folder.stat().st_dev


def _checkpoint(database: Database, payload: Nothing) -> bool:
    """DuckDB refuses a checkpoint while a write transaction is open: another try follows a little later."""
    for _ in range(_CHECKPOINT_TRIES):
        with database.reading() as cursor:
            try:
                cursor.execute("CHECKPOINT")
            except duckdb.TransactionException:
                time.sleep(0.05)
            else:
                return True
    return False


CHECK = Operation("check", Nothing, list[str], _check, kind="read", timeout=600)
REBUILD_PAIR_COUNTS = Operation(
    "rebuild_pair_counts", Nothing, None, _rebuild, kind="write alone", timeout=600
)
BACKUP = Operation("backup", BackupTo, None, _backup, kind="whole database", timeout=600)
CHECKPOINT = Operation("checkpoint", Nothing, bool, _checkpoint, kind="whole database")
