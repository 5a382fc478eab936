"""`arena db audit`: every change that a person makes leaves one row, and asking twice leaves no second one."""

from __future__ import annotations

import json
from pathlib import Path

from results.ids import new_id
from results.store import open_store
from results.store.datasets import DatasetRecord, add_dataset_version, remove_dataset
from results.store.jobs import JobRecord, add_job, ask_to_cancel, queue_again
from results.store.tokens import TokenRecord, add_token, revoke_token
from tests.arena.conftest import Arena


def test_changes_are_listed_newest_first_and_once(arena: Arena, tmp_path: Path) -> None:
    data = tmp_path / "data"
    token = TokenRecord(id=new_id(), name="노트북", secret_sha256="0" * 64)
    job = JobRecord(id=new_id(), name="첫 학습", recipe={})
    rows = DatasetRecord(name="우리말", digest="d", kind="chat", row_count=3, held_out_count=0)
    with open_store(data) as store:
        for _ in range(2):
            add_token(store, token)
            add_dataset_version(store, rows)
            add_job(store, job)
        for _ in range(2):
            ask_to_cancel(store, job.id)
        for _ in range(2):
            queue_again(store, job.id)
        for _ in range(2):
            remove_dataset(store, "우리말")
            revoke_token(store, token.id)
        add_dataset_version(store, rows)
    done = arena("db", "audit", "--json", "--data", data)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [each["action"] for each in reversed(told)] == [
        "token create", "dataset add", "job add", "job cancel", "job requeue", "dataset remove", "token revoke",
        "dataset add",
    ]  # fmt: skip
    assert told[1]["before"] == {"token": "노트북"}
    assert "0" * 64 not in done.stdout, "no hash of a secret"
    shown = arena("db", "audit", "--limit", "2", "--data", data)
    assert "우리말" in shown.stdout
    assert "job add" not in shown.stdout
