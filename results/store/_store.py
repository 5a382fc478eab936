"""The store as the rest of Palaestra sees it."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from uuid import UUID

import pyarrow as pa
from filelock import FileLock, Timeout
from pydantic import BaseModel

from results.records import (
    BattleRecord,
    BattleState,
    GenerationRecord,
    ImportOutcome,
    ImportRecord,
    ModelVersion,
    ModelVersionRecord,
    ModelVersionRef,
    StoredBattle,
    StoredImport,
    TurnRecord,
    VoteOutcome,
    VoteRecord,
    VoterRecord,
    now,
)
from results.store import _battles, _forgetting, _imports, _models, _screening, _select, _upkeep, _votes
from results.store._client import OwnerGone
from results.store._database import Migrated
from results.store._election import Backend, elect
from results.store._endpoint import Endpoint, Files
from results.store._forgetting import Forgotten
from results.store._opening import Settings
from results.store._operations import Nothing, Operation
from results.store._owner import Owner
from results.store._screening import ScreeningOutcome
from results.store._staging import Pace, chunks
from results.store.errors import KnownRows, StoreBusy, StoreClosed, StoreError, StoreReadOnly

log = logging.getLogger(__name__)

P = TypeVar("P", bound=BaseModel)
R = TypeVar("R")

_RESEND_FOR = 60.0


def open_store(data_dir: Path | str, *, settings: Settings | None = None, timeout: float = 30.0) -> Store:
    """Open the store in `data_dir`, creating both where they do not exist.

    This process becomes the owner of the database if nobody else is, and otherwise a client of the owner; the
    `Store` behaves the same, and changes over by itself when the owner ends. `timeout` is how many seconds to
    wait for an owner that does not answer. Raises StoreBusy, StoreTooNew, StoreCorrupt or StoreReadOnly.
    """
    directory = Path(data_dir).expanduser().resolve()
    try:
        # What voters wrote lies here: a folder that we make is for its user alone.
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreReadOnly(f"the data directory {directory} cannot be made: {error.strerror}") from error
    return Store(directory, settings or Settings(), timeout)


class Store:
    """Everything that is known: model versions, battles, votes, judgments, imports. Use `open_store`.

    Thread-safe and synchronous (from asyncio: `asyncio.to_thread`). A write returns only after it is durable,
    and is idempotent: whoever gets StoreUnknownOutcome or StoreBusy may send it again under the same ids. All
    methods may raise `StoreError`s.
    """

    def __init__(self, data_dir: Path, settings: Settings, timeout: float) -> None:
        self.data_dir = data_dir
        self._files = Files(data_dir)
        self._settings, self._timeout = settings, timeout
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._lost: Backend | None = None
        self._backend: Backend | None = elect(self._files, settings, timeout)
        atexit.register(self.close)
        try:
            if self._backend.is_owner:
                self._discard_dead_imports()
        except BaseException:
            self.close()
            raise

    @property
    def is_owner(self) -> bool:
        """Whether the database is open in this process at the moment."""
        backend = self._backend
        return backend is not None and backend.is_owner

    @property
    def migration(self) -> Migrated | None:
        """The schema upgrade that opening the database in this process brought; None where there was none."""
        backend = self._backend
        return backend.migration if isinstance(backend, Owner) else None

    @property
    def owner_pid(self) -> int | None:
        """The process that has the database open at the moment; None while there is none."""
        endpoint = Endpoint.read(self._files.endpoint)
        return None if endpoint is None else endpoint.pid

    def close(self) -> None:
        """Finish what was begun; an owner commits what is queued and leaves the database to the next one."""
        if os.getpid() != self._process:
            return
        with self._lock:
            backends, self._backend, self._lost = (self._backend, self._lost), None, None
            for backend in backends:
                if backend is not None:
                    backend.close()
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Model versions

    def upsert_model_versions(self, versions: Iterable[ModelVersionRecord]) -> list[ModelVersionRef]:
        """Find or make model versions, in order: a new digest of a model becomes its version number n+1."""
        return self.perform(_models.UPSERT_MODEL_VERSIONS, _models.ModelVersions(versions=list(versions)))

    def model_versions(self) -> list[ModelVersion]:
        """All model versions, in the order in which they were made."""
        return self.perform(_models.LIST_MODEL_VERSIONS, Nothing())

    # Battles

    def create_battle(self, battle: BattleRecord, first_turn: TurnRecord | None = None) -> None:
        """Store a battle, with its first turn if it has one. The same id again changes nothing."""
        self.perform(_battles.CREATE_BATTLE, _battles.NewBattle(battle=battle, first_turn=first_turn))

    def add_turn(self, turn: TurnRecord) -> None:
        """Store a user message. Raises BadWrite if the turn exists with another message."""
        self.perform(_battles.ADD_TURN, turn)

    def record_generation(self, generation: GenerationRecord) -> None:
        """Store an answer or a failure; a failure takes the battle's votes out of the ratings."""
        self.perform(_battles.RECORD_GENERATION, generation)

    def set_battle_state(self, battle_id: UUID, state: BattleState) -> None:
        """Change a battle's state."""
        self.perform(_battles.SET_BATTLE_STATE, _battles.BattleStateChange(battle_id=battle_id, state=state))

    def battle(self, battle_id: UUID) -> StoredBattle | None:
        """A battle with its turns and generations."""
        return self.perform(_battles.BATTLE, _battles.BattleId(battle_id=battle_id))

    # Votes

    def register_voter(self, voter: VoterRecord) -> None:
        """Store a voter; a later consent is added to a known one."""
        self.perform(_battles.REGISTER_VOTER, voter)

    def record_vote(self, vote: VoteRecord) -> VoteOutcome:
        """Store a verdict, or change it within CHANGE_WINDOW of the first one.

        The same `request_id` again changes nothing and gives the vote as it is now. Raises VoteClosed where a
        vote stands, BadWrite for an unknown battle or voter.
        """
        return self.perform(_votes.RECORD_VOTE, vote)

    def withdraw_vote(self, battle_id: UUID, voter_id: UUID, request_id: UUID) -> None:
        """Take a vote back within CHANGE_WINDOW; another may follow. Raises VoteClosed, BadWrite."""
        self.perform(
            _votes.WITHDRAW_VOTE,
            _votes.Withdrawal(battle_id=battle_id, voter_id=voter_id, request_id=request_id),
        )

    def vote(self, battle_id: UUID, voter_id: UUID) -> VoteOutcome | None:
        """A voter's vote on a battle as it is now; None where there is none."""
        return self.perform(_votes.VOTE, _votes.VoteId(battle_id=battle_id, voter_id=voter_id))

    def forget_voter(
        self, voter_id: UUID, *, keep_verdicts: bool = False, dry_run: bool = False
    ) -> Forgotten:
        """Remove a voter, the votes, and the conversations that the voter began, from all but backups.

        A conversation on which others voted, or a judge, keeps who met whom and loses its texts. With
        `keep_verdicts` votes stay and become anonymous. A second time there is nothing left to do; with
        `dry_run` nothing is done at all. Counts change in the same transaction.
        """
        return self.perform(
            _forgetting.FORGET_VOTER,
            _forgetting.ForgetVoter(voter_id=voter_id, keep_verdicts=keep_verdicts, dry_run=dry_run),
        )

    def forget_older(
        self, before: datetime, *, keep_verdicts: bool = False, dry_run: bool = False
    ) -> Forgotten:
        """Do the same with what all voters of this arena gave before a time; imported votes stay."""
        return self.perform(
            _forgetting.FORGET_OLDER,
            _forgetting.ForgetOlder(before=before, keep_verdicts=keep_verdicts, dry_run=dry_run),
        )

    def apply_screening(self, findings: pa.Table) -> ScreeningOutcome:
        """Have exactly these votes out of the ratings as screened: columns `seq` (of the vote) and `reason`
        ("screened:..."). Votes that were screened before and are not among them count again."""
        return self.perform(_screening.APPLY_SCREENING, _screening.ScreeningRun(time=now()), findings)

    # Imports

    def import_comparisons(
        self, record: ImportRecord, batches: Iterable[pa.RecordBatch | pa.Table]
    ) -> ImportOutcome:
        """Add comparisons in bulk, with the columns of `IMPORT_SCHEMA` (ids are UUIDs as text).

        Rows whose id is stored already are skipped and reported as known. Nothing is visible before
        everything is stored; an import that is broken off leaves nothing, and can be run again. `batches` is
        read as it is needed, and not at all when the import `record.id` was completed before. Raises BadWrite
        for rows that cannot be stored and StoreBusy while another import runs.
        """
        with self._importing():
            begun = self.perform(_imports.BEGIN_IMPORT, record)
            if begun.state == "done":
                return ImportOutcome(import_id=begun.id, added=0, known=begun.added + begun.known)
            number, fresh, pace = 0, True, Pace()
            try:
                for number, rows in enumerate(chunks(batches, pace), start=1):
                    fresh = self._stage(record.id, number - 1, rows, fresh, pace)
                return self.perform(
                    _imports.FINISH_IMPORT, _imports.Finish(import_id=record.id, chunks=number)
                )
            except BaseException:
                self._discard(record.id)
                raise

    def imports(self) -> list[StoredImport]:
        """All imports, oldest first."""
        return self.perform(_imports.IMPORTS, Nothing())

    # Everything else

    def query(self, sql: str, params: _select.Params = None) -> pa.Table:
        """The result of one read-only SELECT on a snapshot. Comparisons are best read from the view
        `comparisons`, which leaves out the rows of unfinished imports. Raises BadQuery, StoreBusy."""
        return self._retrying(lambda backend: backend.select(sql, params))

    def check(self) -> list[str]:
        """Problems found in the data, as sentences; empty where everything agrees."""
        return self.perform(_upkeep.CHECK, Nothing())

    def rebuild_pair_counts(self) -> None:
        """Count all comparisons anew."""
        self.perform(_upkeep.REBUILD_PAIR_COUNTS, Nothing())

    def backup(self, path: Path | str) -> None:
        """Copy the database to a new file at `path` while everybody goes on working. Raises BadWrite,
        and StoreBusy where the disk is full; then there is no file."""
        self.perform(_upkeep.BACKUP, _upkeep.BackupTo(path=Path(path).expanduser().absolute()))

    def checkpoint(self) -> bool:
        """Fold the write-ahead log into the database file; false where writers left no gap for it."""
        return self.perform(_upkeep.CHECKPOINT, Nothing())

    # How it is done

    def perform(self, operation: Operation[P, R], payload: P, rows: pa.Table | None = None) -> R:
        """Run one named operation of the catalogue; `rows` travel beside the payload where it takes them.

        The subject modules of this package (`results.store.aliases`, ...) wrap theirs in functions of a store.
        """
        return self._retrying(lambda backend: backend.call(operation, payload, rows))

    def _retrying(self, ask: Callable[[Backend], R]) -> R:
        deadline = time.monotonic() + _RESEND_FOR
        while True:
            backend = self._current()
            try:
                return ask(backend)
            except OwnerGone as gone:
                if time.monotonic() > deadline:
                    raise StoreBusy(
                        f"the store has had no lasting owner for {_RESEND_FOR:.0f} s: {gone}"
                    ) from gone
                self._succeed(backend)
            except StoreClosed:
                # Closed under this call by another thread of ours: `_current` says so.
                self._current()
                raise

    def _stage(self, import_id: UUID, number: int, rows: pa.Table, fresh: bool, pace: Pace) -> bool:
        """Stage a chunk, as fresh if that is hoped for; whether the next one may be fresh."""
        if fresh:
            try:
                chunk = _imports.Chunk(import_id=import_id, number=number, fresh=True)
                began = time.perf_counter()
                staged = self.perform(_imports.STAGE_CHUNK, chunk, rows)
                pace.note(rows.num_rows, time.perf_counter() - began, busy=staged.busy)
                return True
            except KnownRows:
                log.debug("chunk %d of the import %s holds known rows", number, import_id)
        # Others take most of their time to look for known ids: small ones would not be quicker.
        pace.rows = _imports.CHUNK_ROWS
        self.perform(_imports.STAGE_CHUNK, _imports.Chunk(import_id=import_id, number=number), rows)
        return False

    def _current(self) -> Backend:
        if os.getpid() != self._process:
            raise StoreClosed("this store was opened before a fork: open it again in the new process")
        backend = self._backend
        if backend is None:
            raise StoreClosed("this store is closed: open it again")
        return backend

    def _succeed(self, gone: Backend) -> None:
        """Find or become the next owner; of many threads that lost the same one, the first does it for
        all."""
        with self._lock:
            if self._backend is not gone:
                return
            # Other threads may still be reading answers of the owner that was lost just now.
            self._lost, earlier = gone, self._lost
            if earlier is not None:
                earlier.close()
            self._backend = elect(self._files, self._settings, self._timeout)
            became_owner = self._backend.is_owner
        if became_owner:
            self._discard_dead_imports()

    @contextmanager
    def _importing(self) -> Iterator[None]:
        """Hold the lock that says that an import is alive, and remove what dead ones have left."""
        lock = FileLock(self._files.import_lock, timeout=self._timeout, thread_local=False)
        try:
            lock.acquire()
        except Timeout as error:
            running = ", ".join(each.path for each in self.imports() if each.state == "running")
            raise StoreBusy(f"another import is running ({running}). Try again when it is done.") from error
        try:
            self._discard_running()
            yield
        finally:
            lock.release()

    def _discard_dead_imports(self) -> None:
        lock = FileLock(self._files.import_lock, timeout=0, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            return
        try:
            self._discard_running()
        finally:
            lock.release()

    def _discard_running(self) -> None:
        for stored in self.imports():
            if stored.state == "running":
                log.info("removing what an unfinished import of %s has left", stored.path)
                self._discard(stored.id)

    def _discard(self, import_id: UUID) -> None:
        try:
            while not self.perform(_imports.DISCARD_IMPORT, _imports.ImportId(import_id=import_id)):
                pass
        except StoreError as error:
            # Its rows are invisible; the next import or the next owner tries again.
            log.warning("the unfinished import %s could not be removed yet: %s", import_id, error)
