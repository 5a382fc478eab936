"""A training that is killed, or stopped, goes on from its last whole checkpoint, to the very same weights."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from arena.engines.spec import ModelSpec
from arena.roster import enter, find
from results.store import Store, open_store
from results.store.jobs import StoredJob
from trainers.datasets import add_dataset
from trainers.jobs import advance, cancel, enqueue, find_job, follow, job_folder, metrics, resume
from trainers.recipes import make_recipe

pytestmark = pytest.mark.faults

STEPS = 20


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "data") as opened:
        yield opened


def ready(store: Store, model: Path, tmp_path: Path) -> None:
    enter(store, ModelSpec(name="tiny", source=str(model), licence="apache-2.0"), store.data_dir)
    file = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"{n} 더하기 1은?", "response": f"답은 {n + 1}"} for n in range(60)]
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    add_dataset(store, file, "rows", licence="mit", held_out_share=0.2)


def queued(store: Store, name: str) -> StoredJob:
    return enqueue(
        store,
        make_recipe(
            {
                "name": name,
                "base": "tiny",
                "dataset": "rows",
                "lora": {"rank": 2, "dropout": 0.1},
                "optimiser": {"max_steps": STEPS, "batch_size": 2, "gradient_accumulation": 1},
                "evaluation": {"every_steps": 10, "rows": 4},
                "checkpoint_every": 10,
                "checkpoints_kept": 10,
            }
        ),
    )


def end_of(store: Store, job: StoredJob) -> StoredJob:
    return list(follow(store, job.id, every=0.2))[-1]


def started(store: Store, job: StoredJob, step: int) -> StoredJob:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        now = next(each for each in advance(store) if each.id == job.id)
        if (job_folder(store.data_dir, job.id) / "checkpoints" / f"checkpoint-{step}" / ".complete").exists():
            return now
        assert now.state in ("queued", "running"), now.error
        time.sleep(0.05)
    raise AssertionError("the training did not come to its first checkpoint")


def until(store: Store, job: StoredJob, *states: str) -> StoredJob:
    """The job as soon as it is in one of these states; looks after the queue meanwhile."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        now = next(each for each in advance(store) if each.id == job.id)
        if now.state in states:
            return now
        time.sleep(0.05)
    raise AssertionError(f"{job.name} did not become {states}")


@pytest.mark.timeout(280)
def test_killed_cancelled_and_resumed_it_ends_in_the_very_same_weights(
    store: Store, tiny_model: Path, tmp_path: Path
) -> None:
    ready(store, tiny_model, tmp_path)
    job, next_one, third = queued(store, "killed"), queued(store, "whole"), queued(store, "third")
    for _ in range(3):  # the first process has not claimed its job yet: none may overtake it
        advance(store)
    marks = [(job_folder(store.data_dir, each.id) / "started").exists() for each in (job, next_one, third)]
    assert marks == [True, False, False]
    running = started(store, job, 10)
    assert find_job(store, "whole").state == "queued"
    assert cancel(store, third.id).state == "cancelled"
    assert running.pid is not None
    os.kill(running.pid, signal.SIGKILL)
    dead = until(store, job, "failed")
    assert dead.error_kind == "interrupted"
    assert "arena train resume" in str(dead.error)
    broken = job_folder(store.data_dir, job.id) / "checkpoints" / "checkpoint-999"
    broken.mkdir()

    # The next one started by itself, runs from its beginning to its end, and is what the other is compared with.
    whole = end_of(store, next_one)
    assert (whole.state, whole.attempt) == ("done", 1), whole.error
    resume(store, job.id)
    until(store, job, "running")
    cancel(store, job.id)
    stopped = end_of(store, job)
    assert (stopped.state, stopped.attempt) == ("cancelled", 2)
    assert not broken.exists()
    kept = (job_folder(store.data_dir, job.id) / "checkpoints").glob("checkpoint-*/.complete")
    assert 10 < max(int(each.parent.name.rpartition("-")[2]) for each in kept) < STEPS
    resume(store, job.id)
    done = end_of(store, job)
    assert (done.state, done.attempt) == ("done", 3), done.error

    weights = [Path(each.result["artifact"]) / "adapter_model.safetensors" for each in (done, whole)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert done.result["held_out_after"] == whole.result["held_out_after"]
    assert done.result["tokens"] == whole.result["tokens"] > 0
    told = metrics(store.data_dir, job.id)
    assert done.result["seconds"] >= told[STEPS - 1]["seconds"] > told[0]["seconds"] > 0
    assert [row["step"] for row in told if "loss" in row] == list(range(1, STEPS + 1))

    trained = find(store, "killed")
    assert trained.spec.parent == "tiny@1"
    assert trained.spec.data_licences == ("mit",)
    assert trained.spec.adapter == done.result["artifact"]
