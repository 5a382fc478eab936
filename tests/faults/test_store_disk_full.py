"""A disk that fills up: what was acknowledged is there, what was not can be sent again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from results.store import open_store

pytestmark = pytest.mark.faults

ROOT = Path(__file__).parents[2]

# Votes until writing fails, then frees the space and sends everything that was not acknowledged again.
FILL = """
import json, resource, sys, time
from pathlib import Path
from results.ids import new_id
from results.records import BattleRecord, ModelVersionRecord, TurnRecord, VoterRecord, VoteRecord
from results.store import StoreBusy, StoreUnknownOutcome, open_store

data, ballast = Path(sys.argv[1]), Path(sys.argv[2]) if sys.argv[2] else None
store = open_store(data)
a, b = store.upsert_model_versions([ModelVersionRecord(model=m, digest="1") for m in ("가람", "나래")])
voter = VoterRecord(id=new_id())
store.register_voter(voter)

def vote(battle, vote):
    store.create_battle(battle, TurnRecord(battle_id=battle.id, number=1, message="긴 질문 " * 2000))
    store.record_vote(vote)

def new():
    battle = BattleRecord(id=new_id(), version_a=a.version_key, version_b=b.version_key)
    return battle, VoteRecord(battle_id=battle.id, voter_id=voter.id, request_id=new_id(), verdict="a")

acknowledged, pending, kinds = [], [], set()
for _ in range(5):
    vote(*(one := new()))
    acknowledged.append(str(one[0].id))
if ballast is None:
    limit = (data / "palaestra.duckdb.wal").stat().st_size + 200_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
deadline = time.monotonic() + 60
while len(pending) < 6:
    assert time.monotonic() < deadline, "the disk never filled"
    one = new()
    try:
        vote(*one)
        acknowledged.append(str(one[0].id))
    except (StoreUnknownOutcome, StoreBusy) as error:
        kinds.add(type(error).__name__)
        assert "space" in str(error), error
        pending.append(one)
if ballast is None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
else:
    ballast.unlink()
again = 0
for one in pending:
    while True:
        try:
            vote(*one)
            break
        except (StoreUnknownOutcome, StoreBusy):
            again += 1
            assert time.monotonic() < deadline + 60
            time.sleep(0.1)
    acknowledged.append(str(one[0].id))
assert store.check() == []
store.close()
print(json.dumps({"acknowledged": acknowledged, "kinds": sorted(kinds), "pending": len(pending)}))
"""


def fill(data: Path, ballast: Path | None) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(data), str(ballast or "")],
        cwd=ROOT, capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["pending"] == 6
    assert "StoreUnknownOutcome" in said["kinds"]
    with open_store(data) as store:
        rows = store.query("SELECT battle_id::VARCHAR AS battle FROM votes").to_pylist()
        assert sorted(row["battle"] for row in rows) == sorted(said["acknowledged"])
        assert store.query("SELECT sum(n)::INT AS n FROM pair_counts").to_pylist() == [{"n": len(rows)}]
        assert store.check() == []


def test_files_that_may_not_grow(tmp_path: Path) -> None:
    fill(tmp_path / "data", None)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("a small file system can be mounted by root alone")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_file_system(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(os.urandom(9_000_000))
    fill(small_disk / "data", ballast)
