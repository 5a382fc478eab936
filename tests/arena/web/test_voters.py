import stat
from pathlib import Path

from starlette.requests import HTTPConnection

from arena.web.voters import COOKIE, JOIN_COOKIE, VoterCookies, load_secret


def request(**cookies: str) -> HTTPConnection:
    header = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return HTTPConnection({"type": "http", "headers": [(b"cookie", header.encode())]})


def test_a_cookie_names_its_voter_and_no_other_arena_accepts_it() -> None:
    cookies, elsewhere = VoterCookies("x" * 40), VoterCookies("y" * 40)
    value = cookies.issue()
    voter = cookies.voter(request(**{COOKIE: value}))
    assert voter is not None
    assert cookies.voter(request(**{COOKIE: value})) == voter
    assert cookies.voter(request(**{COOKIE: cookies.issue()})) != voter
    assert elsewhere.voter(request(**{COOKIE: value})) is None


def test_forged_cookies_are_nobody() -> None:
    cookies = VoterCookies("x" * 40)
    value = cookies.issue()
    for forged in ("", "x", value[:-1], "A" + value[1:], value.split(".")[0], '"투표".abc'):
        assert cookies.voter(request(**{COOKIE: forged})) is None
    joined = cookies.issue_joined("code-1")
    assert cookies.voter(request(**{COOKIE: joined})) is None
    assert cookies.has_joined(request(**{JOIN_COOKIE: joined}), "code-1")
    assert not cookies.has_joined(request(**{JOIN_COOKIE: joined}), "code-2")
    assert not cookies.has_joined(request(**{JOIN_COOKIE: value}), "code-1")


def test_the_secret_is_made_once_and_private(tmp_path: Path) -> None:
    secret = load_secret(tmp_path)
    assert load_secret(tmp_path) == secret
    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600
    (tmp_path / "secret.key").write_text("")  # as after a start that died while making it
    assert len(load_secret(tmp_path)) >= 32
