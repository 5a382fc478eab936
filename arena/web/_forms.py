"""Small pages with one field, which work without scripts: the join code and the operator's token."""

from __future__ import annotations

import html
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse

from arena.web._headers import SECURITY_HEADERS

LONGEST_FORM = 4096


async def form_fields(request: Request) -> dict[str, str] | None:
    """The fields of a posted form; None where it is too long to be one of ours."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LONGEST_FORM:
            return None
    return {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


def form_page(
    locale: str,
    status: int,
    *,
    action: str,
    title: str,
    label: str,
    button: str,
    name: str,
    alert: str | None = None,
    more: str = "",
) -> HTMLResponse:
    """A page that asks for one secret. All texts but `more` (HTML of ours) are escaped."""
    title, label, button = (html.escape(each) for each in (title, label, button))
    page = (
        f'<!doctype html><html lang="{locale}"><meta charset="utf-8"><title>Palaestra</title>'
        '<meta name="viewport" content="width=device-width"><style>'
        ":root{color-scheme:light dark}body{font:1rem system-ui;margin:15vh auto;"
        "max-width:24rem;padding:0 1rem}input,button{font:inherit;padding:.5rem}"
        "form{margin:1rem 0}</style>"
        f'<main><h1>{title}</h1><form method="post" action="{action}"><label>{label} '
        f'<input name="{name}" type="password" autocomplete="off" required autofocus></label> '
        f"<button>{button}</button></form>"
        f"{f'<p role=alert>{html.escape(alert)}</p>' if alert else ''}{more}</main>"
    )
    return HTMLResponse(page, status, headers=SECURITY_HEADERS)
