"""What `arena serve` does beside answering: ending without cutting answers off; backups and retention."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn

from arena.cli._backups import keep_backing_up
from arena.cli._common import console
from arena.config import StoreSettings
from results.records import now
from results.store.errors import StoreError

if TYPE_CHECKING:
    from uuid import UUID

    from arena.api.service import ApiService
    from arena.roster import Roster
    from results.store import Store

log = logging.getLogger(__name__)

FORGETTING_SECONDS = 3600.0
"""How often it is looked for what is too old to be kept."""

CLOSING_SECONDS = 3
"""How long pages that are open may take to let go; their streams of events have no end of their own."""


class DrainingServer(uvicorn.Server):
    """A server that, asked to stop, lets the API's open answers end first; asked again, stops at once."""

    def __init__(self, app: Any, service: ApiService) -> None:
        server = service.settings.server
        super().__init__(
            uvicorn.Config(
                app,
                host=server.host,
                port=server.port,
                log_level="warning",
                timeout_graceful_shutdown=CLOSING_SECONDS,
            )
        )
        self._service = service
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: asyncio.Task[None] | None = None

    async def serve(self, sockets: Any = None) -> None:
        """Serve until a signal says stop."""
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains; a further one, or nothing to wait for, ends."""
        if self._loop is None or self._service.readiness.draining or self._service.slots.idle.is_set():
            self._service.readiness.drain()
            super().handle_exit(sig, frame)
            return
        self._service.readiness.drain()
        # uvicorn raises the signals it has captured again when it has ended, so that callers see them.
        self._captured_signals.append(sig)
        self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        self._draining = asyncio.ensure_future(self._drained())

    async def _drained(self) -> None:
        seconds = self._service.settings.api.drain_seconds
        console.print(f"Waiting up to {seconds:g} s for answers of the API to end (Ctrl+C stops at once)")
        if not await self._service.drained(seconds):
            console.print("[yellow]Some answers were cut off.[/]")
        self.should_exit = True


async def look_after_trainings(store: Store, roster: Roster, every: float = 3.0) -> None:
    """Start trainings that wait, tell those whose process has died, and let finished models take part, every few
    seconds until it is cancelled."""
    from arena.roster import current
    from trainers.jobs import advance

    known: set[UUID] | None = None
    while True:
        try:
            found = await asyncio.to_thread(advance, store)
            finished = {job.id for job in found if job.state == "done"}
            if known is not None and finished != known:
                roster.update(await asyncio.to_thread(current, store))
            known = finished
        except (StoreError, OSError) as error:
            # The next time may go better, and serving must go on.
            log.warning("trainings could not be looked after: %s", error)
        await asyncio.sleep(every)


@contextmanager
def upkeep_by_schedule(store: Store, settings: StoreSettings) -> Iterator[None]:
    """Hot backups, and forgetting of what is too old, while the block runs, as the settings say."""
    stop = threading.Event()
    threads = []
    if (hours := settings.backup_every_hours) is not None:
        arguments = (store, stop, hours * 3600, settings.keep_backups)
        threads.append(threading.Thread(target=keep_backing_up, args=arguments, name="backups", daemon=True))
    if (days := settings.retention_days) is not None:
        told = (store, stop, days, settings.retention_keeps_verdicts)
        threads.append(threading.Thread(target=keep_forgetting, args=told, name="retention", daemon=True))
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def keep_forgetting(
    store: Store, stop: threading.Event, days: float, keep_verdicts: bool, every: float = FORGETTING_SECONDS
) -> None:
    """Forget what voters gave more than `days` ago, now and every `every` seconds until `stop` is set. A time that
    fails is told, and the next one makes up for it."""
    while True:
        try:
            gone = store.forget_older(now() - timedelta(days=days), keep_verdicts=keep_verdicts)
            if not gone.is_empty:
                log.info("forgotten after %g days: %s", days, gone.model_dump())
        except StoreError as error:
            log.warning("what is older than %g days could not be forgotten: %s", days, error)
        if stop.wait(every):
            return
