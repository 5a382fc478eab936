"""One request to a worker: its place at the cores, its replies, and its end however the asker leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from arena.engines.base import EngineUnavailable
from arena.engines.cores import CoreGate
from arena.engines.protocol import EmbedMany, FromWorker, Ready, ScoreMany, Start
from arena.engines.worker_process import WorkerProcess

Inbox = asyncio.Queue[FromWorker | EngineUnavailable]


async def _simply(admitted: Awaitable[None]) -> None:
    await admitted


@asynccontextmanager
async def asked(
    worker: WorkerProcess,
    gate: CoreGate,
    ready: Ready,
    message: Start | ScoreMany | EmbedMany,
    wait: Callable[[Awaitable[None]], Awaitable[None]] = _simply,
) -> AsyncIterator[Inbox]:
    """Send a request to a loaded worker once it may use a core, and get its replies. `wait` waits for the core.

    When the block ends the worker stops, within a token, and its place is free. Raises `EngineUnavailable` where the
    worker has gone.
    """
    ticket = gate.enter(worker.name) if ready.device == "cpu" else None
    identity: int | None = None
    try:
        if ticket is not None:
            await wait(asyncio.wrap_future(ticket.admitted))
        inbox: Inbox = asyncio.Queue()
        identity = worker.start(message, _into_queue(inbox))
        yield inbox
    finally:
        if identity is not None:
            worker.cancel(identity)
        if ticket is not None:
            gate.leave(ticket)


def _into_queue(inbox: Inbox) -> Callable[[FromWorker | EngineUnavailable], None]:
    """A sink that puts messages into this event loop's queue, from any thread."""
    loop = asyncio.get_running_loop()

    def put(message: FromWorker | EngineUnavailable) -> None:
        if not loop.is_closed():  # a caller that ended its loop reads no more
            loop.call_soon_threadsafe(inbox.put_nowait, message)

    return put
