"""Votes are not kept waiting by a leaderboard that is computed all the time and by a bulk import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import numpy as np
import pyarrow as pa
import pytest

from results.ids import new_id
from results.leaderboard import BoardQuery, rate
from results.records import BattleRecord, ImportRecord, ModelVersionRecord, VoteRecord, VoterRecord
from results.store import Store, open_store

MODELS = 200
START = 1_700_000_000_000_000


def rows(keys: list[int], first: int, count: int) -> pa.Table:
    """Imported votes among many models, each on a battle of its own."""
    numbers = np.arange(first, first + count)
    rng = np.random.default_rng(first)
    a = rng.integers(0, len(keys), count)
    b = (a + rng.integers(1, len(keys), count)) % len(keys)
    of = np.array(keys)
    return pa.table(
        {
            "id": [f"{n:08x}-0000-5000-8000-000000000000" for n in numbers.tolist()],
            "battle_id": [f"{n:08x}-0000-5000-9000-000000000000" for n in numbers.tolist()],
            "version_a": pa.array(of[a], pa.int32()),
            "version_b": pa.array(of[b], pa.int32()),
            "verdict": np.array(["a", "tie", "b"])[rng.integers(0, 3, count)],
            "time": pa.array(START + numbers * 1_000_000, pa.timestamp("us")),
            "category": [""] * count,
            "language": [""] * count,
        }
    )


def bulk(store: Store, keys: list[int], first: int, count: int) -> None:
    record = ImportRecord(id=new_id(), path="made up", source="human")
    step = 100_000
    store.import_comparisons(
        record, (rows(keys, n, min(step, first + count - n)) for n in range(first, first + count, step))
    )


def vote(store: Store, keys: list[int], voter: UUID, count: int) -> np.ndarray:
    """Seconds that each of `count` votes took, each on a new battle; 20 ms pass between two."""
    took = []
    for n in range(count):
        battle = BattleRecord(id=new_id(), version_a=keys[n % len(keys)], version_b=keys[(n + 1) % len(keys)])
        store.create_battle(battle)
        began = time.perf_counter()
        store.record_vote(VoteRecord(battle_id=battle.id, voter_id=voter, request_id=new_id(), verdict="a"))
        took.append(time.perf_counter() - began)
        time.sleep(0.02)
    return np.array(took)


IMPORTER = """
import json, sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
from results.store import open_store
from test_store_vote_latency import bulk
keys, first, count = json.loads(sys.argv[4])
with open_store(Path(sys.argv[3])) as store:
    assert not store.is_owner
    for line in sys.stdin:
        bulk(store, keys, first, count)
        first += count
        print("done", flush=True)
"""


@contextmanager
def busy(store: Store, keys: list[int], first: int, count: int) -> Iterator[dict[str, int]]:
    """A leaderboard from all comparisons, over and over, in the process that owns the store, and an import of `count`
    rows, over and over, from another one, as `arena votes import` beside `arena serve`."""
    stop, done, failures = threading.Event(), {"boards": 0, "imports": 0}, []
    here = Path(__file__)
    command = [sys.executable, "-c", IMPORTER, str(here.parent), str(here.parents[3]), str(store.data_dir)]
    importer = subprocess.Popen(
        [*command, json.dumps([keys, first, count])], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    everything = BoardQuery(since=datetime(1970, 1, 1, tzinfo=UTC))

    def boards() -> None:
        while not stop.is_set():
            rate(store, everything)
            done["boards"] += 1

    def imports() -> None:
        assert importer.stdin is not None
        assert importer.stdout is not None
        while not stop.is_set():
            importer.stdin.write("go\n")
            importer.stdin.flush()
            assert importer.stdout.readline() == "done\n", "the importer died"
            done["imports"] += 1
        importer.stdin.close()
        assert importer.wait(120) == 0

    def run(work: object) -> None:
        try:
            work()  # type: ignore[operator]
        except Exception as error:  # noqa: BLE001 - told to the test below
            failures.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in (boards, imports)]
    for thread in threads:
        thread.start()
    try:
        yield done
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        importer.kill()
        importer.wait()
        for pipe in (importer.stdin, importer.stdout):
            assert pipe is not None
            pipe.close()
    assert failures == []


def running(store: Store) -> bool:
    """Whether an import runs."""
    return store.query("SELECT 1 FROM imports WHERE state = 'running'").num_rows > 0


def furnished(store: Store, votes: int) -> tuple[list[int], UUID]:
    keys = [
        ref.version_key
        for ref in store.upsert_model_versions(
            [ModelVersionRecord(model=f"model-{n:03}", digest="1") for n in range(MODELS)]
        )
    ]
    voter = VoterRecord(id=new_id())
    store.register_voter(voter)
    if store.query("SELECT count(*) AS n FROM votes")["n"][0].as_py() < votes:
        bulk(store, keys, 0, votes)
    return keys, voter.id


def test_votes_go_on_between_the_chunks_of_an_import(tmp_path: Path) -> None:
    with open_store(tmp_path / "data") as store:
        keys, voter = furnished(store, 10_000)
        with busy(store, keys, 1_000_000, 20_000) as done:
            while not done["boards"] or not running(store):
                time.sleep(0.01)
            vote(store, keys, voter, 25)
            boards, imports = done["boards"], done["imports"]
        assert boards > 0, "the leaderboard went on as well"
        counted = store.query("SELECT count(*) AS n FROM comparisons WHERE voter = ?", [voter])
        assert counted["n"][0].as_py() == 25
        # No vote waits for a whole import: many are stored in the time that an import takes.
        assert imports < 25
        assert store.check() == []


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_votes_beside_ten_million_others(tmp_path: Path) -> None:
    """Prints what docs/evidence/vote-latency.txt holds. PALAESTRA_LATENCY_DATA names a store that has the votes."""
    count = int(os.environ.get("PALAESTRA_LATENCY_VOTES", "10000000"))
    given = os.environ.get("PALAESTRA_LATENCY_DATA")
    with open_store(Path(given) if given else tmp_path / "data") as store:
        keys, voter = furnished(store, count)
        vote(store, keys, voter, 20)
        idle = vote(store, keys, voter, 300)
        with busy(store, keys, 0x40000000, 200_000) as done:
            while not done["boards"] or not running(store):
                time.sleep(0.01)
            time.sleep(2)
            loaded = vote(store, keys, voter, 300)
        ratio = np.quantile(loaded, 0.99) / np.quantile(idle, 0.99)
        print(
            f"\n{count:,} votes, {MODELS} models; meanwhile {done['boards']} leaderboards from all rows, "
            f"{done['imports']} imports of 200,000 rows"
        )
        for name, seconds in (("idle", idle), ("loaded", loaded)):
            p50, p95, p99 = 1000 * np.quantile(seconds, [0.5, 0.95, 0.99])
            print(
                f"{name:>7}: p50 {p50:.1f} ms, p95 {p95:.1f} ms, p99 {p99:.1f} ms, most {1000 * seconds.max():.1f} ms"
            )
        print(f"p99 loaded / idle: {ratio:.2f}")
        assert ratio < 5
