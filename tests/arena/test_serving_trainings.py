"""`arena serve` looks after the queue of trainings: what finished takes part, what died is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from arena.cli._serving import look_after_trainings
from arena.engines.spec import ModelSpec
from arena.roster import Roster, enter
from results.ids import new_id
from results.store import Store, open_store
from results.store.jobs import Claim, Ending, JobRecord, add_job, claim_job, end_job, job


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "data") as opened:
        yield opened


@asynccontextmanager
async def looked_after(store: Store, roster: Roster) -> AsyncIterator[None]:
    task = asyncio.create_task(look_after_trainings(store, roster, every=0.05))
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.05)


async def test_a_model_takes_part_once_its_training_is_done(store: Store) -> None:
    roster = Roster([])
    record = JobRecord(id=new_id(), name="student", recipe={})
    async with looked_after(store, roster):
        await asyncio.sleep(0.2)
        spec = ModelSpec(name="student", kind="openai", source="x", base_url="http://127.0.0.1:9/v1")
        # Not as a training would do it, step by step: what is looked at is the end alone.
        await asyncio.to_thread(enter, store, spec, store.data_dir)
        add_job(store, record)
        claim_job(store, Claim(id=record.id, pid=1, process_start=0.0))
        end_job(store, Ending(id=record.id, pid=1, state="done"))
        await until(lambda: roster.available() == ["student"])


async def test_a_training_whose_process_is_gone_is_told(store: Store) -> None:
    record = JobRecord(id=new_id(), name="gone", recipe={})
    add_job(store, record)
    claim_job(store, Claim(id=record.id, pid=2**22 - 1, process_start=1.0))
    async with looked_after(store, Roster([])):
        await until(lambda: (found := job(store, record.id)) is not None and found.state == "failed")
    found = job(store, record.id)
    assert found is not None
    assert found.error_kind == "interrupted"
