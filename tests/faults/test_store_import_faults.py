"""Imports beside live votes, and imports that are killed or lose their owner."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from results.ids import new_id
from results.records import BattleRecord, ModelVersionRecord, VoteRecord, VoterRecord
from results.store import CHUNK_ROWS, Store, open_store

pytestmark = pytest.mark.faults

ROOT = Path(__file__).parents[2]
IMPORTER = Path(__file__).with_name("store_importer.py")
TABLES = ("votes", "battles", "items", "voters", "imports")


def start_import(data: Path, rows: int, batches: int, pause: float = 0) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(IMPORTER), str(data), str(rows), str(batches), str(pause)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def outcome(process: subprocess.Popen[str]) -> dict[str, int]:
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return json.loads(printed.splitlines()[-1])


def await_batches(process: subprocess.Popen[str], count: int) -> None:
    assert process.stdout is not None
    for _ in range(count):
        assert process.stdout.readline() == "batch\n"


def count(store: Store, table: str) -> int:
    return int(store.query(f"SELECT count(*) AS n FROM {table}").to_pylist()[0]["n"])


class Voter:
    """Votes in this process, one vote after another, and times each."""

    def __init__(self, store: Store) -> None:
        self.store = store
        first, second = store.upsert_model_versions(
            [ModelVersionRecord(model="가람", digest="1"), ModelVersionRecord(model="나래", digest="1")]
        )
        self.versions = first.version_key, second.version_key
        self.voter = new_id()
        store.register_voter(VoterRecord(id=self.voter))

    def vote(self) -> float:
        battle = BattleRecord(id=new_id(), version_a=self.versions[0], version_b=self.versions[1])
        self.store.create_battle(battle)
        start = time.perf_counter()
        self.store.record_vote(
            VoteRecord(battle_id=battle.id, voter_id=self.voter, request_id=new_id(), verdict="a")
        )
        return time.perf_counter() - start


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "data") as store:
        yield store


def test_votes_flow_while_an_import_runs(store: Store) -> None:
    """A vote may wait for one chunk; it never waits for the import. All figures are ratios within this run."""
    voter = Voter(store)
    chunks = 15
    importer = start_import(store.data_dir, CHUNK_ROWS, chunks)
    await_batches(importer, 1)
    start, during = time.perf_counter(), []
    while importer.poll() is None:
        during.append(voter.vote())
    took = time.perf_counter() - start
    assert outcome(importer)["added"] == chunks * CHUNK_ROWS
    during.sort()
    p99 = during[int(len(during) * 0.99)]
    print(
        f"{len(during)} votes during {took:.1f} s, p99 {p99 * 1000:.0f} ms, {p99 / (took / chunks):.2f} chunks"
    )
    assert len(during) >= 2 * chunks, "votes keep flowing"
    assert p99 < 3 * took / chunks, "a vote waits for a chunk or two, not for the import"
    assert store.check() == []
    assert count(store, "comparisons") == chunks * CHUNK_ROWS + len(during)


def test_an_import_killed_in_the_middle_leaves_nothing(store: Store) -> None:
    voter = Voter(store)
    voter.vote()
    before = {table: count(store, table) for table in TABLES}
    importer = start_import(store.data_dir, CHUNK_ROWS, 4, pause=0.2)
    await_batches(importer, 3)
    importer.kill()
    importer.communicate()
    assert count(store, "votes") > before["votes"], "it was killed in the middle"
    assert count(store, "comparisons") == 1
    assert store.check() == []
    done = outcome(start_import(store.data_dir, CHUNK_ROWS, 4))
    assert (done["added"], done["known"]) == (4 * CHUNK_ROWS, 0)
    assert count(store, "comparisons") == 4 * CHUNK_ROWS + 1
    sequence = store.query(
        "SELECT id FROM comparisons WHERE import_id IS NOT NULL ORDER BY seq LIMIT 3"
    ).to_pylist()
    in_time = store.query(
        "SELECT id FROM comparisons WHERE import_id IS NOT NULL ORDER BY time LIMIT 3"
    ).to_pylist()
    assert sequence == in_time
    assert store.check() == []


def test_the_next_owner_removes_what_a_dead_one_was_importing(tmp_path: Path) -> None:
    importer = start_import(tmp_path, CHUNK_ROWS, 4, pause=0.2)
    await_batches(importer, 3)
    importer.kill()
    importer.communicate()
    with open_store(tmp_path) as store:
        assert {table: count(store, table) for table in TABLES} == dict.fromkeys(TABLES, 0)
        assert store.check() == []


def test_an_import_goes_on_when_the_owner_is_killed(tmp_path: Path) -> None:
    """The importing process is a client; the owner dies between chunks; a vote of before and all rows are there."""
    code = (
        "import sys, time; from pathlib import Path; from results.store import open_store\n"
        "sys.path.insert(0, sys.argv[2]); from test_store_import_faults import Voter\n"
        "store = open_store(Path(sys.argv[1])); Voter(store).vote(); print('owner', flush=True); time.sleep(600)"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parent)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert owner.stdout is not None
    assert owner.stdout.readline() == "owner\n"
    importer = start_import(tmp_path, CHUNK_ROWS, 6, pause=0.1)
    await_batches(importer, 3)
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait(20)
    owner.stdout.close()
    done = outcome(importer)
    assert (done["added"], done["known"]) == (6 * CHUNK_ROWS, 0)
    with open_store(tmp_path) as store:
        assert count(store, "comparisons") == 6 * CHUNK_ROWS + 1
        assert store.imports()[0].state == "done"
        assert store.check() == []


def test_two_threads_import_and_vote_through_one_store(store: Store) -> None:
    """An import inside the owner's own process, as `arena serve` may do it."""
    voter, stop, errors = Voter(store), threading.Event(), []

    def vote() -> None:
        try:
            while not stop.is_set():
                voter.vote()
        except Exception as error:  # noqa: BLE001 - shown by the assertion below
            errors.append(error)

    thread = threading.Thread(target=vote)
    thread.start()
    done = outcome(start_import(store.data_dir, 1000, 10))
    again = outcome(start_import(store.data_dir, 1000, 10))
    stop.set()
    thread.join()
    assert errors == []
    assert (done["added"], again["added"], again["known"]) == (10_000, 0, 10_000)
    assert UUID(str(again["import_id"])) == store.imports()[0].id
    assert store.check() == []
