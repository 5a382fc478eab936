"""The Monitoring page: figures for the operator, in both languages, and nothing that tells a battle's models apart."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

from arena.api.access import Access
from arena.api.tokens import issue
from arena.battle import BattleService
from arena.config import Settings
from arena.engines.observed import Observation
from arena.engines.pool import EngineStatus
from arena.matchmaking import Uniform
from arena.roster import Roster
from arena.web._frame import PageContext
from arena.web.app import create_app
from arena.web.operators import SCOPE_KEY, Operators
from arena.web.pages.monitoring import monitoring_html
from arena.web.voters import VoterCookies
from results.store import open_store
from results.store.tokens import add_token


@pytest.fixture
def context(tmp_path: Path) -> Iterator[PageContext]:
    with open_store(tmp_path) as store:
        settings, roster = Settings(), Roster([])

        def no_engine(spec: object) -> Any:
            raise AssertionError("nothing is generated here")

        battles = BattleService(store, roster, no_engine, Uniform(), settings.battle)
        yield PageContext(settings, store, roster, battles, VoterCookies("s" * 40))


def _request(context: PageContext, language: str = "en", **headers: str) -> gr.Request:
    operators = Operators(Access(context.store, context.settings.server), "s" * 40)
    named = {
        "accept-language": language,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    scope = {
        "type": "http", "method": "GET", "path": "/", "query_string": b"", SCOPE_KEY: operators,
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
    }  # fmt: skip
    return gr.Request(Request(scope))


def _seen(model: str, source: str, outcome: str = "finished") -> Observation:
    return Observation.model_validate(
        {
            "request_id": "req_1", "time": datetime.now(UTC), "source": source, "model": model,
            "outcome": outcome, "duration": 2.5, "time_to_first_token": 0.5, "prompt_tokens": 1234,
            "completion_tokens": 41,
        }
    )  # fmt: skip


def test_the_operator_sees_models_by_api_and_battles_as_a_whole(context: PageContext) -> None:
    for model in ("비밀-ada", "비밀-bob"):
        context.telemetry.record(_seen(model, "battle"))
    context.telemetry.record(_seen("<b>eve</b>@1", "api"))
    context.telemetry.record(_seen("<b>eve</b>@1", "api", "timed_out"))
    page = monitoring_html(context, 15, _request(context))
    assert "All battles" in page
    assert "비밀" not in page
    assert "&lt;b&gt;eve&lt;/b&gt;@1" in page
    assert "0.50 / 0.50" in page
    assert "20.0 / 20.0" in page  # 40 tokens in two seconds
    assert "timed out 1" in page
    assert "2,468" in page
    korean = monitoring_html(context, 15, _request(context, "ko"))
    assert "배틀 전체" in korean
    assert "시간 초과 1" in korean


def test_engines_are_listed_once_with_their_memory(context: PageContext) -> None:
    loaded = EngineStatus("ada", "local", "ready", device="cpu", dtype="float32", memory=512 * 2**20)
    pool = SimpleNamespace(
        status=lambda: [
            EngineStatus("ada", "local", "unloaded"),
            loaded,
            EngineStatus("far", "openai", "ready"),
        ]
    )
    page = monitoring_html(PageContext(**{**vars(context), "engines": pool}), 5, _request(context))
    assert page.count(">ada<") == 1
    assert "512 MiB" in page
    assert "endpoint" in page


def test_nobody_else_sees_anything(context: PageContext) -> None:
    context.telemetry.record(_seen("eve@1", "api"))
    add_token(context.store, issue("ops", "operator")[0])
    for request in (_request(context), _request(context, x_forwarded_for="203.0.113.9")):
        page = monitoring_html(context, 15, request)
        assert "eve" not in page
        assert "/operator" in page
        assert 'role="alert"' in page


def test_the_page_is_served(context: PageContext) -> None:
    browser = TestClient(create_app(context), base_url="http://127.0.0.1:7860")
    page = browser.get("/monitor")
    assert page.status_code == 200
    assert "<html" in page.text
