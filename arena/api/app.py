"""The paths of the API as one ASGI app: who may, what was asked, how it ended.

Routing is done here rather than by FastAPI: a client that leaves must stop its model within a token also while
nothing is being sent, and every error has OpenAI's shape.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from urllib.parse import unquote

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from arena.api.embedding import embeddings
from arena.api.errors import SERVER, ApiError
from arena.api.exchange import Disconnected, Exchange
from arena.api.generating import chat_completions, completions
from arena.api.health import metrics, readiness
from arena.api.models import model_list, one_model
from arena.api.origins import is_foreign
from arena.api.records import ApiEvent
from arena.api.service import ApiService
from arena.engines.base import EngineError
from arena.engines.observed import new_request_id, request_id

log = logging.getLogger(__name__)

Handler = Callable[[ApiService, Exchange, bytes], Awaitable[None]]


class _Route(NamedTuple):
    name: str
    method: str
    path: re.Pattern[str]
    handler: Handler


async def _models(service: ApiService, exchange: Exchange, body: bytes) -> None:
    await exchange.json(await asyncio.to_thread(model_list, service.store))


async def _model(service: ApiService, exchange: Exchange, body: bytes) -> None:
    reference = unquote(exchange.scope["path"].partition("/v1/models/")[2])
    await exchange.json(await asyncio.to_thread(one_model, service.store, reference))


ROUTES = (
    _Route("models", "GET", re.compile(r"/v1/models/?"), _models),
    _Route("model", "GET", re.compile(r"/v1/models/.+"), _model),
    _Route("chat.completions", "POST", re.compile(r"/v1/chat/completions/?"), chat_completions),
    _Route("completions", "POST", re.compile(r"/v1/completions/?"), completions),
    _Route("embeddings", "POST", re.compile(r"/v1/embeddings/?"), embeddings),
)
OWN_PATHS = ("/v1", "/metrics", "/readyz", "/healthz")


def is_api_path(path: str) -> bool:
    """Whether a path is the API's, which lets callers in by its own rules."""
    return any(path == own or path.startswith(f"{own}/") for own in OWN_PATHS)


class ApiApp:
    """Answers the API's paths and hands every other request on."""

    def __init__(self, app: ASGIApp, service: ApiService) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http" or not is_api_path(scope["path"]):
            await self._app(scope, receive, send)
            return
        identity = request_id.get() or new_request_id()
        await self._answer(Exchange(scope, receive, send, identity))

    async def _answer(self, exchange: Exchange) -> None:
        began = time.monotonic()
        route = next((each for each in ROUTES if each.path.fullmatch(exchange.scope["path"])), None)
        code: str | None = None
        work = asyncio.create_task(self._handle(exchange, route))
        try:
            code = await work
        except Disconnected:
            code = "disconnected"
        finally:
            # The server cancels what is open when its time to end is over.
            work.cancel()
            if exchange.scope["path"].startswith("/v1"):
                self._service.recorder.api(
                    ApiEvent(
                        request_id=exchange.request_id,
                        endpoint=route.name if route else "unknown",
                        status=exchange.status,
                        code=code,
                        model=exchange.model,
                        caller=exchange.caller.name if exchange.caller else None,
                        duration=round(time.monotonic() - began, 4),
                    )
                )

    async def _handle(self, exchange: Exchange, route: _Route | None) -> str | None:
        try:
            await self._dispatch(exchange, route)
        except ApiError as error:
            await exchange.fail(error)
            return error.code
        except (Disconnected, asyncio.CancelledError):
            raise
        except Exception as error:
            # Whatever it was: the client gets an error in the shape that it knows, and the log the trace.
            log.exception("request %s", exchange.request_id)
            await exchange.fail(ApiError(500, "the server failed", kind=SERVER, code=EngineError.kind))
            return type(error).__name__
        return None

    async def _dispatch(self, exchange: Exchange, route: _Route | None) -> None:
        path, method = exchange.scope["path"], exchange.scope["method"]
        service = self._service
        if is_foreign(Request(exchange.scope)):
            raise ApiError(403, "this comes from a page of another site", code="cross_origin")
        if path == "/healthz":
            await exchange.json({"status": "ok"})
        elif path == "/readyz":
            await readiness(service, exchange)
        elif path == "/metrics":
            exchange.caller = await asyncio.to_thread(service.access.operator, exchange.headers)
            await metrics(service.recorder, exchange)
        else:
            exchange.caller = await asyncio.to_thread(service.access.caller, exchange.headers)
            if route is None:
                raise ApiError(404, f"there is no {path} here", code="unknown_url")
            if method != route.method:
                raise ApiError(
                    405,
                    f"{path} takes {route.method}",
                    code="method_not_allowed",
                    headers={"allow": route.method},
                )
            service.refuse_while_draining()
            body = await exchange.body(service.settings.api.max_body_bytes)
            with service.slots.taken(exchange.caller):
                await _while_connected(exchange, route.handler(service, exchange, body))


async def _while_connected(exchange: Exchange, answer: Awaitable[None]) -> None:
    """Let the answer be made, and stop it when the client leaves. Raises `Disconnected`."""
    work = asyncio.ensure_future(answer)
    gone = asyncio.create_task(exchange.disconnected())
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise Disconnected
        work.result()
    finally:
        gone.cancel()
        work.cancel()
        # The model is free, and the call recorded, before the slot is.
        await asyncio.gather(work, gone, return_exceptions=True)
