"""Operators: who may load, upload, train and configure.

On loopback, as long as no operator's token was ever made, the local user is the operator. Otherwise an operator's
token is given once at `/operator`, and a signed cookie remembers which one it was; a token that ends or is revoked
ends the cookie with it. Pages ask `is_operator(request)` or let `require(request)` refuse.
"""

from __future__ import annotations

import asyncio
import html
from typing import Any
from uuid import UUID

import gradio as gr
from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response

from arena.api.access import Access
from arena.web._forms import form_fields, form_page
from arena.web._i18n import locale_of, text

COOKIE = "palaestra_operator"
COOKIE_SECONDS = 12 * 3600
SCOPE_KEY = "palaestra.operators"
PATH = "/operator"


class NotOperator(PermissionError):
    """The request's sender may not do this; the message (in the reader's language) says how to become one who may."""


class Operators:
    """Knows the operators of one arena. Blocking where it asks the store: call it from a thread."""

    def __init__(self, access: Access, secret: str) -> None:
        self._access = access
        self._cookies = URLSafeTimedSerializer(secret, salt="operator")

    def knows(self, connection: HTTPConnection | gr.Request) -> bool:
        """Whether an operator sent this."""
        headers = {name.lower(): value for name, value in connection.headers.items()}
        if self._access.is_open(headers, "operator"):
            return True
        token = self._token_of(connection)
        found = self._access.guard.still_active(token) if token is not None else None
        return found is not None and found.scope == "operator"

    def _token_of(self, connection: HTTPConnection | gr.Request) -> UUID | None:
        try:
            given = self._cookies.loads(connection.cookies.get(COOKIE, ""), max_age=COOKIE_SECONDS)
            return UUID(hex=given)
        except (BadSignature, ValueError, TypeError):
            return None

    async def page(self, request: Request) -> Response:
        """The form at `/operator`: GET shows it, POST takes a token (or, with `leave`, gives the cookie up)."""
        locale = locale_of(request)
        if request.method != "POST":
            known = await asyncio.to_thread(self.knows, request)
            return _form(locale, 200, "operator.known" if known else None)
        fields = await form_fields(request)
        if fields is None:
            return Response("the form is too long", 413)
        if "leave" in fields:
            response: Response = RedirectResponse("./", status_code=303)
            response.delete_cookie(COOKIE)
            return response
        found = await asyncio.to_thread(self._access.guard.active, fields.get("token", "").strip())
        if found is None or found.scope != "operator":
            return _form(locale, 401, "operator.wrong")
        response = RedirectResponse("./", status_code=303)
        response.set_cookie(
            COOKIE,
            str(self._cookies.dumps(found.id.hex)),
            max_age=COOKIE_SECONDS,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response


def is_operator(request: gr.Request | HTTPConnection) -> bool:
    """Whether the sender of a page's request may load, upload, train and configure. Asks the store: milliseconds."""
    connection = request.request if isinstance(request, gr.Request) else request
    operators: Any = getattr(connection, "scope", {}).get(SCOPE_KEY)
    return operators is not None and bool(operators.knows(request))


def require(request: gr.Request | HTTPConnection) -> None:
    """Go on only for an operator.

    Raises:
        NotOperator: with what to do, in the reader's language.
    """
    if not is_operator(request):
        raise NotOperator(text(locale_of(request), "operator.needed"))


def _form(locale: str, status: int, message: str | None) -> Response:
    button = f'<button name="leave" value="1">{html.escape(text(locale, "operator.leave"))}</button>'
    leave = f'<form method="post" action="operator">{button}</form>'
    return form_page(
        locale,
        status,
        action="operator",
        title=text(locale, "operator.title"),
        label=text(locale, "operator.label"),
        button=text(locale, "operator.button"),
        name="token",
        alert=text(locale, message) if message else None,
        more=leave if message == "operator.known" else "",
    )
