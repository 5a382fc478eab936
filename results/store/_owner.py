"""The owner's side: the open database, the lock on it, and the loopback server for everybody else."""

from __future__ import annotations

import concurrent.futures
import os
from contextlib import ExitStack
from typing import Any, TypeVar

import pyarrow as pa
from filelock import FileLock
from pydantic import BaseModel

from results.store import _select
from results.store._database import Database, Migrated
from results.store._endpoint import Endpoint, Files
from results.store._opening import Settings
from results.store._operations import Operation, as_json
from results.store._server import Server
from results.store.errors import StoreBusy, StoreUnknownOutcome

P = TypeVar("P", bound=BaseModel)
R = TypeVar("R")


class Owner:
    """Answers from the database in this process."""

    is_owner = True

    def __init__(self, files: Files, lock: FileLock, settings: Settings) -> None:
        self._files, self._lock = files, lock
        files.endpoint.unlink(missing_ok=True)
        with ExitStack() as undo:
            self._database = Database(files.database, files.backups, settings)
            undo.callback(self._database.close)
            self._server = Server(self._database)
            undo.callback(self._server.close)
            self._endpoint = Endpoint.make(os.getpid(), self._server.port, self._server.token)
            self._endpoint.write(files.endpoint)
            undo.pop_all()

    @property
    def migration(self) -> Migrated | None:
        """What opening the database changed in its schema."""
        return self._database.migration

    def call(self, operation: Operation[P, R], payload: P, rows: pa.Table | None) -> R:
        """Run an operation; raises StoreUnknownOutcome where a write takes longer than its timeout."""
        # What a client could not send must not be written here either.
        as_json(payload)
        return call(self._database, operation, payload, rows)

    def select(self, sql: str, params: _select.Params) -> pa.Table:
        """Run a read-only query."""
        return _select.select(self._database, sql, params)

    def close(self) -> None:
        """Refuse new requests, commit what is queued, answer it, and leave the file to the next owner."""
        self._endpoint.remove(self._files.endpoint)
        self._server.refuse()
        with ExitStack() as rest:
            rest.callback(self._lock.release)
            rest.callback(self._server.close)
            self._database.close()


def call(database: Database, operation: Operation[Any, R], payload: BaseModel, rows: pa.Table | None) -> R:
    """Run an operation against the database of this process."""
    if operation.kind == "read":
        return database.read(lambda tx: operation.apply(tx, payload, rows))
    if operation.kind == "whole database":
        return operation.apply(database, payload, rows)
    answer = database.write(
        lambda tx: operation.apply(tx, payload, rows), alone=operation.kind == "write alone"
    )
    try:
        return answer.result(operation.timeout)
    except concurrent.futures.TimeoutError as error:
        if answer.cancel():
            raise StoreBusy(
                f"not stored: {operation.name} waited {operation.timeout:.0f} s for its turn. Send it again later."
            ) from error
        raise StoreUnknownOutcome(
            f"{operation.name} has taken longer than {operation.timeout:.0f} s; whether it was stored is not "
            "known. Send it again."
        ) from error
