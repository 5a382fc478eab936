"""A transaction as operations see it: a DuckDB cursor with the writer's counter."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa

Row = tuple[Any, ...]


def naive_utc(value: Any) -> Any:
    """Datetimes with a zone as DuckDB TIMESTAMP parameters want them; anything else as it is."""
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC).replace(tzinfo=None)
    return value


class Transaction:
    """Statements of one operation. `wrote` tells whether it has changed anything so far, `others_at` when a short
    write (such as a vote) was last asked for, by the monotonic clock."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, next_seq: int = 0) -> None:
        self._cursor = cursor
        self._next_seq = next_seq
        self.wrote = False
        self.others_at = -math.inf

    def rows(self, sql: str, *params: Any) -> list[Row]:
        """All rows of a SELECT."""
        return self._cursor.execute(sql, [naive_utc(param) for param in params]).fetchall()

    def row(self, sql: str, *params: Any) -> Row | None:
        """The first row of a SELECT."""
        return self._cursor.execute(sql, [naive_utc(param) for param in params]).fetchone()

    def write(self, sql: str, *params: Any) -> int:
        """Run an INSERT, UPDATE or DELETE; the number of rows it changed."""
        self.wrote = True
        row = self._cursor.execute(sql, [naive_utc(param) for param in params]).fetchone()
        return int(row[0]) if row else 0

    def insert(self, table: str, values: dict[str, Any]) -> None:
        """Insert one row."""
        columns, marks = ", ".join(values), ", ".join("?" * len(values))
        self.write(f"INSERT INTO {table} ({columns}) VALUES ({marks})", *values.values())  # noqa: S608

    def take_seq(self, count: int = 1) -> int:
        """Reserve `count` consecutive sequence numbers and return the first. Numbers of a transaction that is
        rolled back are not used again."""
        first = self._next_seq
        self._next_seq += count
        return first

    @contextmanager
    def table(self, name: str, table: pa.Table) -> Iterator[None]:
        """Let SQL see an Arrow table under `name` for a while."""
        self._cursor.register(name, table)
        try:
            yield
        finally:
            self._cursor.unregister(name)

    def start(self) -> None:
        """Begin; one `Transaction` object serves one transaction after another."""
        self._cursor.execute("BEGIN")

    def commit(self) -> None:
        """Make durable."""
        self._cursor.execute("COMMIT")

    def close(self) -> None:
        """Give the cursor back."""
        self._cursor.close()

    def roll_back(self) -> None:
        """Undo; fine when DuckDB has ended the transaction by itself."""
        try:
            self._cursor.execute("ROLLBACK")
        except duckdb.TransactionException:
            return


def one(row: Row | None) -> Any:
    """The only value of a row that must exist."""
    if row is None:
        raise LookupError("a query that always gives a row gave none")
    return row[0]


def sql_list(values: Sequence[str]) -> str:
    """Strings as a SQL list literal, for settings that take no parameters."""
    return "[" + ", ".join("'" + value.replace("'", "''") + "'" for value in values) + "]"
