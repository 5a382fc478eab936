"""What every request passes: security headers, the voter's cookie, the reader's language, and the join code."""

from __future__ import annotations

import html
import secrets
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from arena.web._i18n import LANGUAGE_COOKIE, LOCALES, locale_of, text
from arena.web.voters import COOKIE, COOKIE_SECONDS, JOIN_COOKIE, VoterCookies

# Gradio's pages need inline scripts and styles and build functions from text; nothing may come from elsewhere,
# so that an answer holding an image or a script cannot make a voter's browser call somebody.
SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; media-src 'self' data: blob:; "
        "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}
OPEN_PATHS = ("/healthz", "/join")
LONGEST_FORM = 4096
# Gradio's own, which no page of ours needs: files of strangers on our disk, and requests to elsewhere.
CLOSED_PATHS = (
    "/gradio_api/upload",
    "/gradio_api/proxy=",
    "/gradio_api/component_server",
    "/gradio_api/deep_link",
)


class FrameMiddleware:
    """Plain ASGI, so that server-sent events pass through unbuffered."""

    def __init__(self, app: ASGIApp, cookies: VoterCookies, join_code: str | None) -> None:
        self._app = app
        self._cookies = cookies
        self._join_code = join_code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            if scope["type"] == "websocket" and self._barred(HTTPConnection(scope)):
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        language = request.query_params.get("lang")
        if scope["method"] == "GET" and language in LOCALES:
            # Relative, so that it stays right behind a proxy that serves the arena under a path.
            name = scope["path"].rsplit("/", 1)[-1]
            redirect = RedirectResponse(f"./{name}", status_code=303)
            redirect.set_cookie(LANGUAGE_COOKIE, language, max_age=COOKIE_SECONDS, samesite="lax")
            await redirect(scope, receive, send)
        elif self._join_code is not None and scope["path"].rstrip("/").endswith("/join"):
            await (await self._join(request))(scope, receive, send)
        elif self._barred(request):
            await self._join_page(request, 401)(scope, receive, send)
        elif any(closed in scope["path"] for closed in CLOSED_PATHS):
            await Response("not found", 404)(scope, receive, send)
        else:
            await self._pass(request, send)

    def _barred(self, connection: HTTPConnection) -> bool:
        code = self._join_code
        if code is None or connection.scope["path"] in OPEN_PATHS:
            return False
        return not self._cookies.has_joined(connection, code)

    async def _join(self, request: Request) -> Response:
        assert self._join_code is not None
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > LONGEST_FORM:
                return Response("the form is too long", 413)
        given = parse_qs(body.decode("utf-8", "replace")).get("code", [""])[0]
        if request.method != "POST" or not secrets.compare_digest(given.encode(), self._join_code.encode()):
            return self._join_page(request, 401, wrong=request.method == "POST")
        response = RedirectResponse("./", status_code=303)
        response.set_cookie(
            JOIN_COOKIE,
            self._cookies.issue_joined(given),
            max_age=COOKIE_SECONDS,
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )
        return response

    def _join_page(self, request: Request, status: int, wrong: bool = False) -> HTMLResponse:
        locale = locale_of(request)
        title, label, button, error = (
            html.escape(text(locale, f"join.{key}")) for key in ("title", "label", "button", "wrong")
        )
        page = (
            f'<!doctype html><html lang="{locale}"><meta charset="utf-8"><title>Palaestra</title>'
            '<meta name="viewport" content="width=device-width"><style>body{font:1rem system-ui;margin:15vh auto;'
            "max-width:24rem;padding:0 1rem;color-scheme:light dark}input,button{font:inherit;padding:.5rem}</style>"
            f'<h1>{title}</h1><form method="post" action="join"><label>{label} '
            f'<input name="code" type="password" required autofocus></label> <button>{button}</button></form>'
            f"{f'<p role=alert>{error}</p>' if wrong else ''}"
        )
        return HTMLResponse(page, status, headers=SECURITY_HEADERS)

    async def _pass(self, request: Request, send: Send) -> None:
        new_voter = self._cookies.issue() if self._cookies.voter(request) is None else None
        locale = locale_of(request)
        page_start: Message | None = None
        body = b""

        async def send_framed(message: Message) -> None:
            nonlocal page_start, body
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
                if _is_page(request, headers):
                    if new_voter is not None:
                        headers.append("set-cookie", _voter_cookie(new_voter, request.url.scheme == "https"))
                    headers["cache-control"] = "no-store"
                    page_start = message
                    return
                await send(message)
            elif page_start is not None and message["type"] == "http.response.body":
                body += message.get("body", b"")
                if message.get("more_body"):
                    return
                framed = _localised(body, locale)
                MutableHeaders(raw=page_start["headers"])["content-length"] = str(len(framed))
                await send(page_start)
                await send({"type": "http.response.body", "body": framed})
            else:
                await send(message)

        await self._app(request.scope, request.receive, send_framed)


def _is_page(request: Request, headers: Headers) -> bool:
    return request.method == "GET" and headers.get("content-type", "").startswith("text/html")


def _voter_cookie(value: str, secure: bool) -> str:
    response = Response()
    response.set_cookie(COOKIE, value, max_age=COOKIE_SECONDS, httponly=True, samesite="lax", secure=secure)
    return response.headers["set-cookie"]


def _localised(body: bytes, locale: str) -> bytes:
    """Gradio's page in the reader's language: it asks `navigator.language` alone, and marks no `lang`."""
    script = (
        f'<html lang="{locale}"><head><script>Object.defineProperty(navigator,"language",'
        f'{{get:()=>"{locale}"}});document.documentElement.lang="{locale}";</script>'
    )
    _, found, rest = body.partition(b"<head>")
    return b"<!doctype html>" + script.encode() + rest if found else body
