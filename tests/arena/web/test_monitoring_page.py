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
from arena.engines.pool import EnginePool, EngineStatus, MemoryStatus
from arena.engines.spec import ModelSpec
from arena.matchmaking import Uniform
from arena.roster import Roster, enrol
from arena.web._frame import PageContext
from arena.web.app import create_app
from arena.web.operators import SCOPE_KEY, Operators
from arena.web.pages.monitoring import monitoring_html
from arena.web.voters import COOKIE, VoterCookies
from results.store import ledger, open_store
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
        ],
        memory=lambda: MemoryStatus(8 * 2**30, 600 * 2**20, None, 0),
    )
    page = monitoring_html(PageContext(**{**vars(context), "engines": pool}), 5, _request(context))
    assert page.count(">ada<") == 1
    assert "537 MB" in page
    assert "629 MB / 8.59 GB" in page
    assert "endpoint" in page


def test_messages_of_errors_are_shown_but_those_of_battles(context: PageContext) -> None:
    for source, message in (("battle", "비밀-ada is down"), ("api", "<i>no such</i> route")):
        seen = _seen("eve@1", source, "unavailable")
        context.telemetry.record(seen.model_copy(update={"error": message}))
    page = monitoring_html(context, 15, _request(context))
    assert "&lt;i&gt;no such&lt;/i&gt; route" in page
    assert "비밀" not in page


def test_who_holds_the_machine(context: PageContext) -> None:
    with ledger.reserve(context.store, purpose="`arena train` (첫 모델)", ram=300_000_000, cores=1):
        page = monitoring_html(context, 15, _request(context))
    assert "`arena train` (첫 모델)" in page
    assert "300 MB" in page
    assert "Nobody has reserved anything" in monitoring_html(context, 15, _request(context))


async def test_an_operators_own_battle_hides_what_would_tell_its_models(
    context: PageContext, scripted_server: str, tmp_path: Path
) -> None:
    """Engines load when they are asked: seeing which ones did would tell who answers."""
    names = ("비밀-ada", "비밀-bob")
    url = f"{scripted_server}/v1"
    specs = [ModelSpec(name=name, kind="openai", source="korean", base_url=url) for name in names]
    roster = enrol(context.store, specs, lambda spec: "")
    engines = EnginePool(tmp_path)
    battles = BattleService(context.store, roster, engines.get, Uniform(), context.settings.battle)
    pool = SimpleNamespace(
        status=lambda: [EngineStatus(names[0], "local", "ready", memory=5)],
        memory=lambda: MemoryStatus(None, 5, None, 0),
    )
    arena = PageContext(**{**vars(context), "engines": pool, "battles": battles})
    cookie = context.cookies.issue()
    own = _request(arena, cookie=f"{COOKIE}={cookie}")
    voter = context.cookies.voter(own)
    assert voter is not None
    assert names[0] in monitoring_html(arena, 15, own)
    battle = await battles.start(voter, "수도는?")
    page = monitoring_html(arena, 15, own)
    assert "비밀" not in page
    assert "Open battles: 1." in page
    assert "Your own battle is still open" in page
    assert names[0] in monitoring_html(arena, 15, _request(arena))  # an operator who is not its voter
    async for _ in battles.follow(voter, battle.id):
        pass
    await battles.vote(voter, battle.id, "tie")
    assert "비밀" not in monitoring_html(arena, 15, own)
    await battles.reveal(voter, battle.id)
    page = monitoring_html(arena, 15, own)
    assert names[0] in page
    assert "Open battles: 0." in page
    await battles.close()
    await engines.close()


def test_nobody_else_sees_anything(context: PageContext) -> None:
    context.telemetry.record(_seen("eve@1", "api"))
    add_token(context.store, issue("ops", "operator")[0])
    for request in (_request(context), _request(context, x_forwarded_for="203.0.113.9")):
        page = monitoring_html(context, 15, request)
        assert "eve" not in page
        assert "/operator" in page
        assert "This arena has 0 models" in page
        assert "Open battles" not in page
        assert 'role="alert"' in page


def test_the_page_is_served(context: PageContext) -> None:
    browser = TestClient(create_app(context), base_url="http://127.0.0.1:7860")
    page = browser.get("/monitor")
    assert page.status_code == 200
    assert "<html" in page.text
