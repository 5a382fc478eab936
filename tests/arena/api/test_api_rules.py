"""The API inside this process: open doors on loopback, limits, what is logged, clients that leave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from arena.api.access import Access
from arena.api.app import ApiApp
from arena.api.records import RequestLog
from arena.api.request_ids import RequestIds
from arena.api.service import ApiService
from arena.api.tokens import issue
from arena.config import ApiSettings, LogSettings, ServerSettings, Settings
from arena.engines import worker_process
from arena.engines.observed import Telemetry
from arena.engines.pool import EnginePool
from arena.engines.spec import ModelSpec
from arena.roster import enter
from results.ids import new_id
from results.records import now
from results.store import Store, open_store
from results.store.model_facts import ModelFacts
from results.store.tokens import add_token, revoke_token
from tests.arena.engines.made_models import save_headers, small_model

Make = Callable[..., ApiService]
CHAT = "/v1/chat/completions"


async def _elsewhere(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 418, "headers": []})
    await send({"type": "http.response.body", "body": b"a page"})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "data") as opened:
        yield opened


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EnginePool]:
    """Engines whose worker is a real process that counts aloud, a hundred words a second."""
    monkeypatch.setattr(worker_process, "WORKER", "tests._servers.scripted_worker")
    made = EnginePool(tmp_path, dtype="float32")
    yield made
    asyncio.run(made.close())


@pytest.fixture
def make(store: Store, pool: EnginePool, scripted_server: str, tmp_path: Path) -> Make:
    """Makes services whose roster holds a local model and remote ones, all scripted."""
    save_headers(tmp_path / "one", *small_model())
    enter(store, ModelSpec(name="smollm2", source=str(tmp_path / "one")), tmp_path, facts=ModelFacts())
    for mode in ("ok", "slow", "hang"):
        spec = ModelSpec(
            name=mode, kind="openai", source=f"{mode}:{new_id()}", base_url=f"{scripted_server}/v1"
        )
        enter(store, spec, tmp_path)
    nobody = ModelSpec(name="down", kind="openai", source="x", base_url="http://127.0.0.1:9/v1")
    enter(store, nobody, tmp_path)

    def service(log: RequestLog | None = None, api: ApiSettings | None = None, **server: Any) -> ApiService:
        settings = Settings(server=ServerSettings.model_validate(server), api=api or ApiSettings())
        telemetry = Telemetry()
        access = Access(store, settings.server)
        return ApiService(settings, store, pool.get, pool.status, telemetry, access, log)

    return service


@contextlib.asynccontextmanager
async def _client(service: ApiService) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server in a thread of this process, over a real connection."""
    config = uvicorn.Config(
        RequestIds(ApiApp(_elsewhere, service)), port=0, log_level="error", lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False
        ) as client:
            yield client
    finally:
        server.should_exit = True
        await asyncio.to_thread(thread.join)


