"""/readyz and /metrics."""

from __future__ import annotations

import asyncio

from prometheus_client import CONTENT_TYPE_LATEST

from arena.api.exchange import Exchange
from arena.api.records import Recorder
from arena.api.service import ApiService
from results.store import Store, StoreError

STORE_SECONDS = 2.0


async def readiness(service: ApiService, exchange: Exchange) -> None:
    """200 where requests can be answered now, else 503 with the reason. Names no model: it is open to all."""
    reason = None
    if service.readiness.draining:
        reason = "the server is about to stop"
    elif loading := service.readiness.loading():
        reason = f"{len(loading)} of the roster's models are still being loaded"
    else:
        reason = await _store_problem(service.store)
    if reason is None:
        await exchange.json({"status": "ready"})
    else:
        await exchange.json({"status": "not ready", "reason": reason}, 503, {"retry-after": "2"})


async def metrics(recorder: Recorder, exchange: Exchange) -> None:
    """Prometheus' text format."""
    body = await asyncio.to_thread(recorder.exposition)
    await exchange.whole(body, CONTENT_TYPE_LATEST)


async def _store_problem(store: Store) -> str | None:
    try:
        async with asyncio.timeout(STORE_SECONDS):
            await asyncio.to_thread(store.query, "SELECT 1 AS one")
    except TimeoutError:
        return f"the store does not answer within {STORE_SECONDS:g} seconds"
    except StoreError as error:
        return f"the store cannot be read ({type(error).__name__})"
    return None
