"""The queue of trainings: what waits, what runs in a process of its own, and what became of it.

Whoever looks after the queue (`arena serve`, or the command that follows a job) calls `advance` now and then; several
may do so at once. A job outlives them all.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil

from results.ids import new_id
from results.store import Store
from results.store.jobs import (
    FINISHED,
    Ending,
    JobRecord,
    StoredJob,
    add_job,
    ask_to_cancel,
    end_job,
    jobs,
    queue_again,
)
from trainers.plan import TrainingPlan, make_plan
from trainers.recipes import Recipe

log = logging.getLogger(__name__)

_START_GRACE = 60.0


class UnknownJob(LookupError):
    """There is no such job. The message says which there are."""


def job_folder(data_dir: Path, job_id: UUID) -> Path:
    """Where everything of a job lies: log, metrics, checkpoints, artifact."""
    return data_dir.resolve() / "jobs" / str(job_id)


def concurrent_jobs() -> int:
    """How many trainings may run at once on this machine: one, unless ARENA_TRAINING_JOBS says otherwise."""
    try:
        return max(1, int(os.environ.get("ARENA_TRAINING_JOBS", "1")))
    except ValueError:
        return 1


def began(pid: int) -> float | None:
    """When a process began, seconds since the epoch; None where there is none (or only its remains)."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None


def enqueue(store: Store, recipe: Recipe) -> StoredJob:
    """Check a recipe against what is there, and put it into the queue. Raises `CannotPlan`."""
    plan = make_plan(store, store.data_dir, recipe)
    record = JobRecord(id=new_id(), name=recipe.name, recipe=plan.model_dump(mode="json"))
    folder = job_folder(store.data_dir, record.id)
    folder.mkdir(parents=True, exist_ok=True)
    return add_job(store, record)


def plan_of(job: StoredJob) -> TrainingPlan:
    """What the job does."""
    return TrainingPlan.model_validate(job.recipe)


def advance(store: Store) -> list[StoredJob]:
    """Give up jobs whose process has died, and start the next one where there is room; all jobs as they are now."""
    for running in (each for each in jobs(store) if each.state == "running"):
        if not _lives(running):
            end_job(store, _interrupted(store.data_dir, running))
    now = jobs(store)
    running_count = sum(each.state == "running" for each in now)
    queued = [each for each in now if each.state == "queued"]
    waiting = [each for each in queued if not _just_started(store.data_dir, each)]
    # A process that is on its way has its place already: else a later job could overtake it.
    taken = running_count + len(queued) - len(waiting)
    for next_job in waiting[: max(0, concurrent_jobs() - taken)]:
        start(store.data_dir, next_job)
    return now


KEEPS_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}
"""Environment in which glibc keeps freed memory for the next step. Left to itself it gives most of it back, and getting
it anew, page by page, takes a tenth of a CPU training's time. Elsewhere these say nothing."""


def start(data_dir: Path, job: StoredJob) -> subprocess.Popen[bytes]:
    """Start the process of a queued job, apart from this one; it claims the job itself, so two at once do no harm."""
    folder = job_folder(data_dir, job.id)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "started").touch()
    module = ["trainers.methods.run", str(data_dir.resolve()), str(job.id)]
    processes = plan_of(job).recipe.processes
    if processes > 1:
        # Not `accelerate launch --cpu`, which silently runs one process.
        command = [
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc_per_node",
            str(processes),
            "-m",
            *module,
        ]
    else:
        command = ["-m", *module]
    with (folder / "output.log").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={
                **KEEPS_MEMORY,
                **_threads(processes),
                **os.environ,
                "TOKENIZERS_PARALLELISM": "false",
                "HF_HUB_OFFLINE": "1",
            },
        )


def _threads(processes: int) -> dict[str, str]:
    """torchrun would give each process one thread, however many cores there are."""
    return {} if processes == 1 else {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // processes))}


def cancel(store: Store, job_id: UUID) -> StoredJob:
    """Stop a job: at once where it waits, with a checkpoint at its next step where it runs."""
    asked = ask_to_cancel(store, job_id)
    if asked.state == "running":
        (job_folder(store.data_dir, job_id) / "cancel").touch()
    return asked


def resume(store: Store, job_id: UUID) -> StoredJob:
    """Queue a failed or cancelled job again; it goes on from its last whole checkpoint."""
    folder = job_folder(store.data_dir, job_id)
    for mark in ("cancel", "started"):
        (folder / mark).unlink(missing_ok=True)
    return queue_again(store, job_id)


def find_job(store: Store, reference: str) -> StoredJob:
    """The job of an id (or how it begins), or the newest of a name. Raises `UnknownJob`."""
    found = jobs(store)
    by_id = [each for each in found if str(each.id).startswith(reference)] if len(reference) >= 6 else []
    matches = by_id or [each for each in found if each.name == reference]
    if not matches:
        names = ", ".join(sorted({each.name for each in found})) or "none yet"
        raise UnknownJob(f"there is no training '{reference}' (known: {names})")
    if len(by_id) > 1:
        raise UnknownJob(f"'{reference}' begins {len(by_id)} ids of trainings: write more of it")
    return matches[-1]


def follow(store: Store, job_id: UUID, every: float = 1.0) -> Iterator[StoredJob]:
    """The job as it changes, until it has ended; looks after the queue meanwhile."""
    while True:
        current = next((each for each in advance(store) if each.id == job_id), None)
        if current is None:
            raise UnknownJob(f"there is no training {job_id}")
        yield current
        if current.state in FINISHED:
            return
        time.sleep(every)


def metrics(data_dir: Path, job_id: UUID) -> list[dict[str, Any]]:
    """What was measured at each step, in order; a line that is being written is left out."""
    path = job_folder(data_dir, job_id) / "metrics.jsonl"
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").split("\n"):
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    # A step tells in several lines; and after a resume steps are done again: the later figures stand.
    by_step: dict[int, dict[str, Any]] = {}
    for row in rows:
        by_step.setdefault(row["step"], {}).update(row)
    return list(by_step.values())


def log_text(data_dir: Path, job_id: UUID, last: int = 20_000) -> str:
    """The end of the log of a job, at most `last` characters."""
    folder = job_folder(data_dir, job_id)
    for name in ("training.log", "output.log"):
        path = folder / name
        if path.exists() and path.stat().st_size:
            return path.read_text(encoding="utf-8", errors="replace")[-last:]
    return ""


def _lives(job: StoredJob) -> bool:
    return job.pid is not None and began(job.pid) == job.process_start


def _just_started(data_dir: Path, job: StoredJob) -> bool:
    """Whether somebody has just started a process for it, which has not claimed it yet."""
    mark = job_folder(data_dir, job.id) / "started"
    try:
        return time.time() - mark.stat().st_mtime < _START_GRACE
    except FileNotFoundError:
        return False


def _interrupted(data_dir: Path, job: StoredJob) -> Ending:
    log.warning("the process of training %s (%s) is gone", job.name, job.id)
    tail = log_text(data_dir, job.id, 300).strip().rpartition("\n")[2]
    return Ending(
        id=job.id,
        pid=job.pid,
        state="failed",
        error_kind="interrupted",
        error=(
            "its process ended without a word: killed by somebody, or by the system for want of memory (then lower "
            f"optimiser.batch_size or max_length). `arena train resume` goes on from the last checkpoint. Last log "
            f"line: {tail or 'none'}"
        ),
    )
