"""The queue of training jobs. A job belongs to the process that claims it; what that process tells lies here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from pydantic import Field

from results.records import Record, UtcTime, now
from results.store._audit import note
from results.store._operations import Nothing, Operation
from results.store._transaction import Transaction
from results.store.errors import BadWrite

if TYPE_CHECKING:  # the store itself imports the catalogue of operations
    from results.store import Store

JobState = Literal["queued", "running", "done", "failed", "cancelled"]

FINISHED: tuple[JobState, ...] = ("done", "failed", "cancelled")


class JobRecord(Record):
    """A job to be queued. `recipe` is the whole plan, with everything it names resolved."""

    id: UUID
    name: str = Field(min_length=1)
    recipe: dict[str, Any]
    created_at: UtcTime = Field(default_factory=now)


class StoredJob(JobRecord):
    """A job as the store knows it. `pid` and `process_start` (seconds since the epoch) name the process that works on
    it, `attempt` counts how often one began; `progress` is what it told last, `result` what came out."""

    state: JobState
    cancel_asked: bool
    pid: int | None
    process_start: float | None
    attempt: int
    progress: dict[str, Any]
    result: dict[str, Any]
    error_kind: str | None
    error: str | None
    started_at: UtcTime | None
    finished_at: UtcTime | None


class JobId(Record):
    """Which job."""

    id: UUID


class Claim(Record):
    """A process that wants to run a job; at most `limit` may run at once."""

    id: UUID
    pid: int
    process_start: float
    limit: int = Field(default=1, ge=1)


class Progress(Record):
    """What the process that runs a job tells of it."""

    id: UUID
    pid: int
    progress: dict[str, Any]


class Ending(Record):
    """How a job ended. Only a running job ends (or, with `pid` null, a queued one that was cancelled); with `pid`
    only the process that runs it may say so."""

    id: UUID
    pid: int | None
    state: Literal["done", "failed", "cancelled"]
    result: dict[str, Any] = Field(default_factory=dict)
    error_kind: str | None = None
    error: str | None = None


def add_job(store: Store, job: JobRecord) -> StoredJob:
    """Put a job at the end of the queue; the same id again changes nothing."""
    return store.perform(ADD_JOB, job)


def jobs(store: Store) -> list[StoredJob]:
    """All jobs, the oldest first."""
    return store.perform(LIST_JOBS, Nothing())


def job(store: Store, job_id: UUID) -> StoredJob | None:
    """One job."""
    return store.perform(GET_JOB, JobId(id=job_id))


def claim_job(store: Store, claim: Claim) -> bool:
    """Take a queued job to run it. False where it is not queued any more, or others run already; true again for the
    process that holds it."""
    return store.perform(CLAIM_JOB, claim)


def tell_progress(store: Store, progress: Progress) -> bool:
    """Keep what the running process tells; the answer says whether the job was asked to stop."""
    return store.perform(TELL_PROGRESS, progress)


def end_job(store: Store, ending: Ending) -> StoredJob:
    """Say how a job ended; one that has ended stays as it is."""
    return store.perform(END_JOB, ending)


def ask_to_cancel(store: Store, job_id: UUID) -> StoredJob:
    """Ask a job to stop: a queued one is cancelled at once, a running one at its next step."""
    return store.perform(CANCEL_JOB, JobId(id=job_id))


def queue_again(store: Store, job_id: UUID) -> StoredJob:
    """Put a failed or cancelled job back into the queue, to go on from its last checkpoint."""
    return store.perform(REQUEUE_JOB, JobId(id=job_id))


_COLUMNS = (
    "id, name, recipe, state, cancel_asked, pid, process_start, attempt, progress, result, error_kind, error, "
    "created_at, started_at, finished_at"
)


def _one(tx: Transaction, job_id: UUID) -> StoredJob | None:
    row = tx.row(f"SELECT {_COLUMNS} FROM jobs WHERE id = ?", job_id)  # noqa: S608
    return None if row is None else _stored(row)


def _known(tx: Transaction, job_id: UUID) -> StoredJob:
    found = _one(tx, job_id)
    if found is None:
        raise BadWrite(f"there is no job {job_id}")
    return found


def _stored(row: tuple[Any, ...]) -> StoredJob:
    values = dict(zip(_COLUMNS.split(", "), row, strict=True))
    for name in ("recipe", "progress", "result"):
        values[name] = json.loads(values[name])
    return StoredJob.model_validate(values)


def _add(tx: Transaction, new: JobRecord) -> StoredJob:
    found = _one(tx, new.id)
    if found is not None:
        return found
    tx.insert(
        "jobs",
        {
            "id": new.id,
            "name": new.name,
            "recipe": _text(new.recipe),
            "state": "queued",
            "created_at": new.created_at,
        },
    )
    note(tx, "job add", new.id, {}, {"job": new.name})
    return _known(tx, new.id)


def _list(tx: Transaction, payload: Nothing) -> list[StoredJob]:
    return [_stored(row) for row in tx.rows(f"SELECT {_COLUMNS} FROM jobs ORDER BY created_at, id")]  # noqa: S608


def _get(tx: Transaction, which: JobId) -> StoredJob | None:
    return _one(tx, which.id)


def _claim(tx: Transaction, claim: Claim) -> bool:
    found = _known(tx, claim.id)
    if found.state == "running":
        return found.pid == claim.pid and found.process_start == claim.process_start
    running = tx.row("SELECT count(*) FROM jobs WHERE state = 'running'")
    if found.state != "queued" or (running and running[0] >= claim.limit):
        return False
    tx.write(
        "UPDATE jobs SET state = 'running', pid = ?, process_start = ?, attempt = attempt + 1, started_at = ?, "
        "finished_at = NULL, error = NULL, error_kind = NULL WHERE id = ?",
        claim.pid, claim.process_start, now(), claim.id,
    )  # fmt: skip
    return True


def _tell(tx: Transaction, told: Progress) -> bool:
    tx.write(
        "UPDATE jobs SET progress = ? WHERE id = ? AND state = 'running' AND pid = ?",
        _text(told.progress), told.id, told.pid,
    )  # fmt: skip
    return _known(tx, told.id).cancel_asked


def _end(tx: Transaction, ending: Ending) -> StoredJob:
    found = _known(tx, ending.id)
    if found.state in FINISHED or (ending.pid is not None and found.pid != ending.pid):
        return found
    tx.write(
        "UPDATE jobs SET state = ?, result = ?, error_kind = ?, error = ?, finished_at = ?, pid = NULL WHERE id = ?",
        ending.state, _text(ending.result), ending.error_kind, ending.error, now(), ending.id,
    )  # fmt: skip
    return _known(tx, ending.id)


def _cancel(tx: Transaction, which: JobId) -> StoredJob:
    found = _known(tx, which.id)
    if found.state == "queued":
        tx.write("UPDATE jobs SET state = 'cancelled', finished_at = ? WHERE id = ?", now(), which.id)
    elif found.state == "running":
        tx.write("UPDATE jobs SET cancel_asked = true WHERE id = ?", which.id)
    if found.state == "queued" or (found.state == "running" and not found.cancel_asked):
        note(tx, "job cancel", which.id, {"job": found.name, "state": found.state}, {})
    return _known(tx, which.id)


def _requeue(tx: Transaction, which: JobId) -> StoredJob:
    found = _known(tx, which.id)
    if found.state in ("failed", "cancelled"):
        tx.write(
            "UPDATE jobs SET state = 'queued', cancel_asked = false, pid = NULL, finished_at = NULL WHERE id = ?",
            which.id,
        )
        note(tx, "job requeue", which.id, {"job": found.name, "state": found.state}, {"state": "queued"})
    return _known(tx, which.id)


def _text(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


ADD_JOB = Operation("add_job", JobRecord, StoredJob, _add)
LIST_JOBS = Operation("jobs", Nothing, list[StoredJob], _list, kind="read")
GET_JOB: Operation[JobId, StoredJob | None] = Operation("job", JobId, StoredJob | None, _get, kind="read")
CLAIM_JOB = Operation("claim_job", Claim, bool, _claim)
TELL_PROGRESS = Operation("tell_job_progress", Progress, bool, _tell)
END_JOB = Operation("end_job", Ending, StoredJob, _end)
CANCEL_JOB = Operation("cancel_job", JobId, StoredJob, _cancel)
REQUEUE_JOB = Operation("requeue_job", JobId, StoredJob, _requeue)
