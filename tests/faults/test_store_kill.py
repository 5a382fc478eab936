"""The store when its owner is killed, ends early, or is stopped: nothing acknowledged is lost, nothing is twice."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from results.store import Store, StoreBusy, open_store

pytestmark = pytest.mark.faults

ROOT = Path(__file__).parents[2]
VOTER = Path(__file__).with_name("store_voter.py")


class Crowd:
    """Voting processes on one data directory, and what they were told is stored."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self._folder = folder
        self._started = 0
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, threads: int, votes: int = 0) -> subprocess.Popen[bytes]:
        self._started += 1
        process = subprocess.Popen(
            [sys.executable, str(VOTER), str(self.data), str(self._folder / f"{self._started}.notes"),
             str(threads), str(votes)],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=(self._folder / f"{self._started}.errors").open("wb"),
        )  # fmt: skip
        self.processes[process.pid] = process
        return process

    def acknowledged(self) -> list[str]:
        return [line for file in self._folder.glob("*.notes") for line in file.read_text().split()]

    def owner(self, patience: float = 120) -> int:
        """The process that owns the store now."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            try:
                pid = int(json.loads((self.data / "palaestra.duckdb.endpoint").read_text())["pid"])
            except (FileNotFoundError, json.JSONDecodeError):
                pid = 0
            if pid in self.processes and self.processes[pid].poll() is None:
                return pid
            time.sleep(0.01)
        raise AssertionError(f"no process of the crowd owns the store: {self.errors()}")

    def kill_owner(self) -> None:
        pid = self.owner()
        os.kill(pid, signal.SIGKILL)
        self.processes.pop(pid).wait(20)

    def wait_for(self, more: int, patience: float = 30) -> None:
        """Wait until `more` further votes are acknowledged."""
        target, deadline = len(self.acknowledged()) + more, time.monotonic() + patience
        while len(self.acknowledged()) < target:
            assert time.monotonic() < deadline, f"voting has stopped: {self.errors()}"
            time.sleep(0.02)

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            assert process.wait(60) == 0, self.errors()
        self.processes.clear()

    def errors(self) -> str:
        return "\n".join(file.read_text() for file in sorted(self._folder.glob("*.errors")))


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[Crowd]:
    crowd = Crowd(tmp_path)
    yield crowd
    for process in crowd.processes.values():
        process.kill()
        process.wait(20)


def assert_exact(store: Store, acknowledged: list[str]) -> None:
    """Every acknowledged vote is there, none twice, and the counts agree with a recount."""
    rows = store.query(
        "SELECT battle_id::VARCHAR AS battle, count(*) AS n FROM votes GROUP BY ALL"
    ).to_pylist()
    stored = {row["battle"]: row["n"] for row in rows}
    assert len(acknowledged) == len(set(acknowledged))
    assert not [battle for battle in acknowledged if battle not in stored], "acknowledged votes are lost"
    assert set(stored.values()) == {1}, "votes are twice"
    counted = store.query("SELECT sum(n)::BIGINT AS n FROM pair_counts").to_pylist()[0]["n"]
    assert counted == len(stored)
    assert store.check() == []


def _storm(crowd: Crowd, rounds: int) -> None:
    for threads in (3, 3, 2):
        crowd.start(threads)
    crowd.wait_for(5, patience=120)
    randomness = random.Random(rounds)
    for round_ in range(rounds):
        time.sleep(randomness.uniform(0, 0.6))
        crowd.kill_owner()
        crowd.start(3 if round_ % 3 else 2)
        crowd.wait_for(3)
    crowd.stop()
    acknowledged = crowd.acknowledged()
    assert len(acknowledged) > 4 * rounds
    with open_store(crowd.data) as store:
        assert_exact(store, acknowledged)
    assert "Traceback" not in crowd.errors()


@pytest.mark.timeout(240)
def test_owners_killed_twenty_times_while_eight_threads_vote(crowd: Crowd) -> None:
    _storm(crowd, rounds=20)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_owners_killed_two_hundred_times(crowd: Crowd) -> None:
    _storm(crowd, rounds=200)


def test_short_commands_own_the_store_and_end_while_others_write(crowd: Crowd) -> None:
    """Each of them owns the store for a while, drains and hands over; nobody sees an error, nothing is lost."""
    owners = set()
    short = crowd.start(threads=2, votes=15)
    owners.add(crowd.owner())
    for _ in range(6):
        following = crowd.start(threads=2, votes=15)
        assert short.wait(60) == 0, crowd.errors()
        del crowd.processes[short.pid]
        owners.add(crowd.owner())
        short = following
    assert short.wait(60) == 0, crowd.errors()
    assert crowd.errors().strip() == ""
    acknowledged = crowd.acknowledged()
    assert len(acknowledged) == 7 * 2 * 15
    assert len(owners) >= 3, "the store changed hands"
    with open_store(crowd.data) as store:
        assert store.query("SELECT count(*) AS n FROM votes").to_pylist() == [{"n": len(acknowledged)}]
        assert_exact(store, acknowledged)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_an_owner_that_does_not_answer_is_named(crowd: Crowd) -> None:
    crowd.start(threads=2)
    owner = crowd.owner()
    with stopped(owner), pytest.raises(StoreBusy, match=f"process {owner} holds .* but does not answer"):
        open_store(crowd.data, timeout=0.5)
    crowd.wait_for(3)
    crowd.stop()
    with open_store(crowd.data) as store:
        assert_exact(store, crowd.acknowledged())


def test_a_client_that_hangs_holds_nobody_up(crowd: Crowd) -> None:
    with open_store(crowd.data) as owner:
        endpoint = json.loads((crowd.data / "palaestra.duckdb.endpoint").read_text())
        head = (
            f"POST /do/record_vote HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {endpoint['token']}\r\n"
            'content-length: 500\r\n\r\n{"half'
        )
        hanging = [socket.create_connection(("127.0.0.1", endpoint["port"])) for _ in range(20)]
        for connection in hanging:
            connection.sendall(head.encode())
        crowd.start(threads=2)
        crowd.wait_for(20)
        crowd.stop()
        start = time.monotonic()
        owner.close()
        assert time.monotonic() - start < 40, "closing waits for hanging clients only so long"
        for connection in hanging:
            connection.close()
    with open_store(crowd.data) as store:
        assert_exact(store, crowd.acknowledged())
