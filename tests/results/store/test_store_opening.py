"""Opening, owning, joining, closing: and what is said when it cannot be."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from results.records import ModelVersionRecord
from results.store import Store, StoreBusy, StoreClosed, StoreCorrupt, StoreError, StoreReadOnly, open_store

ROOT = Path(__file__).parents[3]


def run_python(code: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, **options,
    )  # fmt: skip


def test_importing_results_is_light() -> None:
    code = (
        "import sys, time; start = time.perf_counter(); import results; took = time.perf_counter() - start\n"
        "assert took < 0.3, took\n"
        "heavy = {'torch', 'transformers', 'scipy.stats', 'fastapi', 'duckdb'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr


def test_the_web_server_is_loaded_by_an_owner_that_serves_alone() -> None:
    code = (
        "import sys; import results.store\n"
        "heavy = {'fastapi', 'uvicorn', 'starlette', 'httpx', 'torch', 'gradio', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr


def test_the_endpoint_is_private_and_goes_with_its_owner(tmp_path: Path) -> None:
    endpoint = tmp_path / "palaestra.duckdb.endpoint"
    with open_store(tmp_path) as store:
        assert store.is_owner
        assert stat.S_IMODE(endpoint.stat().st_mode) == 0o600
        data = json.loads(endpoint.read_text())
        url = f"http://127.0.0.1:{data['port']}"
        good = {"authorization": f"Bearer {data['token']}"}
        assert httpx.get(f"{url}/hello", headers=good).json() == {"service": "palaestra-store"}
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer \xff"}):
            raw = {name: value.encode("latin-1") for name, value in headers.items()}
            assert httpx.post(f"{url}/do/check", json={}, headers=raw).status_code == 401
            assert (
                httpx.post(
                    f"{url}/query", json={"sql": "SELECT 1", "params": {"list": []}}, headers=raw
                ).status_code
                == 401
            )
        assert httpx.post(f"{url}/do/drop_everything", json={}, headers=good).json()["error"] == "BadWrite"
        assert (
            httpx.post(f"{url}/do/record_vote", json={"verdict": "a"}, headers=good).json()["error"]
            == "BadWrite"
        )
        assert httpx.post(f"{url}/query", content=b"{", headers=good).json()["error"] == "BadQuery"
        assert httpx.post(f"{url}/do/stage_chunk", content=b"no arrow", headers=good).status_code == 409
    assert not endpoint.exists()


def test_a_client_takes_over_when_the_owner_closes(tmp_path: Path) -> None:
    owner, client = open_store(tmp_path), open_store(tmp_path)
    assert (owner.is_owner, client.is_owner) == (True, False)
    owner.close()
    assert client.check() == []
    assert client.is_owner
    with open_store(tmp_path) as third:
        assert not third.is_owner
    client.close()


def test_closing_answers_what_was_begun(own_arena: Any) -> None:
    """Writes that were accepted before the close are committed; later ones are told, and none is lost."""
    battles = [own_arena.battle() for _ in range(60)]
    acknowledged, refused = [], []

    def vote(some: list[Any]) -> None:
        for battle in some:
            try:
                own_arena.vote(battle)
                acknowledged.append(battle)
            except StoreClosed:
                refused.append(battle)

    threads = [threading.Thread(target=vote, args=(battles[n::6],)) for n in range(6)]
    for thread in threads:
        thread.start()
    while not acknowledged:
        time.sleep(0.001)
    own_arena.store.close()
    for thread in threads:
        thread.join()
    assert len(acknowledged) + len(refused) == len(battles)
    with open_store(own_arena.store.data_dir) as store:
        stored = {
            row["battle"] for row in store.query("SELECT battle_id::VARCHAR AS battle FROM votes").to_pylist()
        }
        assert {str(battle) for battle in acknowledged} == stored
        assert store.check() == []


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.close()
    store.close()
    with pytest.raises(StoreClosed, match="open it again"):
        store.check()


def _check_in_fork(store: Store, answer: Any) -> None:
    try:
        store.check()
    except StoreClosed as error:
        answer.send(str(error))
    store.close()


def test_a_forked_process_cannot_use_its_parents_store(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe()
    with open_store(tmp_path) as store:
        child = fork.Process(target=_check_in_fork, args=(store, there))
        child.start()
        assert here.poll(20)
        assert "before a fork" in here.recv()
        child.join(20)
        assert child.exitcode == 0
        assert store.is_owner
        assert store.check() == []


@pytest.mark.parametrize(
    "content", [b"", b"this is not a database" * 400, b"\0" * 20_000], ids=["empty", "text", "zeros"]
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "palaestra.duckdb"
    file.write_bytes(content)
    with pytest.raises(StoreCorrupt, match=r"palaestra\.duckdb cannot be read.*restore a backup"):
        open_store(tmp_path)
    assert file.read_bytes() == content, "what cannot be read is left for people to look at"
    file.unlink()
    open_store(tmp_path).close()


CRASH = """
import os, sys
from results.records import ModelVersionRecord
from results.store import open_store
store = open_store(sys.argv[1])
store.upsert_model_versions([ModelVersionRecord(model=sys.argv[2], digest="1")])
os._exit(9)
"""


def _crash(directory: Path, model: str) -> Path:
    assert run_python(CRASH, directory, model).returncode == 9
    log = directory / "palaestra.duckdb.wal"
    assert log.stat().st_size > 0
    return log


def test_the_log_of_a_crash_is_replayed(tmp_path: Path) -> None:
    _crash(tmp_path, "가람")
    with open_store(tmp_path) as store:
        assert [version.model for version in store.model_versions()] == ["가람"]


def test_a_log_of_another_state_or_database_is_refused(tmp_path: Path) -> None:
    """DuckDB's older storage formats replay such a log, and rows double."""
    log = _crash(tmp_path / "one", "a")
    stale = log.read_bytes()
    open_store(tmp_path / "one").close()
    assert not log.exists()
    log.write_bytes(stale)
    with pytest.raises(
        StoreCorrupt, match=r"another state of the database.*move palaestra\.duckdb\.wal away"
    ):
        open_store(tmp_path / "one")
    foreign = _crash(tmp_path / "two", "b")
    foreign.write_bytes(stale)
    with pytest.raises(StoreCorrupt, match="another database"):
        open_store(tmp_path / "two")
    log.unlink()
    with open_store(tmp_path / "one") as store:
        assert [version.model for version in store.model_versions()] == ["a"]


