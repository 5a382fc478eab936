"""Limits, back-off and failover: one endpoint shared by many requests, one model at several addresses."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from arena.config import EndpointSettings
from arena.engines.base import EngineError, EngineUnavailable, Generation, GenerationRequest
from arena.engines.remote import Remotes
from arena.engines.remote_endpoints import Endpoint, Endpoints
from arena.engines.remote_retries import RetryPolicy
from tests.arena.engines.remote_made import ASKED, QUICK, engine, read, seen


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def endpoint(clock: Clock, **limits: int) -> Endpoint:
    return Endpoint(EndpointSettings(url="http://a/v1", **limits), clock)  # type: ignore[arg-type]


LONG = 30.0
"""Seconds for what comes at once unless the machine is very busy."""


@pytest.fixture
def nowhere() -> str:
    """An address at which nothing listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


async def test_a_storm_of_429_is_waited_out_and_not_fed(scripted_server: str) -> None:
    """200 requests at a server that turns half of what it is asked away: all are answered."""
    limits = EndpointSettings(url=f"{scripted_server}/v1", max_concurrent=24)
    remotes = Remotes(Endpoints([limits]))
    remote = engine(scripted_server, "half:storm", RetryPolicy(patience=100), remotes)
    answers = await asyncio.gather(*(one(remote, ASKED) for _ in range(200)))
    await remote.close()
    assert [answer.text for answer in answers] == ["The capital of France is Paris."] * 200
    told = seen(scripted_server, "half:storm")
    # As many tries as the odds ask for (400), not a herd of them, and never more at once than allowed.
    assert 250 < told["requests"] < 650
    assert told["most_open"] <= 24


async def one(remote: object, request: GenerationRequest) -> Generation:
    return (await remote.generate([request]))[0]  # type: ignore[attr-defined,no-any-return]


async def test_models_of_one_endpoint_share_its_places(scripted_server: str) -> None:
    remotes = Remotes(Endpoints([EndpointSettings(url=f"{scripted_server}/v1/", max_concurrent=2)]))
    engines = [engine(scripted_server, f"ok:share-{n}", remotes=remotes) for n in range(2)]
    at_once: list[float] = []

    async def watch() -> None:
        place = remotes.endpoints.of(f"{scripted_server}/v1")
        while True:
            at_once.append(place.load * 2)
            await asyncio.sleep(0.001)

    watching = asyncio.create_task(watch())
    works = [asyncio.create_task(one(remote, ASKED)) for remote in engines for _ in range(6)]
    await asyncio.gather(*works)
    watching.cancel()
    for remote in engines:
        await remote.close()
    assert max(at_once) > 2  # some stood in line
    assert remotes.endpoints.of(f"{scripted_server}/v1").load == 0


async def test_failover_before_the_first_token(scripted_server: str, nowhere: str) -> None:
    urls = [f"{nowhere}/v1", f"{scripted_server}/v1"]
    remotes = Remotes()
    for number in range(6):
        remote = engine(scripted_server, f"ok:over-{number}", remotes=remotes, base_url=urls)
        _, generation = await read(remote)
        assert generation.text == "The capital of France is Paris."
        assert generation.prompt_log["base_url"] == urls[1]
    # It rests after its first failure: later requests do not even try it.
    assert remotes.endpoints.of(urls[0]).rest_left > 0
    assert generation.prompt_log["attempts"] == 1


async def test_all_addresses_down_is_an_error_that_says_so(nowhere: str) -> None:
    remote = engine(nowhere, "ok", base_url=[f"{nowhere}/v1", f"{nowhere}/v2"])
    with pytest.raises(EngineUnavailable, match="cannot be reached"):
        await read(remote)


async def test_no_failover_once_text_came(scripted_server: str) -> None:
    remote = engine(
        scripted_server, "cut:over", base_url=[f"{scripted_server}/v1", f"{scripted_server}/v1/../v1"]
    )
    with pytest.raises(EngineError, match="connection was lost"):
        await read(remote)
    assert seen(scripted_server, "cut:over")["requests"] == 1


def test_the_least_busy_address_is_chosen_and_a_failed_one_rests_longer_each_time() -> None:
    clock = Clock()
    endpoints = Endpoints(clock=clock)
    urls = ["http://a/v1", "http://b/v1"]
    first, second = (endpoints.of(url) for url in urls)
    place = asyncio.run(first.enter(10))
    assert {endpoints.choose(urls) for _ in range(8)} == {second}
    second.failed()
    rest = second.rest_left
    assert 0.7 < rest < 1.3
    assert {endpoints.choose(urls) for _ in range(8)} == {first}
    clock.now += rest
    # After its rest one request probes it; until that succeeds the others stay away.
    assert endpoints.choose(urls) is second
    probe = asyncio.run(second.enter(10))
    assert {endpoints.choose(urls) for _ in range(8)} == {first}
    second.failed()
    second.leave(probe, None)
    assert second.rest_left > 1.4
    clock.now += second.rest_left
    asyncio.run(second.enter(10))
    second.answered()
    first.leave(place, 12)
    assert {endpoints.choose(urls) for _ in range(8)} == {first}
    assert endpoints.choose(urls, tried={first.url}) is second


async def test_requests_and_tokens_a_minute() -> None:
    clock = Clock()
    by_count = endpoint(clock, requests_per_minute=3)
    for _ in range(3):
        by_count.leave(await by_count.enter(10), 10)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(by_count.enter(10), 0.05)
    clock.now += 60
    await asyncio.wait_for(by_count.enter(10), LONG)

    by_tokens = endpoint(clock, tokens_per_minute=1000)
    place = await by_tokens.enter(900)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(by_tokens.enter(200), 0.05)
    by_tokens.leave(place, 700)  # it took fewer than was thought
    await asyncio.wait_for(by_tokens.enter(200), LONG)
    clock.now += 61
    # More than the limit ever allows goes alone rather than never.
    await asyncio.wait_for(by_tokens.enter(5000), LONG)


async def test_too_many_requests_halves_what_is_open_and_answers_bring_it_back() -> None:
    clock = Clock()
    busy = endpoint(clock, max_concurrent=8)
    places = [await busy.enter(1) for _ in range(8)]
    for place in places:  # turned away together: one sign
        busy.too_many(place, 2.0)
        busy.leave(place, None)
    assert busy.pause_left == 2.0
    clock.now += 2.0
    for _ in range(4):
        await asyncio.wait_for(busy.enter(1), LONG)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(busy.enter(1), 0.05)
    for _ in range(5):
        busy.answered()
    await asyncio.wait_for(busy.enter(1), LONG)


async def test_a_request_that_gives_up_waiting_leaves_the_line() -> None:
    narrow = endpoint(Clock(), max_concurrent=1)
    place = await narrow.enter(1)
    waiting = [asyncio.create_task(narrow.enter(1)) for _ in range(3)]
    await asyncio.sleep(0.01)
    waiting[0].cancel()
    await asyncio.sleep(0.01)
    narrow.leave(place, None)
    second = await asyncio.wait_for(waiting[1], LONG)
    assert not waiting[2].done()
    narrow.leave(second, None)
    narrow.leave(await asyncio.wait_for(waiting[2], LONG), None)
    assert narrow.load == 0


async def test_a_retry_after_beyond_the_time_allowed_is_told_at_once(scripted_server: str) -> None:
    began = time.monotonic()
    with pytest.raises(EngineUnavailable, match="too many requests"):
        await read(engine(scripted_server, "busy-for-long", QUICK), ASKED.model_copy(update={"timeout": 25}))
    assert time.monotonic() - began < 20
