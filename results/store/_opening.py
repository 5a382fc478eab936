"""Opening a DuckDB file with the store's settings, copying it while it is open, and saying why it cannot
be opened."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import duckdb

from results.store._transaction import sql_list
from results.store.errors import StoreBusy, StoreCorrupt, StoreError, StoreReadOnly


@dataclass(frozen=True)
class Settings:
    """What the database may take of the machine; DuckDB's own default is 80% of the memory and all cores."""

    memory_limit: str = "2GB"
    threads: int = min(4, os.cpu_count() or 1)


def connect(path: Path, backups: Path, settings: Settings) -> duckdb.DuckDBPyConnection:
    """Open (or create) the database and lock its settings: no files outside `backups`, no extensions, no
    SET."""
    backups.mkdir(exist_ok=True)
    connection = duckdb.connect(
        str(path),
        config={
            "memory_limit": settings.memory_limit,
            "threads": settings.threads,
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
        cursor.execute(f"ATTACH '{str(copy).replace(chr(39), chr(39) * 2)}' AS backup_copy")
        try:
            cursor.execute(f'COPY FROM DATABASE "{path.stem}" TO backup_copy')
        finally:
            cursor.execute("DETACH backup_copy")
    finally:
        cursor.close()


def explain_open_failure(path: Path, error: duckdb.Error) -> StoreError:
    """What a person should know and do when DuckDB cannot open `path`."""
    text = str(error)
    lower = text.lower()
    if "could not set lock" in lower or "conflicting lock" in lower:
        return StoreBusy(
            f"{path} is open in another program that does not go through Palaestra ({text}). Close it there."
        )
    if any(words in lower for words in ("permission denied", "read-only file system", "cannot open file")):
        return StoreReadOnly(f"{path} cannot be opened for writing ({text}). Check the folder's permissions.")
    if "no space left" in lower or "could not write" in lower:
        return StoreBusy(
            f"{path} cannot be opened: the disk is full ({text}). Free some space and try again."
        )
    log_file = path.with_name(path.name + ".wal")
    return StoreCorrupt(
        f"{path} cannot be read: {text}. The file"
        + (f" or its write-ahead log {log_file.name}" if log_file.exists() else "")
        + " is damaged or belongs to something else. Move it away and restore a backup from "
        f"{path.parent / 'backups'}."
    )
