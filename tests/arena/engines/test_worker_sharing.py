"""Workers that an arena shares with other processes on its data folder: one copy of the weights, and each side survives
the other. On real processes that speak the workers' protocol."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from arena.engines import worker_process
from arena.engines.base import (
    EngineUnavailable,
    Finished,
    GenerationRequest,
    Sampling,
    TextDelta,
)
from arena.engines.local import LocalEngine
from arena.engines.pool import EnginePool
from arena.engines.spec import ModelSpec
from arena.engines.worker_links import SOCKET, address
from results.store import Store, ledger, open_store
from tests.arena.engines.made_models import save_headers, small_model

LONG = GenerationRequest(text="가나다", sampling=Sampling(temperature=0, max_tokens=400))
SHORT = GenerationRequest(text="안녕", sampling=Sampling(temperature=0, max_tokens=3))


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelSpec:
    monkeypatch.setattr(worker_process, "WORKER", "tests._servers.scripted_worker")
    save_headers(tmp_path / "one", *small_model())
    return ModelSpec(name="one", source=str(tmp_path / "one"))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    with open_store(tmp_path / "data") as store:
        yield store


@pytest.fixture
async def arena(tmp_path: Path, store: Store, spec: ModelSpec) -> AsyncIterator[EnginePool]:
    """An arena that has the model loaded and shares it."""
    pool = EnginePool(tmp_path / "data", dtype="float32", store=store, owner="`arena serve`")
    assert pool.share()
    await pool.load(spec)
    yield pool
    await pool.close()


@pytest.fixture
async def other(tmp_path: Path, store: Store) -> AsyncIterator[EnginePool]:
    """Another process's pool on the same folder, as far as workers can tell."""
    pool = EnginePool(tmp_path / "data", dtype="float32", store=store, owner="`arena bench`")
    yield pool
    await pool.close()


def local(pool: EnginePool, spec: ModelSpec) -> LocalEngine:
    engine = pool.get(spec)
    assert isinstance(engine, LocalEngine)
    return engine


async def text(pool: EnginePool, spec: ModelSpec, request: GenerationRequest = SHORT) -> str:
    async with aclosing(pool.get(spec).stream(request)) as chunks:
        async for chunk in chunks:
            if isinstance(chunk, Finished):
                return chunk.generation.text
    raise AssertionError("no result")