def _chat(model: str, **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Tell me a long story."}], **fields}


def _bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


async def test_the_local_user_needs_no_token_until_one_was_made(store: Store, make: Make) -> None:
    async with _client(make()) as client:
        assert (await client.get("/v1/models")).status_code == 200
        assert (await client.get("/v1/models", headers=_bearer("sk-anything"))).status_code == 200
        assert (await client.get("/metrics")).status_code == 200
        assert (await client.get("/leaderboard")).text == "a page"
        by_proxy = await client.get("/v1/models", headers={"x-forwarded-for": "203.0.113.9"})
        assert by_proxy.status_code == 401
        record, text = issue("mine")
        await asyncio.to_thread(add_token, store, record)
        assert (await client.get("/v1/models")).status_code == 401
        assert (await client.get("/v1/models", headers=_bearer(text))).status_code == 200
        assert (await client.get("/metrics")).status_code == 200  # no operator's token guards it yet
        await asyncio.to_thread(revoke_token, store, record.id)
        assert (await client.get("/v1/models", headers=_bearer(text))).status_code == 401
        assert (await client.get("/v1/models")).status_code == 401  # revoking the last one opens nothing


async def test_elsewhere_than_on_loopback_a_token_is_always_needed(store: Store, make: Make) -> None:
    for server in ({"host": "0.0.0.0"}, {"allowed_hosts": ["arena.example"]}, {"root_path": "/arena"}):
        async with _client(make(**server)) as client:
            assert (await client.get("/v1/models")).status_code == 401, server
            assert (await client.get("/metrics")).status_code == 401, server
            assert (await client.get("/healthz")).status_code == 200, server


async def test_an_expired_token_opens_nothing(store: Store, make: Make) -> None:
    record, text = issue("old", expires_at=now())
    await asyncio.to_thread(add_token, store, record)
    async with _client(make()) as client:
        assert (await client.get("/v1/models", headers=_bearer(text))).status_code == 401


@pytest.mark.parametrize(
    ("model", "status", "code"), [("down", 503, "engine_unavailable"), ("hang", 504, "timed_out")]
)
async def test_engines_that_cannot_answer_in_time(make: Make, model: str, status: int, code: str) -> None:
    # What is down is told so before the time is over: it is tried again as long as there is time.
    async with _client(make(api=ApiSettings(answer_timeout=1 if model == "hang" else 4))) as client:
        for stream in (False, True):
            answer = await client.post(CHAT, json=_chat(model, stream=stream))
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
            assert ("retry-after" in answer.headers) is (status == 503)


async def test_open_requests_are_limited_for_each_token(store: Store, make: Make) -> None:
    texts = []
    for name in ("one", "two"):
        record, text = issue(name)
        texts.append(text)
        await asyncio.to_thread(add_token, store, record)
    service = make(api=ApiSettings(max_concurrent=1))
    async with _client(service) as client:
        one, two = (_bearer(text) for text in texts)
        async with client.stream("POST", CHAT, json=_chat("slow", stream=True), headers=one) as stream:
            lines = stream.aiter_lines()
            await anext(lines)
            refused = await client.post(CHAT, json=_chat("ok"), headers=one)
            assert refused.status_code == 429
            assert refused.headers["retry-after"] == "1"
            assert refused.json()["error"]["type"] == "rate_limit_error"
            assert (await client.post(CHAT, json=_chat("ok"), headers=two)).status_code == 200
        await asyncio.wait_for(_idle(service), 60)
        assert (await client.post(CHAT, json=_chat("ok"), headers=one)).status_code == 200


async def _idle(service: ApiService) -> None:
    while not service.slots.idle.is_set():
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_frees_the_engine(make: Make, pool: EnginePool, stream: bool) -> None:
    service = make()

    def generated() -> int:  # counted when an answer has ended, however it did
        return max((each.tokens_generated for each in pool.status() if each.name == "smollm2"), default=0)

    async with _client(service) as client:
        brief = _chat("smollm2", max_tokens=1, temperature=0)
        assert (await client.post(CHAT, json=brief)).status_code == 200  # loads it
        before = generated()
        body = _chat("smollm2", max_tokens=1500, temperature=0, stream=stream)
        pieces = 0
        if stream:
            async with client.stream("POST", CHAT, json=body) as response:
                async for line in response.aiter_lines():
                    pieces += '"content": "' in line
                    if pieces == 6:
                        break
        else:
            asking = asyncio.create_task(client.post(CHAT, json=body))
            while service.telemetry.open_calls().get("smollm2@1") != (0, 1):
                await asyncio.sleep(0.01)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        await asyncio.wait_for(_idle(service), 60)
        async with asyncio.timeout(60):
            while (made := generated() - before) == 0:
                await asyncio.sleep(0.01)
        # What was read, and those made while the connection was closing: of 1500.
        assert made <= pieces + 200
        # The worker decodes for nobody any more: the next answer's tokens are all there are.
        assert (await client.post(CHAT, json=brief)).status_code == 200
        assert generated() - before - made == 1
    (summary,) = service.telemetry.summary()
    assert (summary.cancelled, summary.running, summary.waiting) == (1, 0, 0)


async def test_prompts_are_logged_only_where_that_is_asked_for(make: Make, tmp_path: Path) -> None:
    for asked in (False, True):
        folder = tmp_path / f"logs-{asked}"
        log = RequestLog(folder, LogSettings(log_prompts=asked))
        async with _client(make(log)) as client:
            body = {"model": "ok", "prompt": "비밀 이야기", "max_tokens": 5}
            assert (await client.post("/v1/completions", json=body)).status_code == 200
        log.close()
        lines = [json.loads(line) for line in (folder / "requests.jsonl").read_text().split("\n")[:-1]]
        assert [line["event"] for line in lines] == ["generation", "request"]
        assert ("비밀 이야기" in (folder / "requests.jsonl").read_text()) is asked
        assert lines[0]["request_id"] == lines[1]["request_id"]


def test_the_log_is_rotated(tmp_path: Path) -> None:
    log = RequestLog(tmp_path, LogSettings(max_megabytes=0.001, keep_files=2))
    for number in range(100):
        log.write("request", {"request_id": f"req_{number}", "filler": "가" * 50})
    log.close()
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["requests.jsonl", "requests.jsonl.1", "requests.jsonl.2"]
    assert all(path.stat().st_size < 2_000 for path in tmp_path.iterdir())
    assert '"req_99"' in (tmp_path / "requests.jsonl").read_text()


async def test_not_ready_before_the_models_are(make: Make) -> None:
    service = make()
    service.readiness.expect(["smollm2", "ok"])
    async with _client(service) as client:
        elsewhere = {"x-forwarded-for": "203.0.113.9"}
        waiting = await client.get("/readyz", headers=elsewhere)
        assert waiting.status_code == 503
        assert "2 of the roster's models" in waiting.json()["reason"]
        assert "smollm2" not in waiting.text
        assert (await client.get("/readyz")).json()["models"]["loading"] == ["smollm2", "ok"]
        service.readiness.settled("ok")
        service.readiness.settled("smollm2", "a shard is damaged")
        ready = await client.get("/readyz")
        assert ready.status_code == 200
        assert ready.json()["models"] == {"loading": [], "left_out": {"smollm2": "a shard is damaged"}}
        assert (await client.get("/readyz", headers=elsewhere)).json() == {"status": "ready"}
        service.store.close()
        dead = await client.get("/readyz")
        assert dead.status_code == 503
        assert "store" in dead.json()["reason"]
