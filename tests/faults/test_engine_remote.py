"""What a remote server can do wrong: each is a typed error in words for people, and never an answer."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

import pytest

from arena.battle import BattleService
from arena.config import BattleSettings
from arena.engines.base import (
    BrokenAnswer,
    Chunk,
    EngineError,
    EngineTimedOut,
    EngineUnavailable,
)
from arena.engines.pool import EnginePool
from arena.engines.remote_retries import RetryPolicy
from arena.engines.spec import ModelSpec
from arena.matchmaking import Uniform
from arena.roster import enrol
from results import ids
from results.store import open_store
from tests.arena.engines.remote_made import ASKED, engine, read, seen

pytestmark = pytest.mark.faults


@pytest.mark.parametrize(
    ("mode", "error", "says"),
    [
        ("html", BrokenAnswer, r"text/html, no stream.*base_url"),
        ("json", BrokenAnswer, r"application/json, no stream"),
        ("html-502", EngineUnavailable, r"fails \(502\).*Bad gateway"),
        ("nothing", BrokenAnswer, "ended before the answer did"),
    ],
)
async def test_what_is_no_answer_is_told_as_such(
    scripted_server: str, mode: str, error: type[EngineError], says: str
) -> None:
    with pytest.raises(error, match=says) as raised:
        await read(engine(scripted_server, f"{mode}:faults"))
    assert type(raised.value) is error
    assert "<" not in str(raised.value)
    assert "p {}" not in str(raised.value)


async def test_an_empty_answer_is_an_answer(scripted_server: str) -> None:
    """A model may end at once. That is told apart from a server that said nothing."""
    chunks, generation = await read(engine(scripted_server, "empty"))
    assert chunks == []
    assert (generation.text, generation.finish_reason, generation.completion_tokens) == ("", "stop", 0)


async def test_a_slow_first_byte_is_waited_for_or_timed_out(scripted_server: str) -> None:
    _, generation = await read(engine(scripted_server, "late:ok"))
    assert generation.text == "The capital of France is Paris."
    assert generation.time_to_first_token is not None
    assert generation.time_to_first_token >= 0.5
    hasty = RetryPolicy(silent_tries=1, silence=0.2, first_wait=0.01)
    with pytest.raises(EngineTimedOut, match=r"0\.2 seconds"):
        await read(engine(scripted_server, "late:hasty", hasty))


async def test_a_client_that_goes_away_frees_the_place_and_the_server(scripted_server: str) -> None:
    remote = engine(scripted_server, "slow:gone")
    chunks: list[Chunk] = []

    async def reading() -> None:
        async for chunk in remote.stream(ASKED):
            chunks.append(chunk)  # noqa: PERF401  # it is cancelled in between

    task = asyncio.create_task(reading())
    while len(chunks) < 3:
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert remote._remotes.endpoints.of(f"{scripted_server}/v1").load == 0
    deadline = time.monotonic() + 60
    while not seen(scripted_server, "slow:gone")["disconnected"]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    await remote.close()


async def test_a_job_meets_a_broken_server_and_the_engine_goes_on(scripted_server: str) -> None:
    broken = engine(scripted_server, "cut:job")
    with pytest.raises(BrokenAnswer):
        await broken.generate([ASKED, ASKED])
    assert (await engine(scripted_server, "ok:job").generate([ASKED]))[0].text.startswith("The capital")
    await broken.close()


async def test_a_key_is_found_nowhere_after_battles_and_failures(
    scripted_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Two battles with a key that one server takes and another repeats in its refusal; then every byte of the data
    folder, the log and the errors is searched."""
    right, wrong = "sk-scripted-비밀-0123456789".encode().hex(), "sk-wrong-0123456789abcdef"
    monkeypatch.setenv("RIGHT_KEY", right)
    monkeypatch.setenv("WRONG_KEY", wrong)
    specs = [
        ModelSpec(
            name=name, kind="openai", source=f"auth:{name}", base_url=f"{scripted_server}/v1", api_key_env=key
        )
        for name, key in (("good", "RIGHT_KEY"), ("bad", "WRONG_KEY"))
    ]
    store = open_store(tmp_path)
    pool = EnginePool(tmp_path)
    try:
        with caplog.at_level(logging.DEBUG):
            roster = enrol(store, specs, lambda spec: "")
            battles = BattleService(store, roster, pool.get, Uniform(), BattleSettings())
            voter = ids.new_id()
            view = await battles.start(voter, "프랑스의 수도는?")
            while view.phase == "answering":
                await asyncio.sleep(0.05)
                found = battles.view(voter, view.id)
                assert found is not None
                view = found
            await battles.close()
        rows = store.query("SELECT text, error FROM generations ORDER BY error NULLS FIRST").to_pylist()
        assert "Paris" in rows[0]["text"]
        assert "***" in rows[1]["error"]  # the server repeated the key that it refused
    finally:
        await pool.close()
        store.close()
    for key in (right, wrong):
        assert key not in caplog.text
        for file in tmp_path.rglob("*"):
            if file.is_file():
                assert key.encode() not in file.read_bytes(), file
