"""Figures of observed engines: counts, quantiles, what battles tell, and that nothing changes by being observed."""

from __future__ import annotations

from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest

from arena.engines.base import EngineUnavailable, Finished, GenerationRequest, TextDelta
from arena.engines.observed import Observation, Telemetry, request_id
from arena.engines.remote import RemoteEngine
from arena.engines.spec import ModelSpec
from prompt_formats.conversation import Conversation

ASKED = GenerationRequest(conversation=Conversation().add("user", "수도는?"))


def _seen(model: str, **fields: object) -> Observation:
    defaults = {
        "request_id": "req_1",
        "time": datetime.now(UTC),
        "source": "api",
        "outcome": "finished",
        "duration": 1.0,
    }
    return Observation.model_validate({**defaults, "model": model, **fields})


def _engine(scripted_server: str, mode: str) -> RemoteEngine:
    return RemoteEngine(
        ModelSpec(name=mode, kind="openai", source=f"{mode}:seen", base_url=f"{scripted_server}/v1")
    )


def test_quantiles_are_nearest_ranks_of_the_last_minutes() -> None:
    telemetry = Telemetry()
    for number in range(1, 101):
        telemetry.record(
            _seen("m@1", time_to_first_token=number / 100, duration=number / 10, completion_tokens=11)
        )
    telemetry.record(_seen("m@1", outcome="unavailable", duration=9999))
    telemetry.record(_seen("m@1", time=datetime.now(UTC) - timedelta(hours=1), duration=5000))
    (summary,) = telemetry.summary(minutes=15)
    assert (summary.requests, summary.errors, summary.completion_tokens) == (101, {"unavailable": 1}, 1100)
    assert (summary.time_to_first_token.p50, summary.time_to_first_token.p95) == (0.5, 0.95)
    assert (summary.duration.p50, summary.duration.p95) == (5.0, 9.5)
    assert summary.tokens_per_second.count == 100
    # The slowest take 10 s, of which 1 s until the first token, for ten more tokens.
    assert summary.tokens_per_second.p50 == pytest.approx(10 / (5.1 - 0.51))


def test_battles_are_told_together_and_without_names() -> None:
    telemetry = Telemetry()
    for model in ("ada", "bob"):
        telemetry.record(_seen(model, source="battle"))
    telemetry.record(_seen("ada@1"))
    battles, named = sorted(telemetry.summary(), key=lambda each: each.model or "")
    assert (battles.model, battles.requests) == (None, 2)
    assert (named.model, named.requests) == ("ada@1", 1)
    with telemetry.counted("battle", "bob"):
        assert telemetry.open_calls() == {None: (1, 0)}
    assert telemetry.open_calls() == {}


async def test_an_observed_engine_answers_as_before(scripted_server: str) -> None:
    telemetry, heard = Telemetry(), []
    telemetry.listen(heard.append)
    telemetry.listen(lambda _: 1 / 0)  # a broken log breaks no answer
    engine = telemetry.observed(_engine(scripted_server, "korean"), "korean@1", "api")
    request_id.set("req_of_this_test")
    async with aclosing(engine.stream(ASKED)) as stream:
        chunks = [chunk async for chunk in stream]
    finished = chunks[-1]
    assert isinstance(finished, Finished)
    assert finished.generation.text == "대한민국의 수도는 서울입니다."
    (seen,) = heard
    assert (seen.request_id, seen.outcome, seen.completion_tokens) == ("req_of_this_test", "finished", 6)
    assert seen.time_to_first_token is not None
    assert 0 < seen.time_to_first_token <= seen.duration
    assert [made.text for made in await engine.generate([ASKED, ASKED])] == [finished.generation.text] * 2
    assert telemetry.summary()[0].requests == 3


async def test_errors_and_closed_streams_are_told_as_such(scripted_server: str) -> None:
    telemetry = Telemetry()
    down = RemoteEngine(ModelSpec(name="down", kind="openai", source="x", base_url="http://127.0.0.1:9/v1"))
    failing = telemetry.observed(down, "down@1", "job")
    with pytest.raises(EngineUnavailable):
        async for _ in failing.stream(ASKED.model_copy(update={"timeout": 0.5})):
            pass
    slow = telemetry.observed(_engine(scripted_server, "slow"), "slow@1", "page")
    async with aclosing(slow.stream(ASKED)) as chunks:
        async for chunk in chunks:
            if isinstance(chunk, TextDelta):
                assert telemetry.open_calls() == {"slow@1": (0, 1)}
                break
    failed, closed = telemetry.summary()
    assert failed.errors == {"unavailable": 1}
    assert (closed.cancelled, closed.errors, closed.running) == (1, {}, 0)
