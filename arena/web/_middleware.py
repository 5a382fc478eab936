"""What every request passes: security headers, the voter's cookie, the reader's language, and the join code."""

from __future__ import annotations

import asyncio
import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from arena.api.origins import is_foreign
from arena.web import operators
from arena.web._forms import form_fields, form_page
from arena.web._headers import SECURITY_HEADERS
from arena.web._i18n import LANGUAGE_COOKIE, LOCALES, locale_of, text
from arena.web.voters import COOKIE, COOKIE_SECONDS, JOIN_COOKIE, VoterCookies

# Gradio's own. Files come from operators alone; strangers' would lie on our disk.
UPLOAD_PATH = "/gradio_api/upload"

# What no page of ours needs: requests to elsewhere, and calls of components.
CLOSED_PATHS = (
    "/gradio_api/proxy=",
    "/gradio_api/component_server",
    "/gradio_api/deep_link",
)


class FrameMiddleware:
    """Plain ASGI, so that server-sent events pass through unbuffered."""

    def __init__(
        self,
        app: ASGIApp,
        cookies: VoterCookies,
        join_code: str | None,
        known_operators: operators.Operators,
        root_path: str = "",
    ) -> None:
        self._app = app
        self._cookies = cookies
        self._join_code = join_code
        self._operators = known_operators
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            if scope["type"] == "websocket" and self._barred(HTTPConnection(scope)):
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
            return
        # Handlers of pages get no app of ours to ask, only their request.
        scope[operators.SCOPE_KEY] = self._operators
        request = Request(scope, receive)
        path = scope["path"].removeprefix(self._root_path).rstrip("/")
        language = request.query_params.get("lang")
        if scope["method"] == "GET" and language in LOCALES:
            # Relative, so that it stays right behind a proxy that serves the arena under a path.
            name = scope["path"].rsplit("/", 1)[-1]
            redirect = RedirectResponse(f"./{name}", status_code=303)
            redirect.set_cookie(LANGUAGE_COOKIE, language, max_age=COOKIE_SECONDS, samesite="lax")
            await redirect(scope, receive, send)
        elif is_foreign(request):
            await Response("this comes from a page of another site", 403)(scope, receive, send)
        elif self._join_code is not None and path == "/join":
            await (await self._join(request))(scope, receive, send)
        elif self._barred(request):
            await self._join_page(request, 401)(scope, receive, send)
        elif any(closed in scope["path"] for closed in CLOSED_PATHS):
            await Response("not found", 404)(scope, receive, send)
        elif UPLOAD_PATH in scope["path"] and not await asyncio.to_thread(self._operators.knows, request):
            await Response(text(locale_of(request), "operator.needed"), 403)(scope, receive, send)
        elif path == operators.PATH:
            await (await self._operators.page(request))(scope, receive, send)
        else:
            await self._pass(request, send)

    def _barred(self, connection: HTTPConnection) -> bool:
        code = self._join_code
        return code is not None and not self._cookies.has_joined(connection, code)

    async def _join(self, request: Request) -> Response:
        assert self._join_code is not None
        fields = await form_fields(request)
        if fields is None:
            return Response("the form is too long", 413)
        given = fields.get("code", "")
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

    def _join_page(self, request: Request, status: int, wrong: bool = False) -> Response:
        locale = locale_of(request)
        title, label, button = (text(locale, f"join.{key}") for key in ("title", "label", "button"))
        alert = text(locale, "join.wrong") if wrong else None
        return form_page(
            locale, status, action="join", title=title, label=label, button=button, name="code", alert=alert
        )

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
