"""The schema's numbered SQL files, and how a database is brought up to them."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources

import duckdb

from results.store.errors import StoreCorrupt, StoreError, StoreTooNew

log = logging.getLogger(__name__)

_FILE_NAME = re.compile(r"(\d{4})_(\w+)\.sql")


@dataclass(frozen=True)
class Migration:
    """One numbered file of `results/schema`."""

    version: int
    name: str
    sql: str


def migrations() -> list[Migration]:
    """All migrations in order; raises ValueError where numbers have gaps or repeat."""
    found = [
        Migration(int(match[1]), match[2], file.read_text("utf-8"))
        for file in resources.files("results").joinpath("schema").iterdir()
        if (match := _FILE_NAME.fullmatch(file.name))
    ]
    found.sort(key=lambda migration: migration.version)
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"results/schema must be numbered 0001, 0002, ...: {[m.version for m in found]}")
    return found


def current_version(connection: duckdb.DuckDBPyConnection) -> int:
    """The schema version of an open database; 0 for an empty one. Raises StoreCorrupt for somebody else's."""
    tables = {str(row[0]) for row in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    if "schema_version" not in tables:
        if tables:
            raise StoreCorrupt(
                f"the database holds tables ({', '.join(sorted(tables)[:5])}) but no schema_version: it was not "
                "made by Palaestra. Choose another data directory."
            )
        return 0
    row = connection.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchone()
    return int(row[0]) if row else 0


def migrate(
    connection: duckdb.DuckDBPyConnection,
    known: Sequence[Migration],
    back_up: Callable[[int], None],
) -> None:
    """Apply what is missing, each file in a transaction of its own.

    `back_up(version)` is called once before anything changes in a database that is not new. Raises
    StoreTooNew, before anything was changed, where the database is ahead of `known`.
    """
    version, newest = current_version(connection), known[-1].version
    if version > newest:
        raise StoreTooNew(
            f"the database has schema {version}, but this Palaestra knows schemas up to {newest}: it was made by a "
            "newer one. Update Palaestra, or restore a backup from before its update (folder backups)."
        )
    if 0 < version < newest:
        back_up(version)
    for migration in known[version:]:
        log.info("schema %04d_%s", migration.version, migration.name)
        connection.execute("BEGIN")
        try:
            if migration.version == 1:
                connection.execute(
                    "CREATE TABLE schema_version (version INTEGER PRIMARY KEY, name VARCHAR NOT NULL, "
                    "applied_at TIMESTAMP NOT NULL)"
                )
            connection.execute(migration.sql)
            connection.execute(
                "INSERT INTO schema_version VALUES (?, ?, now() AT TIME ZONE 'UTC')",
                [migration.version, migration.name],
            )
        except duckdb.Error as error:
            connection.execute("ROLLBACK")
            raise StoreError(
                f"upgrading the database to schema {migration.version:04d}_{migration.name} failed and was undone: "
                f"{error}. The database is as it was before."
            ) from error
        connection.execute("COMMIT")
