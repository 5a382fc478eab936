"""Read-only queries: one SELECT, on a snapshot, with an end."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import duckdb
import pyarrow as pa

from results.store._database import Database
from results.store._transaction import naive_utc
from results.store.errors import BadQuery, StoreBusy

Params = Sequence[Any] | Mapping[str, Any] | None

QUERY_TIMEOUT = 120.0

# The database was closed under the reader: no fault of the query.
_CLOSED = (duckdb.FatalException, duckdb.InternalException, duckdb.ConnectionException)


def select(database: Database, sql: str, params: Params) -> pa.Table:
    """The result of one SELECT. Raises BadQuery for anything else, StoreBusy where it takes too long."""
    with database.reading() as cursor:
        try:
            statements = cursor.extract_statements(sql)
        except _CLOSED:
            raise
        except duckdb.Error as error:
            raise BadQuery(f"the query cannot be read: {error}") from error
        if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
            kinds = ", ".join(str(statement.type.name) for statement in statements) or "nothing"
            raise BadQuery(f"a query must be one SELECT; this is {kinds}")
        alarm = threading.Timer(QUERY_TIMEOUT, cursor.interrupt)
        alarm.start()
        began = time.monotonic()
        try:
            cursor.execute("BEGIN TRANSACTION READ ONLY")
            return cursor.execute(statements[0], _bound(params)).to_arrow_table()
        except duckdb.InterruptException as error:
            late = time.monotonic() - began >= QUERY_TIMEOUT
            why = f"after {QUERY_TIMEOUT:.0f} s" if late else "because the database is opened again"
            raise StoreBusy(f"the query was stopped {why}: {sql[:200]}") from error
        except _CLOSED:
            raise
        except duckdb.Error as error:
            raise BadQuery(f"the query failed: {error}") from error
        finally:
            alarm.cancel()


def _bound(params: Params) -> Any:
    if isinstance(params, Mapping):
        return {name: _plain(value) for name, value in params.items()}
    return [_plain(value) for value in params or ()]


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    return naive_utc(value)


def to_json(params: Params) -> Any:
    """Parameters as JSON can carry them: ids and times are tagged. Raises BadQuery for anything exotic."""
    if isinstance(params, Mapping):
        return {"names": {name: _tagged(value) for name, value in params.items()}}
    return {"list": [_tagged(value) for value in params or ()]}


def from_json(data: Any) -> Params:
    """The inverse of `to_json`."""
    if "names" in data:
        return {name: _untagged(value) for name, value in data["names"].items()}
    return [_untagged(value) for value in data["list"]]


def _tagged(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, UUID):
        return {"uuid": str(value)}
    if isinstance(value, datetime):
        return {"time": naive_utc(value).isoformat()}
    if isinstance(value, list | tuple | set | frozenset):
        return {"list": [_tagged(each) for each in value]}
    raise BadQuery(f"a query parameter cannot be a {type(value).__name__}")


def _untagged(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "uuid" in value:
        return UUID(value["uuid"])
    if "time" in value:
        return datetime.fromisoformat(value["time"])
    return [_untagged(each) for each in value["list"]]
