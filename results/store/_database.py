"""The owner's open database: one writer thread with group commit, snapshot reads, reopening after failures."""

from __future__ import annotations

import itertools
import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

import duckdb

from results.store import _schema
from results.store._book import Book
from results.store._opening import (
    Settings,
    connect,
    copy_database,
    explain_open_failure,
    log_file,
    refuse_orphaned_log,
    sync_folder,
)
from results.store._transaction import Transaction
from results.store.errors import BadWrite, StoreBusy, StoreClosed, StoreError, StoreUnknownOutcome

log = logging.getLogger(__name__)

T = TypeVar("T")

_BATCH = 256
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_FATAL = (duckdb.FatalException, duckdb.InternalException, duckdb.ConnectionException)


# Writes that take a transaction of their own are long: others that come so many seconds later go before them.
_STEPS_BACK = 0.25


@dataclass
class _Job(Generic[T]):
    """One write that waits for its turn. `alone`: it gets a transaction of its own."""

    run: Callable[[Transaction], T]
    alone: bool
    answer: Future[T] = field(default_factory=Future)


class _Waiting:
    """The writes that wait, by when they are due; None stands for the end and comes last."""

    def __init__(self) -> None:
        self._queue: queue.PriorityQueue[tuple[float, int, _Job[Any] | None]] = queue.PriorityQueue()
        self._numbers = itertools.count()

    def put(self, job: _Job[Any] | None) -> None:
        due = math.inf if job is None else time.monotonic() + _STEPS_BACK * job.alone
        self._queue.put((due, next(self._numbers), job))

    def get(self, timeout: float | None = None) -> _Job[Any] | None:
        """Raises queue.Empty after `timeout` seconds."""
        return self._queue.get(timeout=timeout)[2]

    def more(self, most: int) -> Iterator[_Job[Any]]:
        """What can go into one transaction with a write taken before; the rest stays where it was."""
        for _ in range(most):
            try:
                entry = self._queue.get_nowait()
            except queue.Empty:
                return
            if entry[2] is None or entry[2].alone:
                self._queue.put(entry)
                return
            yield entry[2]


@dataclass(frozen=True)
class Migrated:
    """A schema upgrade, and the backup that was made before it."""

    before: int
    after: int
    backup: Path


class _Broken(Exception):
    """The database refused to go on; what it did with the current batch is not known."""


