"""Opening a DuckDB file with the store's settings, copying it while it is open, and saying why it cannot
be opened."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import duckdb

from results.store._machine import Capacity
from results.store._transaction import sql_list
from results.store.errors import StoreBusy, StoreCorrupt, StoreError, StoreReadOnly

_STORAGE_VERSION = "v1.5.0"
_BITS_OF_AN_ARRAY = 20


@dataclass(frozen=True)
class Settings:
    """What the database may take of the machine; DuckDB's own default is 80% of the memory and all cores.

    `log_limit` is how far the write-ahead log may grow before DuckDB folds it into the file: writers wait for that, and
    it writes much of every index, so that a large import should not do it often.
    `machine` is what the ledger may lend in all (see `results.store.ledger`); None: nearly all that is here.
    """

    memory_limit: str = "2GB"
    log_limit: str = "256MB"
    threads: int = min(4, os.cpu_count() or 1)
    machine: Capacity | None = None


def connect(path: Path, backups: Path, settings: Settings) -> duckdb.DuckDBPyConnection:
    """Open (or create) the database and lock its settings: no files outside `backups`, no extensions, no
    SET."""
    backups.mkdir(exist_ok=True)
    connection = duckdb.connect(
        str(path),
        config={
            "memory_limit": settings.memory_limit,
            # From this version on a write-ahead log names its database and checkpoint, so that one left behind
            # by another state of the file is refused; older ones are replayed and double rows.
            "storage_compatibility_version": _STORAGE_VERSION,
            "threads": settings.threads,
            "checkpoint_threshold": settings.log_limit,
            # Groups whose numbers need at most so many bits are counted in an array (see `results.store.cells`).
            "perfect_ht_threshold": _BITS_OF_AN_ARRAY,
            "temp_directory": str(path.with_suffix(".spill")),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,
        },
    )
    try:
        # In this order: external access cannot be given back, and without allowed directories backups fail.
        connection.execute(f"SET allowed_directories = {sql_list([str(backups)])}")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
    except BaseException:
        connection.close()
        raise
    return connection


def copy_database(connection: duckdb.DuckDBPyConnection, path: Path, copy: Path) -> None:
    """A consistent copy of the open database at `path`, while others write. `copy` lies in the backups
    folder."""
    cursor = connection.cursor()
    try:
        quoted = str(copy).replace("'", "''")
        cursor.execute(f"ATTACH '{quoted}' AS backup_copy (STORAGE_VERSION '{_STORAGE_VERSION}')")
        try:
            cursor.execute(f'COPY FROM DATABASE "{path.stem}" TO backup_copy')
        finally:
            cursor.execute("DETACH backup_copy")
    finally:
        cursor.close()


def sync_file(path: Path) -> None:
    """Have the disk hold what was written to a file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Have the disk hold a folder's names."""
    sync_file(path)


def log_file(path: Path) -> Path:
    """Where DuckDB keeps the write-ahead log of a database."""
    return path.with_name(path.name + ".wal")


def refuse_orphaned_log(path: Path) -> None:
    """Raise StoreCorrupt where a write-ahead log lies without its database: DuckDB would throw it away."""
    log = log_file(path)
    if log.exists() and log.stat().st_size:
        raise StoreCorrupt(
            f"{path} is gone, but its write-ahead log {log.name} is there, with writes the file did not hold. "
            "Put the database file back beside it; if there is none, move the log away and start anew."
        )


def explain_open_failure(path: Path, error: duckdb.Error) -> StoreError:
    """What a person should know and do when DuckDB cannot open `path`."""
    text = str(error).rstrip(".! ")
    lower = text.lower()
    if "could not set lock" in lower or "conflicting lock" in lower:
        return StoreBusy(
            f"{path} is open in another program that does not go through Palaestra ({text}). Close it there."
        )
    if any(words in lower for words in ("permission denied", "read-only file system", "cannot open file")):
        return StoreReadOnly(f"{path} cannot be opened for writing ({text}). Check the folder's permissions.")
    if any(words in lower for words in ("no space left", "could not write", "too large")):
        return StoreBusy(
            f"{path} cannot be opened: the disk is full ({text}). Free some space and try again."
        )
    backups = f"restore a backup from {path.parent / 'backups'}"
    log = log_file(path)
    if "wal" in lower and "match" in lower and "checksum" not in lower:
        return StoreCorrupt(
            f"{log} belongs to another state of the database, or to another database ({text}). If {path.name} "
            f"was put there by hand, move {log.name} away; otherwise move both away and {backups}."
        )
    what = f"it or its write-ahead log {log.name}" if log.exists() else "the file"
    return StoreCorrupt(
        f"{path} cannot be read ({text}): {what} is damaged or belongs to something else. "
        f"Move it away and {backups}."
    )