async def until(ready: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not ready():
            await asyncio.sleep(0.02)


async def test_a_loaded_worker_is_used_and_not_loaded_again(
    arena: EnginePool, other: EnginePool, spec: ModelSpec, store: Store
) -> None:
    answers = await asyncio.gather(*(text(pool, spec) for pool in (other, arena, other)))
    assert answers == ["1 2 3 "] * 3
    assert local(other, spec).worker.shared
    assert other.memory().used == 0 < arena.memory().used
    assert [each.purpose.split(" (")[0] for each in ledger.holdings(store).held] == ["`arena serve`"]
    status = other.status()[0]
    assert (status.phase, status.device, status.estimate) == ("ready", "cpu", 0)
    # Requests that are alike under the ids of two processes end apart.
    async with aclosing(other.get(spec).stream(LONG)) as theirs:
        assert [chunk async for chunk in _first(theirs)]
        assert await text(arena, spec) == "1 2 3 "
    await until(lambda: not local(arena, spec).worker.busy)
    assert await text(other, spec) == "1 2 3 "  # the connection outlives a cancelled answer
    assert await other.unload(spec)
    assert local(arena, spec).worker.pid is not None


async def test_what_is_being_loaded_is_waited_for(
    arena: EnginePool, other: EnginePool, spec: ModelSpec
) -> None:
    assert await arena.unload(spec)
    loading = asyncio.create_task(arena.load(spec))
    await until(lambda: local(arena, spec).resident.place == "in")
    assert local(arena, spec).state.phase == "loading"
    assert await text(other, spec) == "1 2 3 "
    assert local(other, spec).worker.shared
    assert (await loading).phase == "ready"


async def _first(chunks: AsyncIterator[object]) -> AsyncIterator[TextDelta]:
    async for chunk in chunks:
        if isinstance(chunk, TextDelta):
            yield chunk
            return


async def test_what_is_not_loaded_or_differs_is_loaded_by_each_itself(
    arena: EnginePool, other: EnginePool, spec: ModelSpec
) -> None:
    shorter = spec.model_copy(update={"name": "shorter", "context_length": 128})
    assert await text(other, shorter) == "1 2 3 "
    assert not local(other, shorter).worker.shared
    assert other.memory().used > 0
    assert await arena.unload(spec)
    assert await text(other, spec) == "1 2 3 "
    assert not local(other, spec).worker.shared


async def test_the_arenas_end_ends_answers_as_errors_and_the_other_goes_on_alone(
    arena: EnginePool, other: EnginePool, spec: ModelSpec
) -> None:
    seen: list[object] = []

    async def read() -> None:
        async with aclosing(other.get(spec).stream(LONG)) as chunks:
            while True:
                seen.append(await anext(chunks))

    reading = asyncio.create_task(read())
    await until(lambda: any(isinstance(chunk, TextDelta) for chunk in seen))
    await arena.close()
    with pytest.raises(EngineUnavailable, match="belonged to another arena process, which ended"):
        await reading
    assert not any(isinstance(chunk, Finished) for chunk in seen)
    assert await text(other, spec) == "1 2 3 "
    worker = local(other, spec).worker
    assert (worker.shared, other.memory().used > 0) == (False, True)
    assert worker.pid is not None


async def test_a_process_that_goes_frees_what_it_asked_for(
    arena: EnginePool, other: EnginePool, spec: ModelSpec
) -> None:
    reading = asyncio.create_task(text(other, spec, LONG))
    owner = local(arena, spec).worker
    await until(lambda: owner.busy)
    local(other, spec).worker.stop()  # as the end of its process does: the connection closes
    with pytest.raises(EngineUnavailable):
        await reading
    await until(lambda: not owner.busy)
    # The place at the cores is given back a moment after the worker's row.
    await until(lambda: arena.status()[0].answering == 0)
    assert await arena.unload(spec)  # nobody uses it any more


async def test_a_crash_of_the_shared_worker_is_told_and_it_comes_back(
    arena: EnginePool, other: EnginePool, spec: ModelSpec
) -> None:
    reading = asyncio.create_task(text(other, spec, LONG))
    owner = local(arena, spec).worker
    await until(lambda: owner.busy)
    assert owner.pid is not None
    os.kill(owner.pid, signal.SIGKILL)
    with pytest.raises(EngineUnavailable, match="signal 9"):
        await reading
    assert await text(other, spec) == "1 2 3 "
    assert local(other, spec).worker.shared


async def test_only_this_user_gets_in_and_one_arena_shares(
    arena: EnginePool, other: EnginePool, spec: ModelSpec, tmp_path: Path
) -> None:
    folder = tmp_path / "data" / "run"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / SOCKET).stat().st_mode) == 0o600
    assert not other.share()
    with address(folder) as path, socket.socket(socket.AF_UNIX) as rude:
        rude.connect(path)
        rude.sendall(b"\xff\xff\xff\xffGET / HTTP/1.1\r\n")
        assert rude.recv(10) == b""
    folder.chmod(0o755)  # somebody else could have put the socket there
    assert await text(other, spec) == "1 2 3 "
    assert not local(other, spec).worker.shared


async def test_a_socket_left_by_a_killed_arena_is_no_obstacle(
    tmp_path: Path, store: Store, spec: ModelSpec, other: EnginePool
) -> None:
    folder = tmp_path / "data" / "run"
    folder.mkdir(mode=0o700)
    with address(folder) as path, socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    assert (folder / SOCKET).exists()
    assert await text(other, spec) == "1 2 3 "
    assert not local(other, spec).worker.shared
    assert await other.unload(spec)
    pool = EnginePool(tmp_path / "data", dtype="float32", store=store)
    assert pool.share()
    await pool.load(spec)
    await text(other, spec)
    assert local(other, spec).worker.shared
    await pool.close()
    assert not (folder / SOCKET).exists()
