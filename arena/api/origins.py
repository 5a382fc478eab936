"""Requests that a page elsewhere made the reader's browser send (CSRF)."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def is_foreign(request: Request) -> bool:
    """Whether a request that may change something comes from a page that is not ours.

    Browsers say where a request comes from; programs without a browser say nothing, and have no cookies that
    somebody could ride on. A request with an Authorization header is the sender's own: no page can add that to a
    request to us without our leave.
    """
    headers = request.headers
    if request.method in SAFE_METHODS or "authorization" in headers:
        return False
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    if origin is None:
        return False
    hosts = {headers.get("host", ""), *_listed(headers.get("x-forwarded-host", ""))}
    return urlsplit(origin).netloc not in hosts


def _listed(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]
