"""The app's frame over HTTP: who is let in, what every response carries, what is not served."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from arena.battle import BattleService
from arena.config import ServerSettings, Settings
from arena.engines.spec import ModelSpec
from arena.matchmaking import Uniform
from arena.roster import enrol
from arena.web._frame import PageContext
from arena.web.app import create_app
from arena.web.voters import COOKIE, VoterCookies
from results.store import open_store

Client = Callable[..., TestClient]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """Makes clients of apps with given server settings."""
    with open_store(tmp_path) as store:

        def make(**server: object) -> TestClient:
            settings = Settings(server=ServerSettings.model_validate(server))
            roster = enrol(
                store, [ModelSpec(name=name, source=name) for name in ("ada", "bob")], lambda s: s.name
            )

            def no_engine(spec: ModelSpec) -> None:
                raise AssertionError("no battle is fought here")

            battles = BattleService(store, roster, no_engine, Uniform(), settings.battle)  # type: ignore[arg-type]
            context = PageContext(settings, store, roster, battles, VoterCookies("s" * 40))
            return TestClient(create_app(context), base_url="http://127.0.0.1:7860", follow_redirects=False)

        yield make


def test_pages_carry_security_headers_a_voter_and_a_language(client: Client) -> None:
    browser = client()
    page = browser.get("/", headers={"accept-language": "ko-KR,ko;q=0.9"})
    assert page.status_code == 200
    assert '<html lang="ko">' in page.text
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    cookie = page.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    again = browser.get("/leaderboard")
    assert "set-cookie" not in again.headers
    assert '<html lang="en">' in again.text


def test_the_language_link_is_remembered(client: Client) -> None:
    browser = client()
    chosen = browser.get("/leaderboard?lang=ko")
    assert chosen.status_code == 303
    assert chosen.headers["location"] == "./leaderboard"
    assert '<html lang="ko">' in browser.get("/", headers={"accept-language": "en"}).text


def test_nothing_is_served_that_would_call_elsewhere_or_run_what_is_not_meant(client: Client) -> None:
    browser = client()
    for path in ("/docs", "/redoc"):
        assert browser.get(path).status_code == 404, path
    assert browser.get("/healthz").json() == {"status": "ok"}
    assert browser.get("/gradio_api/proxy=http://example.com/").status_code == 404
    named = browser.get("/gradio_api/info").json()["named_endpoints"]
    assert named == {}


def test_files_come_from_operators_alone(client: Client, tmp_path: Path) -> None:
    browser = client(host="0.0.0.0", join_code="swordfish")
    browser.cookies.set("palaestra_joined", "forged")
    assert browser.post("/gradio_api/upload", files={"files": b"x"}).status_code == 401
    assert browser.post("/join", data={"code": "swordfish"}).status_code == 303
    refused = browser.post("/gradio_api/upload", files={"files": b"x"})
    assert refused.status_code == 403
    assert "operator" in refused.text


def test_other_host_names_are_refused_on_loopback(client: Client) -> None:
    browser = client()
    assert browser.get("/", headers={"host": "attacker.example"}).status_code == 400
    assert (
        client(allowed_hosts=["arena.example"]).get("/", headers={"host": "arena.example"}).status_code == 200
    )


def test_a_join_code_bars_everything_until_it_is_given(client: Client) -> None:
    browser = client(host="0.0.0.0", join_code="열려라-참깨")
    for path in ("/", "/leaderboard", "/config", "/gradio_api/info"):
        barred = browser.get(path)
        assert barred.status_code == 401, path
        assert "ada" not in barred.text
    assert browser.get("/healthz").status_code == 200
    assert browser.post("/gradio_api/queue/join", json={}).status_code == 401
    wrong = browser.post("/join", data={"code": "guess"})
    assert wrong.status_code == 401
    assert "not right" in wrong.text
    assert browser.post("/join", content=b"code=" + b"x" * 9000).status_code == 413
    right = browser.post("/join", data={"code": "열려라-참깨"})
    assert right.status_code == 303
    assert browser.get("/").status_code == 200
