"""/readyz and /metrics."""

from __future__ import annotations

import asyncio
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST

from arena.api.errors import ApiError
from arena.api.exchange import Exchange
from arena.api.records import Recorder
from arena.api.service import ApiService
from results.store import Store, StoreError

STORE_SECONDS = 2.0


async def readiness(service: ApiService, exchange: Exchange) -> None:
    """200 where requests can be answered now, else 503 with the reason. Open to all, and so it names no model, but to
    an operator those that are still being loaded and those that could not be."""
    reason = None
    if service.readiness.draining:
        reason = "the server is about to stop"
    elif loading := service.readiness.loading():
        reason = f"{len(loading)} of the roster's models are still being loaded"
    else:
        reason = await _store_problem(service.store)
    told = await asyncio.to_thread(_models, service, exchange)
    if reason is None:
        await exchange.json({"status": "ready", **told})
    else:
        await exchange.json({"status": "not ready", "reason": reason, **told}, 503, {"retry-after": "2"})


async def metrics(recorder: Recorder, exchange: Exchange) -> None:
    """Prometheus' text format."""
    body = await asyncio.to_thread(recorder.exposition)
    await exchange.whole(body, CONTENT_TYPE_LATEST)


def _models(service: ApiService, exchange: Exchange) -> dict[str, Any]:
    found = {"loading": service.readiness.loading(), "left_out": service.readiness.left_out()}
    if not any(found.values()):
        return {}
    try:
        service.access.operator(exchange.headers)
    except (ApiError, StoreError):  # a store that cannot be read knows no operators
        return {}
    return {"models": found}


async def _store_problem(store: Store) -> str | None:
    try:
        async with asyncio.timeout(STORE_SECONDS):
            await asyncio.to_thread(store.query, "SELECT 1 AS one")
    except TimeoutError:
        return f"the store does not answer within {STORE_SECONDS:g} seconds"
    except StoreError as error:
        return f"the store cannot be read ({type(error).__name__})"
    return None