class Database:
    """DuckDB behind one writer thread. Answers of `write` come only after COMMIT."""

    def __init__(self, path: Path, backups: Path, settings: Settings) -> None:
        self._path, self._backups, self._settings = path, backups, settings
        self.book = Book(path.with_name(f"{path.name}.ledger"), most=settings.machine)
        self._lock = threading.Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._readers: set[duckdb.DuckDBPyConnection] = set()
        self._problem = "it is being opened"
        self._migration: Migrated | None = None
        self._jobs = _Waiting()
        self._others_at = -math.inf
        self._closing = threading.Event()
        self._gate = threading.Lock()
        self._writer = self._open(create=True)
        self._thread = threading.Thread(target=self._work, name="store-writer", daemon=True)
        self._thread.start()

    @property
    def path(self) -> Path:
        """The database file."""
        return self._path

    @property
    def backups(self) -> Path:
        """The one folder in which DuckDB may read and write other files."""
        return self._backups

    @property
    def migration(self) -> Migrated | None:
        """What opening the database changed in its schema; None where it was new or up to date."""
        return self._migration

    def write(self, run: Callable[[Transaction], T], *, alone: bool = False) -> Future[T]:
        """Queue a write. `run` must raise `StoreError`s before it changes anything: then the transaction that
        it shares with others goes on without it. The future's result or error is there after COMMIT."""
        job = _Job(run, alone)
        # Under the gate nothing can be queued behind the mark that ends the writer.
        with self._gate:
            if self._closing.is_set():
                job.answer.set_exception(StoreClosed("the store is closing"))
            else:
                if not alone:
                    self._others_at = time.monotonic()
                self._jobs.put(job)
        return job.answer

    def read(self, run: Callable[[Transaction], T]) -> T:
        """Run a read on a snapshot of the database; any attempt to write fails in DuckDB."""
        with self.reading() as cursor:
            cursor.execute("BEGIN TRANSACTION READ ONLY")
            try:
                return run(Transaction(cursor))
            finally:
                Transaction(cursor).roll_back()

    @contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor of its own, closed afterwards. Raises StoreBusy while the database is being reopened."""
        with self._lock:
            if self._connection is None:
                raise StoreBusy(f"{self._path} cannot be read at the moment: {self._problem}. Try again.")
            cursor = self._connection.cursor()
            self._readers.add(cursor)
        try:
            yield cursor
        except _FATAL as error:
            # Only the writer reopens the database: have it find out.
            self.write(lambda tx: tx.row("SELECT 1"))
            raise StoreBusy(f"reading {self._path} was interrupted ({error}). Try again.") from error
        finally:
            with self._lock:
                self._readers.discard(cursor)
            cursor.close()

    def close(self, wait: float = 10.0) -> None:
        """Commit what is queued, let readers finish for up to `wait` seconds, checkpoint and close the file."""
        with self._gate:
            if not self._closing.is_set():
                self._closing.set()
                self._jobs.put(None)
        self._thread.join()
        deadline = time.monotonic() + wait
        while self._readers and time.monotonic() < deadline:
            time.sleep(0.01)
        with self._lock:
            connection = self._connection
            if connection is not None and not self._readers:
                try:
                    connection.execute("CHECKPOINT")
                except duckdb.Error as error:
                    # The WAL holds everything; the next opening replays it.
                    log.warning("closing %s without a checkpoint: %s", self._path, error)
            self._disconnect("it is closed")

    def _open(self, *, create: bool) -> Transaction:
        """Connect, migrate and find the next sequence number."""
        connection = None
        try:
            if not self._path.exists():
                if not create:
                    raise StoreBusy(
                        f"{self._path} is gone: its disk may have been unmounted, or it was moved."
                    )
                self._create()
            connection = connect(self._path, self._backups, self._settings)
            self._migrate(connection)
            # All rows: a result that is not read to its end keeps its snapshot, and DuckDB then never checkpoints.
            (newest,) = connection.execute(
                "SELECT greatest((SELECT max(seq) FROM votes), (SELECT max(seq) FROM judgments), 0)"
            ).fetchall()
            writer = connection.cursor()
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, duckdb.Error):
                raise explain_open_failure(self._path, error) from error
            raise
        with self._lock:
            self._connection = connection
        return Transaction(writer, next_seq=int(newest[0]) + 1)

    def _create(self) -> None:
        """A new database appears in one step: a process that dies on the way leaves none."""
        refuse_orphaned_log(self._path)
        new = self._path.with_name("new-" + self._path.name)
        for left in (new, log_file(new)):
            left.unlink(missing_ok=True)
        connection = connect(new, self._backups, self._settings)
        try:
            self._migrate(connection)
        finally:
            connection.close()
        new.replace(self._path)
        sync_folder(self._path.parent)

    def _migrate(self, connection: duckdb.DuckDBPyConnection) -> None:
        known = _schema.migrations()
        _schema.migrate(
            connection, known, lambda version: self._back_up(connection, version, known[-1].version)
        )

    def _back_up(self, connection: duckdb.DuckDBPyConnection, version: int, newest: int) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        backup = self._backups / f"before-schema-{version + 1:04d}-{stamp}.duckdb"
        copy_database(connection, self._path, backup)
        self._migration = Migrated(before=version, after=newest, backup=backup)

    def _disconnect(self, problem: str) -> None:
        """Close every connection; DuckDB keeps a broken database in memory until the last one is gone."""
        self._problem = problem
        for reader in self._readers:
            reader.interrupt()
            reader.close()
        self._writer.close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _work(self) -> None:
        while True:
            first = self._jobs.get()
            if first is None:
                return
            batch = [first, *(() if first.alone else self._jobs.more(_BATCH - 1))]
            batch = [job for job in batch if job.answer.set_running_or_notify_cancel()]
            try:
                if batch:
                    self._commit(batch)
            except _Broken as broken:
                for job in batch:
                    if not job.answer.done():
                        job.answer.set_exception(StoreUnknownOutcome(str(broken)))
                self._reopen(str(broken))

    def _commit(self, batch: list[_Job[Any]]) -> None:
        """Run the jobs in one transaction and answer them; raises _Broken where the outcome is not known."""
        writer = self._writer
        try:
            writer.start()
            writer.others_at = self._others_at
            answers = [self._run(job, writer) for job in batch]
        except _FATAL as error:
            raise _Broken(self._lost(error)) from error
        except Exception as error:  # noqa: BLE001 - whatever a job raises is its caller's to see
            try:
                writer.roll_back()
            except duckdb.Error as worse:
                raise _Broken(self._lost(worse)) from error
            self._apart(batch, error)
            return
        try:
            writer.commit()
        except duckdb.Error as error:
            # Nobody else writes, so this is no conflict: the disk failed. Only the file knows what it holds.
            raise _Broken(self._lost(error)) from error
        for job, answer in zip(batch, answers, strict=True):
            if isinstance(answer, StoreError):
                job.answer.set_exception(answer)
            else:
                job.answer.set_result(answer)

    def _run(self, job: _Job[T], writer: Transaction) -> T | StoreError:
        writer.wrote = False
        try:
            return job.run(writer)
        except StoreError as error:
            if writer.wrote:
                raise
            return error

    def _apart(self, batch: list[_Job[Any]], error: Exception) -> None:
        """After a batch was rolled back: find the bad write by trying each alone."""
        if len(batch) == 1:
            batch[0].answer.set_exception(error if isinstance(error, StoreError) else _refused(error))
            return
        for job in batch:
            self._commit([job])

    def _lost(self, error: duckdb.Error) -> str:
        return (
            f"the database {self._path} stopped in the middle of a write ({error}). Whether it was stored is not "
            "known; send it again. If the disk is full, free some space first."
        )

    def _reopen(self, problem: str) -> None:
        """Close and open again, with pauses; writes that come meanwhile are refused, not kept waiting."""
        log.error("%s", problem)
        with self._lock:
            self._disconnect(problem)
        pause = _FIRST_PAUSE
        while not self._closing.is_set():
            try:
                self._writer = self._open(create=False)
            except Exception as error:  # noqa: BLE001 - the writer must live on: the next try may find the disk well
                self._problem = str(error)
                log.error("reopening failed, next try in %.1f s: %s", pause, error)
            else:
                log.warning("reopened %s", self._path)
                return
            self._refuse_for(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        self._refuse_for(0)

    def _refuse_for(self, seconds: float) -> None:
        """Refuse what is queued and what comes in the next `seconds`."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                job = self._jobs.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return
            if job is None:
                self._jobs.put(None)
                return
            if job.answer.set_running_or_notify_cancel():
                job.answer.set_exception(StoreBusy(f"not stored: {self._problem} Send it again later."))


def _refused(error: Exception) -> Exception:
    """What DuckDB refused, as an error of the store; programming errors stay what they are."""
    if isinstance(error, duckdb.OutOfMemoryException):
        return StoreBusy(f"not stored: the database has not enough memory ({error})")
    if isinstance(error, duckdb.IOException):
        return StoreBusy(f"not stored: the disk is full or failing ({error}). Free some space; try again.")
    if isinstance(error, duckdb.Error):
        return BadWrite(f"the database refused the write: {error}")
    return error
