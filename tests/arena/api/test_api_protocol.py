"""/v1 below the level of a client: bodies, paths, tokens, health, metrics, the log; on the shared server."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from results.store import open_store
from results.store.aliases import set_alias
from results.store.tokens import revoke_token, tokens

pytestmark = pytest.mark.model

ASKED = "무엇이 보이나요-7f3a"


def _error(response: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert response.headers["x-request-id"] in error["message"]
    return error


def test_every_error_has_the_shape_that_clients_know(served: Any) -> None:
    chat = "/v1/chat/completions"
    with served.http() as http:
        assert _error(http.post(chat, content=b"{not json"))["code"] == "invalid_json"
        assert _error(http.post(chat, content=b'["a list"]'))["type"] == "invalid_request_error"
        assert _error(http.post(chat, content=b"\xff\xfe"))["code"] == "invalid_json"
        missing = http.post(chat, json={"model": "ok"})
        assert (missing.status_code, _error(missing)["param"]) == (400, "messages")
        huge = http.post(chat, content=b"x" * 200_001)
        assert (huge.status_code, _error(huge)["code"]) == (413, "too_large")
        sent_in_parts = http.post(chat, content=(b"x" * 50_000 for _ in range(10)))
        assert sent_in_parts.status_code == 413
        assert _error(http.get("/v1/nothing"))["code"] == "unknown_url"
        wrong = http.get(chat)
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
        ids = http.post("/v1/completions", json={"model": "ok", "prompt": [1, 2, 3]})
        assert _error(ids)["code"] == "engine_rejected"  # only a model that lies here knows them
        foreign = httpx.post(f"{served.url}{chat}", headers={"origin": "http://evil.example"}, content=b"{}")
        assert (foreign.status_code, _error(foreign)["code"]) == (403, "cross_origin")


def test_a_token_is_needed_once_one_was_made_and_a_revoked_one_is_refused_at_once(served: Any) -> None:
    anonymous = httpx.get(f"{served.url}/v1/models", trust_env=False)
    assert anonymous.status_code == 401
    assert anonymous.headers["www-authenticate"] == "Bearer"
    assert _error(anonymous)["code"] == "invalid_api_key"
    text = served.new_token("잠깐")
    assert served.client(text).models.list().data
    altered = text[:-1] + ("A" if text[-1] != "A" else "B")
    with pytest.raises(openai.AuthenticationError):
        served.client(altered).models.list()
    with open_store(served.data_dir) as store:
        mine = next(each for each in tokens(store) if each.name == "잠깐")
        assert mine.last_used_at is not None
        revoke_token(store, mine.id)
    with pytest.raises(openai.AuthenticationError):
        served.client(text).models.list()


def test_a_running_stream_keeps_its_version_when_its_alias_is_switched(served: Any) -> None:
    client = served.client()
    with open_store(served.data_dir) as store:
        keys = {version.model: version.version_key for version in store.model_versions()}
        set_alias(store, "champion", keys["slow"])
        stream = client.chat.completions.create(
            model="champion", messages=[{"role": "user", "content": "hi"}], stream=True
        )
        first = next(stream)
        set_alias(store, "champion", keys["ok"])
    following = client.chat.completions.create(model="champion", messages=[{"role": "user", "content": "hi"}])
    assert following.model == "ok@1"
    assert client.models.retrieve("champion").model_extra["palaestra"]["aliases"] == ["champion"]
    more = [next(stream) for _ in range(5)]
    stream.close()
    assert {chunk.model for chunk in (first, *more)} == {"slow@1"}


def test_health_and_metrics(served: Any) -> None:
    served.client().chat.completions.create(
        model="smollm2", messages=[{"role": "user", "content": "hi"}], max_tokens=5
    )
    with pytest.raises(openai.APIStatusError):
        served.client().chat.completions.create(model="refuses", messages=[{"role": "user", "content": "hi"}])
    with httpx.Client(base_url=served.url, trust_env=False) as http:
        assert http.get("/healthz").json() == {"status": "ok"}
        ready = http.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
        assert http.get("/metrics").status_code == 401
        api_only = http.get("/metrics", headers={"authorization": f"Bearer {served.token}"})
        assert api_only.status_code == 403
        text = http.get("/metrics", headers={"authorization": f"Bearer {served.operator}"}).text
    found = {
        (
            sample.name,
            sample.labels.get("model"),
            sample.labels.get("kind") or sample.labels.get("direction"),
        ): (sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_bucket")
    }
    assert found["palaestra_tokens_total", "smollm2@1", "out"] >= 5
    assert found["palaestra_tokens_total", "smollm2@1", "in"] > 0
    assert found["palaestra_errors_total", "refuses@1", "rejected"] >= 1
    assert found["palaestra_time_to_first_token_seconds_count", "smollm2@1", None] >= 1
    assert found["palaestra_tokens_per_second_count", "smollm2@1", None] >= 1
    assert found["palaestra_model_loaded", "smollm2", None] == 1
    assert found["palaestra_worker_memory_bytes", "smollm2", None] > 100e6


def test_the_log_tells_what_happened_and_not_what_was_said(served: Any) -> None:
    raw = served.client().chat.completions.with_raw_response.create(
        model="ok", messages=[{"role": "user", "content": ASKED}]
    )
    identity = raw.headers["x-request-id"]
    path: Path = served.data_dir / "logs" / "requests.jsonl"
    deadline = time.monotonic() + 60
    lines: list[dict[str, Any]] = []
    while len(lines) < 2 and time.monotonic() < deadline:
        lines = [
            each
            for each in map(json.loads, path.read_text().split("\n")[:-1])
            if each["request_id"] == identity
        ]
        time.sleep(0.05)
    events = {line["event"]: line for line in lines}
    assert events["request"]["caller"] == "시험"
    assert events["request"]["endpoint"] == "chat.completions"
    assert events["generation"]["model"] == "ok@1"
    assert events["generation"]["completion_tokens"] == 7
    whole = path.read_text()
    assert ASKED not in whole
    assert served.token not in whole
    assert not re.search(r"pal_[0-9a-f]{32}_", whole)
    assert path.stat().st_mode & 0o077 == 0
