"""Who is the operator: the local user, the holder of an operator's token, and nobody else; requests of other pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

from arena.api.access import Access
from arena.api.tokens import issue
from arena.config import ServerSettings
from arena.web._middleware import FrameMiddleware
from arena.web.operators import COOKIE, NotOperator, Operators, is_operator, require
from arena.web.voters import VoterCookies
from results.store import Store, open_store
from results.store.tokens import Scope, add_token, revoke_token

SECRET = "s" * 40
Client = Callable[..., TestClient]


async def _page(scope: object, receive: object, send: Callable[..., object]) -> None:
    """A page that only an operator may use."""
    from starlette.responses import PlainTextResponse

    request = Request(scope)  # type: ignore[arg-type]
    try:
        require(request)
    except NotOperator as error:
        response = PlainTextResponse(str(error), 403)
    else:
        response = PlainTextResponse("welcome")
    assert is_operator(request) is (response.status_code == 200)
    await response(scope, receive, send)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as opened:
        yield opened


@pytest.fixture
def client(store: Store) -> Client:
    """Makes clients of a server with given settings."""

    def make(**server: object) -> TestClient:
        settings = ServerSettings.model_validate(server)
        operators = Operators(Access(store, settings), SECRET)
        app = FrameMiddleware(_page, VoterCookies(SECRET), settings.join_code, operators)
        return TestClient(app, base_url="http://127.0.0.1:7860", follow_redirects=False)

    return make


def _token(store: Store, scope: Scope) -> tuple[str, Callable[[], object]]:
    record, text = issue(f"of {scope}", scope)
    add_token(store, record)
    return text, lambda: revoke_token(store, record.id)


def test_the_local_user_is_the_operator_until_a_token_says_otherwise(store: Store, client: Client) -> None:
    browser = client()
    assert browser.get("/load").text == "welcome"
    assert browser.get("/load", headers={"x-forwarded-for": "203.0.113.9"}).status_code == 403
    _token(store, "api")
    assert browser.get("/load").text == "welcome"  # a token of the API guards the API
    _token(store, "operator")
    refused = browser.get("/load", headers={"accept-language": "ko"})
    assert refused.status_code == 403
    assert "/operator" in refused.text
    assert "운영자" in refused.text


def test_a_token_is_given_once_and_ends_with_its_revocation(store: Store, client: Client) -> None:
    browser = client(host="0.0.0.0", join_code="열려라-참깨")
    api, _ = _token(store, "api")
    operator, revoke = _token(store, "operator")
    browser.post("/join", data={"code": "열려라-참깨"})
    assert browser.get("/load").status_code == 403
    assert "<form" in browser.get("/operator").text
    for wrong in ("guess", api, operator[:-1]):
        assert browser.post("/operator", data={"token": wrong}).status_code == 401
    assert browser.post("/operator", content=b"token=" + b"x" * 9000).status_code == 413
    right = browser.post("/operator", data={"token": operator})
    assert right.status_code == 303
    cookie = right.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert operator not in cookie
    assert browser.get("/load").text == "welcome"
    assert browser.get("/load", headers={"cookie": f"{COOKIE}=made-up"}).status_code != 200
    assert browser.post("/operator", data={"leave": "1"}).status_code == 303
    assert browser.get("/load").status_code == 403
    browser.post("/operator", data={"token": operator})
    assert browser.get("/load").status_code == 200
    revoke()
    assert browser.get("/load").status_code == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://127.0.0.1:7860"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:7860"}, 403),
        ({"sec-fetch-site": "same-origin", "origin": "http://arena.example"}, 200),
        ({"origin": "https://arena.example", "x-forwarded-host": "arena.example"}, 403),
        ({"origin": "http://evil.example", "authorization": "Bearer x"}, 200),
    ],
)
def test_requests_that_another_page_makes_are_refused(
    client: Client, headers: dict[str, str], status: int
) -> None:
    browser = client()
    answer = browser.post("/load", headers=headers)
    if "x-forwarded-host" in headers:
        # It passes as its own, and the proxy's visitor is no operator.
        assert "/operator" in answer.text
    assert answer.status_code == status
    assert browser.get("/load", headers={"origin": "http://evil.example"}).status_code == 200


def test_gradios_own_join_is_not_the_join_form(client: Client) -> None:
    browser = client(host="0.0.0.0", join_code="열려라-참깨")
    browser.post("/join", data={"code": "열려라-참깨"})
    assert (
        browser.post("/gradio_api/queue/join", json={}).status_code == 403
    )  # the page's own answer, not a form
    assert "code" not in browser.post("/gradio_api/queue/join", json={}).text