def test_a_damaged_log_is_refused(tmp_path: Path) -> None:
    log = _crash(tmp_path, "a")
    content = bytearray(log.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20] = bytes(20)
    log.write_bytes(content)
    with pytest.raises(StoreCorrupt, match=r"palaestra\.duckdb\.wal is damaged"):
        open_store(tmp_path)


def test_a_log_without_its_database_is_not_thrown_away(tmp_path: Path) -> None:
    log = _crash(tmp_path, "a")
    (tmp_path / "palaestra.duckdb").unlink()
    with pytest.raises(StoreCorrupt, match="is gone, but its write-ahead log"):
        open_store(tmp_path)
    assert log.exists()


def test_a_creation_that_was_interrupted_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "new-palaestra.duckdb").write_bytes(b"half")
    (tmp_path / "new-palaestra.duckdb.wal").write_bytes(b"half")
    with open_store(tmp_path) as store:
        assert store.model_versions() == []
    assert not list(tmp_path.glob("new-*"))


def test_a_foreign_program_on_the_file_is_named(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "palaestra.duckdb")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert other.stdin is not None
    assert other.stdout is not None
    assert other.stdout.readline() == "open\n"
    with pytest.raises(StoreBusy, match="another program"):
        open_store(tmp_path)
    other.stdin.close()
    assert other.wait(20) == 0
    other.stdout.close()
    open_store(tmp_path).close()


UNPRIVILEGED = """
import os, sys
from results.store import StoreReadOnly, open_store
if os.geteuid() == 0:
    os.setgid(65534); os.setuid(65534)
try:
    open_store(sys.argv[1])
except StoreReadOnly as error:
    print(error); sys.exit(7)
"""


def test_folders_that_cannot_be_written_are_named() -> None:
    """Under /tmp, because pytest's own folders are closed to other users; root may write anywhere, so the child
    gives its rights up."""
    base = Path("/tmp") / f"store-{uuid4().hex}"
    data = base / "data"
    base.mkdir()
    try:
        open_store(data).close()
        assert stat.S_IMODE(data.stat().st_mode) == 0o700, "what voters wrote is nobody else's"
        for folder in (data, base):
            folder.chmod(0o555)
        (data / "palaestra.duckdb.lock").chmod(0o444)
        existing = run_python(UNPRIVILEGED, data)
        assert existing.returncode == 7, existing.stderr
        assert "palaestra.duckdb.lock cannot be written" in existing.stdout
        (data / "palaestra.duckdb.lock").chmod(0o666)
        locked = run_python(UNPRIVILEGED, data)
        assert locked.returncode == 7, locked.stderr
        new = run_python(UNPRIVILEGED, base / "other")
        assert new.returncode == 7, new.stderr
        assert "cannot be made" in new.stdout
    finally:
        for folder in (base, data):
            folder.chmod(0o755)
        for file in data.iterdir():
            file.rmdir() if file.is_dir() else file.unlink()
        data.rmdir()
        base.rmdir()


def test_names_with_quotes_and_hangul(tmp_path: Path) -> None:
    with open_store(tmp_path / 'it\'s 데이터 "1"') as store:
        store.upsert_model_versions([ModelVersionRecord(model="o'가람", digest="1")])
        store.backup(tmp_path / "o'사본.duckdb")
    (tmp_path / "again").mkdir()
    (tmp_path / "o'사본.duckdb").rename(tmp_path / "again" / "palaestra.duckdb")
    with open_store(tmp_path / "again") as again:
        assert [version.model for version in again.model_versions()] == ["o'가람"]


async def test_from_asyncio_by_threads(tmp_path: Path) -> None:
    """As the web app uses it: the event loop stays free while many requests write."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    with open_store(tmp_path) as store:
        ticking = asyncio.create_task(tick())
        names = [f"모델-{n}" for n in range(60)]
        await asyncio.gather(
            *(
                asyncio.to_thread(store.upsert_model_versions, [ModelVersionRecord(model=name, digest="1")])
                for name in names
            )
        )
        ticking.cancel()
        assert {version.model for version in store.model_versions()} == set(names)
    assert ticks > 10


def test_a_file_in_the_way_of_the_data_directory(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("x")
    with pytest.raises(StoreReadOnly, match="cannot be made"):
        open_store(tmp_path / "data")


def test_another_protocol_is_refused(tmp_path: Path) -> None:
    with open_store(tmp_path):
        endpoint = tmp_path / "palaestra.duckdb.endpoint"
        data = json.loads(endpoint.read_text())
        endpoint.write_text(json.dumps({**data, "protocol": 0}))
        with pytest.raises(StoreBusy, match=f"process {os.getpid()} of another version"):
            open_store(tmp_path)
        endpoint.write_text(json.dumps(data))


def test_errors_keep_their_kind_over_the_loopback() -> None:
    from results.store import errors

    kinds = [
        each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, StoreError)
    ]
    assert set(errors.BY_NAME.values()) == set(kinds)
