"""Loading within a memory budget: figures when it cannot fit, eviction, pins, and models that mind only their own
business. On real processes that speak the workers' protocol, and on real models."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest

from arena.config import load_settings
from arena.engines import worker_process
from arena.engines.base import (
    EngineTimedOut,
    EngineUnavailable,
    Finished,
    GenerationRequest,
    Sampling,
    TextDelta,
)
from arena.engines.memory import estimate
from arena.engines.pool import Budget, EnginePool, NoRoom, default_budget
from arena.engines.spec import ModelSpec
from results.store import Settings, ledger, open_store
from tests.arena.engines.made_models import save_headers, save_tiny_llama, small_model

NAMES = ("one", "two", "three")

LONG = GenerationRequest(text="가나다 abc", sampling=Sampling(temperature=0, max_tokens=150))
SHORT = GenerationRequest(text="안녕 hello", sampling=Sampling(temperature=0, max_tokens=3))
Pools = Callable[..., EnginePool]


@pytest.fixture
def specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[ModelSpec]:
    """Three models that scripted workers serve."""
    monkeypatch.setattr(worker_process, "WORKER", "tests._servers.scripted_worker")
    for name in NAMES:
        save_headers(tmp_path / name, *small_model())
    return [ModelSpec(name=name, source=str(tmp_path / name)) for name in NAMES]


@pytest.fixture
def each(specs: list[ModelSpec]) -> int:
    """What one of them is counted with."""
    return estimate(Path(specs[0].source), dtype_bytes=4).ram


@pytest.fixture
async def pools(tmp_path: Path) -> AsyncIterator[Pools]:
    made: list[EnginePool] = []

    def make(ram: int | None = None, **fields: object) -> EnginePool:
        made.append(EnginePool(tmp_path, dtype="float32", budget=Budget(ram=ram), **fields))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for pool in made:
        await pool.close()


async def text(pool: EnginePool, spec: ModelSpec, request: GenerationRequest = SHORT) -> str:
    async with aclosing(pool.get(spec).stream(request)) as chunks:
        async for chunk in chunks:
            if isinstance(chunk, Finished):
                return chunk.generation.text
    raise AssertionError("no result")


def phases(pool: EnginePool) -> dict[str, str]:
    return {status.name: status.phase for status in pool.status()}


async def test_the_model_used_longest_ago_makes_room(pools: Pools, specs: list[ModelSpec], each: int) -> None:
    pool = pools(int(2.5 * each))
    one, two, three = specs
    first = await text(pool, one)
    await text(pool, two)
    assert pool.fits(two)
    assert not pool.fits(three)
    assert pool.memory().used == 2 * each
    await text(pool, one)
    await text(pool, three)
    assert phases(pool) == {"one": "ready", "two": "unloaded", "three": "ready"}
    assert pool.memory().used == 2 * each
    assert await text(pool, two)
    assert await text(pool, one) == first


async def test_what_cannot_fit_is_refused_with_figures_and_nothing_is_ended(
    pools: Pools, specs: list[ModelSpec], each: int
) -> None:
    pool = pools(int(1.5 * each), pinned=["one"])
    one, two, _ = specs
    await text(pool, one)
    with pytest.raises(
        NoRoom, match=r"two .* needs \d+ MiB of memory, budget \d+ MiB, \d+ MiB in use by one"
    ) as told:
        await pool.load(two)
    assert "(pinned)" in str(told.value)
    assert phases(pool) == {"one": "ready", "two": "unloaded"}
    pool.pin(one, False)
    assert (await pool.load(two)).phase == "ready"
    with pytest.raises(NoRoom, match="needs"):
        await text(pools(each // 2), one)


async def test_a_busy_model_is_not_ended_but_lets_the_next_one_in(
    pools: Pools, specs: list[ModelSpec], each: int
) -> None:
    pool = pools(int(1.5 * each))
    one, two, _ = specs
    alone = await text(pool, one, LONG)
    answering = asyncio.create_task(text(pool, one, LONG))
    while not any(status.answering for status in pool.status()):
        await asyncio.sleep(0.01)
    loading = asyncio.create_task(text(pool, two))
    while phases(pool).get("two") != "waiting":
        await asyncio.sleep(0.01)
    (waiting,) = (status for status in pool.status() if status.name == "two")
    assert "in use by one" in waiting.detail
    later = asyncio.create_task(text(pool, one, LONG))  # queues behind the load that waits
    assert await answering == alone
    await loading
    assert not later.done()
    assert await later == alone


async def test_a_wait_for_memory_ends_with_the_requests_timeout(
    pools: Pools, specs: list[ModelSpec], each: int
) -> None:
    pool = pools(int(1.5 * each))
    one, two, _ = specs
    async with aclosing(pool.get(one).stream(LONG)) as chunks:
        assert await anext(chunks)
        with pytest.raises(
            EngineTimedOut, match=r"was not loaded within 0\.3 seconds: waiting for .* in use by one"
        ):
            await text(pool, two, SHORT.model_copy(update={"timeout": 0.3}))
        assert phases(pool)["two"] == "unloaded"
        rest = [chunk async for chunk in chunks]  # the answer that was being made went on
    assert isinstance(rest[-1], Finished)
    assert await text(pool, one)


async def test_loading_unloading_and_crashes_break_no_other_stream(
    pools: Pools, specs: list[ModelSpec]
) -> None:
    pool = pools()
    one, two, three = specs
    alone = await text(pool, one, LONG)
    words: list[str] = []
    async with aclosing(pool.get(one).stream(LONG)) as chunks:
        async for chunk in chunks:
            if isinstance(chunk, TextDelta):
                words.append(chunk.text)
            if len(words) == 3:
                await pool.load(two)
                await pool.load(three)
                assert not await pool.unload(one)  # it is answering
                assert await pool.unload(two)
                (crashing,) = (s for s in pool.status() if s.name == "three")
                assert crashing.phase == "ready"
                engine = pool.get(three)
                os.kill(engine.worker.pid or 0, signal.SIGKILL)  # type: ignore[union-attr]
                while phases(pool)["three"] == "ready":
                    await asyncio.sleep(0.01)
                words.append("")
            if isinstance(chunk, Finished):
                assert chunk.generation.text == alone
    assert "".join(words) == alone
    assert phases(pool) == {"one": "ready", "two": "unloaded", "three": "unloaded"}
    assert await pool.unload(one)
    assert pool.memory().used == 0


async def test_forced_unloading_ends_answers_with_an_error(pools: Pools, specs: list[ModelSpec]) -> None:
    pool = pools()
    answering = asyncio.create_task(text(pool, specs[0], LONG))
    while not any(status.answering for status in pool.status()):
        await asyncio.sleep(0.01)
    pid = pool.get(specs[0]).worker.pid  # type: ignore[union-attr]
    assert await pool.unload(specs[0], force=True)
    with pytest.raises(EngineUnavailable):
        await answering
    assert not psutil.pid_exists(pid or 0)


async def test_loads_are_noted_in_the_ledger_and_wait_for_it(
    pools: Pools, specs: list[ModelSpec], each: int, tmp_path: Path
) -> None:
    machine = ledger.Capacity(ram=int(1.5 * each), gpu=0, cores=2)
    with open_store(tmp_path / "store", settings=Settings(machine=machine)) as store:
        pool = pools(store=store, owner="`arena serve`")
        told: list[str] = []
        pool._residency.on_wait = told.append
        with ledger.reserve(store, purpose="`arena train` (a recipe)", ram=each):
            loading = asyncio.create_task(text(pool, specs[0]))
            while phases(pool).get("one") != "waiting":
                await asyncio.sleep(0.01)
            (status,) = pool.status()
            assert f"held by `arena train` (a recipe), pid {os.getpid()}" in status.detail
            assert told == [f"{status.worker}: {status.detail}"]
        assert await loading
        (held,) = ledger.holdings(store).held
        assert held.purpose.startswith("`arena serve` (one")
        assert held.ram == each
        assert await pool.unload(specs[0])
        assert ledger.holdings(store).held == ()
        with ledger.reserve(store, purpose="training", ram=each):
            cancelled = asyncio.create_task(text(pool, specs[0]))
            await asyncio.sleep(0.2)
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            assert ledger.holdings(store).waiting == ()


@pytest.mark.model
async def test_a_real_model_goes_on_while_others_load_and_crash(
    engine_pool: EnginePool, smollm2_spec: ModelSpec, smollm2_dir: Path, tmp_path: Path
) -> None:
    tiny = ModelSpec(name="tiny", source=str(save_tiny_llama(tmp_path / "tiny", smollm2_dir)))
    asked = GenerationRequest(text="Once upon a time", sampling=Sampling(temperature=0, max_tokens=24))
    alone = await text(engine_pool, smollm2_spec, asked)
    found = []
    loading: asyncio.Task[object] | None = None
    async with aclosing(engine_pool.get(smollm2_spec).stream(asked)) as chunks:
        async for chunk in chunks:
            found.append(chunk)
            loading = loading or asyncio.create_task(engine_pool.load(tiny))
            if len(found) == 12:
                await loading
                assert not await engine_pool.unload(smollm2_spec)
                os.kill(engine_pool.get(tiny).worker.pid or 0, signal.SIGKILL)  # type: ignore[union-attr]
    assert isinstance(found[-1], Finished)
    assert found[-1].generation.text == alone
    while phases(engine_pool)["tiny"] == "ready":
        await asyncio.sleep(0.01)
    (status,) = (status for status in engine_pool.status() if status.name == "tiny")
    assert (status.phase, status.estimate) == ("unloaded", None)
    assert "was killed" in status.detail


def test_the_default_budget_is_a_share_of_the_machine() -> None:
    most = ledger.capacity().ram
    assert default_budget().ram == int(0.8 * most)
    assert default_budget(0.5).ram == int(0.5 * most)
    assert default_budget(10**9).ram == 10**9


async def test_settings_name_budget_pins_and_dtype(tmp_path: Path, specs: list[ModelSpec], each: int) -> None:
    (tmp_path / "arena.toml").write_text(
        '[engines]\nmemory_budget = "300MiB"\npinned = ["one"]\ndtype = "float32"\n'
    )
    pool = EnginePool.from_settings(load_settings(tmp_path), tmp_path)
    assert pool.memory().budget == 300 * 2**20
    with pytest.raises(NoRoom, match=r"needs .* of memory, budget 300 MiB"):
        pool.fits(specs[0])
    pool.get(specs[1])
    assert [status.pinned for status in pool.status()] == [True, False]
    await pool.close()
