"""Local models that break while the arena runs: battles tell of it, go on, and record no answer that was not one."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from arena.battle import BattleService, BattleView
from arena.config import BattleSettings
from arena.engines.local import LocalEngine
from arena.engines.pool import EnginePool
from arena.engines.spec import ModelSpec
from arena.matchmaking import Uniform
from arena.roster import enrol
from results import ids
from results.store import open_store

pytestmark = [pytest.mark.faults, pytest.mark.model]


def beside(server: str, mode: str) -> ModelSpec:
    return ModelSpec(name="beside", kind="openai", source=f"{mode}:faults", base_url=f"{server}/v1")


async def until(
    battles: BattleService, view: BattleView, voter: object, ready: Callable[[BattleView], bool]
) -> BattleView:
    deadline = time.monotonic() + 100
    while not ready(view):
        assert time.monotonic() < deadline, view
        await asyncio.sleep(0.05)
        found = battles.view(voter, view.id)  # type: ignore[arg-type]
        assert found is not None
        view = found
    return view


def sides(view: BattleView) -> list[object]:
    return [view.turns[-1].a, view.turns[-1].b]


async def test_a_worker_killed_inside_an_answer(
    scripted_server: str, engine_pool: EnginePool, smollm2_spec: ModelSpec, tmp_path: Path
) -> None:
    store = open_store(tmp_path)
    roster = enrol(store, [smollm2_spec, beside(scripted_server, "slow")], lambda spec: spec.name)
    battles = BattleService(store, roster, engine_pool.get, Uniform(), BattleSettings(max_tokens=400))
    voter = ids.new_id()
    engine = engine_pool.get(smollm2_spec)
    assert isinstance(engine, LocalEngine)
    await engine.load()
    view = await battles.start(voter, "Tell me a long story about a fisherman.")
    view = await until(battles, view, voter, lambda v: all(s.text for s in sides(v)))  # type: ignore[attr-defined]
    assert engine.worker.pid is not None
    os.kill(engine.worker.pid, signal.SIGKILL)
    view = await until(battles, view, voter, lambda v: v.phase != "answering")
    assert sorted(side.status for side in sides(view)) == ["failed", "finished"]  # type: ignore[attr-defined]
    await battles.vote(voter, view.id, "tie")
    await battles.reveal(voter, view.id)

    rows = store.query(
        "SELECT m.name, g.finish_reason, g.error_kind, g.rendered_prompt IS NOT NULL AS prompted "
        "FROM generations g JOIN model_versions v USING (version_key) JOIN models m USING (model_key) ORDER BY 1"
    ).to_pylist()
    assert [(row["name"], row["finish_reason"], row["error_kind"]) for row in rows] == [
        ("beside", "stop", None),
        ("smollm2", "error", "unavailable"),
    ]
    assert rows[1]["prompted"]  # what it was asked is known all the same
    assert store.query("SELECT coalesce(sum(n), 0) AS n FROM pair_counts").to_pylist() == [{"n": 0}]

    # The next battle has both models again.
    battles.leave(voter)
    view = await battles.start(voter, "What is the capital of France?")
    await battles.stop(voter, view.id)
    view = await until(battles, view, voter, lambda v: v.phase != "answering")
    await battles.close()
    store.close()


@pytest.mark.parametrize(
    "breaks",
    [
        pytest.param(lambda folder: (folder / "config.json").write_text("{"), id="corrupt config"),
        pytest.param(
            lambda folder: os.truncate(next(iter(folder.glob("*.safetensors"))), 2000), id="truncated weights"
        ),
        pytest.param(lambda folder: next(iter(folder.glob("*.safetensors"))).unlink(), id="no weights"),
    ],
)
async def test_a_folder_that_breaks_is_a_failed_side_and_no_answer(
    scripted_server: str, smollm2_dir: Path, tmp_path: Path, breaks: Callable[[Path], object]
) -> None:
    folder = tmp_path / "model"
    # The weights are half a gigabyte, and only their first bytes matter here.
    shutil.copytree(smollm2_dir, folder, copy_function=_first_bytes)
    breaks(folder)
    store = open_store(tmp_path / "data")
    pool = EnginePool(tmp_path / "data")
    spec = ModelSpec(name="broken", source=str(folder))
    roster = enrol(store, [spec, beside(scripted_server, "ok")], lambda spec: spec.name)
    battles = BattleService(store, roster, pool.get, Uniform(), BattleSettings())
    voter = ids.new_id()
    view = await battles.start(voter, "프랑스의 수도는?")
    view = await until(battles, view, voter, lambda v: v.phase != "answering")
    assert sorted(side.status for side in sides(view)) == ["failed", "finished"]  # type: ignore[attr-defined]
    rows = store.query(
        "SELECT text, error_kind, error FROM generations WHERE finish_reason = 'error'"
    ).to_pylist()
    assert [(row["text"], row["error_kind"]) for row in rows] == [("", "unavailable")]
    assert str(folder) in rows[0]["error"]
    await battles.close()
    await pool.close()
    store.close()


def _first_bytes(source: str, target: str) -> str:
    with open(source, "rb") as read, open(target, "wb") as write:
        write.write(read.read(4_000_000))
    return target
