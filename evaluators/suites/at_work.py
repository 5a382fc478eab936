"""Which runs are going on: one process at a time works on a plan, and holds a lock that ends with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from evaluators.suites.errors import SuiteError
from results.store import Store
from results.store.suites import RunState, StoredSuiteRun

_A_LOOK = 1.0
"""Seconds to wait for somebody who only looks whether a run is going on."""


@contextmanager
def alone(data_dir: Path, plan_hash: str) -> Iterator[None]:
    """Hold a plan. The kernel frees it when the process dies. Raises SuiteError where another process has it."""
    lock = _lock(data_dir, plan_hash)
    try:
        lock.acquire(timeout=_A_LOOK)
    except Timeout:
        raise SuiteError(
            "another process is at work on exactly this run: watch it with `arena bench show last`"
        ) from None
    try:
        yield
    finally:
        lock.release()


def state_of(store: Store, run: StoredSuiteRun) -> RunState | Literal["interrupted"]:
    """A run's state; "interrupted" where it is said to be running and no process works on it (any more)."""
    if run.state != "running":
        return run.state
    lock = _lock(store.data_dir, run.plan_hash)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return "running"
    lock.release()
    return "interrupted"


def _lock(data_dir: Path, plan_hash: str) -> FileLock:
    folder = data_dir / "run"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return FileLock(folder / f"bench-{plan_hash[:16]}.lock", thread_local=False)
