"""Long work that pages start: tasks of the server, which go on when the page is closed, and can be stopped."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

log = logging.getLogger(__name__)

State = Literal["running", "done", "stopped", "failed"]


class AtWork(RuntimeError):
    """Work of this kind is going on already."""


@dataclass
class Work:
    """One piece of long work. `done` of `total` counts its parts, `taken_over` those that took no time; `where` says
    what it is at, `waiting` what it waits for. `result` is what it gave, `error` why it failed."""

    kind: str
    title: str
    state: State = "running"
    done: int = 0
    total: int = 0
    taken_over: int = 0
    errors: int = 0
    where: str = ""
    waiting: str = ""
    error: str = ""
    result: Any = None
    stopping: bool = False
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return self.state == "running"

    @property
    def seconds(self) -> float:
        """How long it has taken so far, or took."""
        return (self.ended or time.monotonic()) - self.started

    @property
    def left(self) -> float | None:
        """Seconds that it will still take, by its speed so far; None before the first part is done."""
        made = self.done - self.taken_over
        return None if made <= 0 or not self.total else self.seconds / made * (self.total - self.done)


Run = Callable[[Work], Awaitable[Any]]


class Works:
    """The long work of one arena: at most one of a kind at a time. The last one of each kind is remembered."""

    def __init__(self) -> None:
        self._works: dict[str, Work] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def current(self, kind: str) -> Work | None:
        """The work of this kind that goes on, else the last one; None where there was none."""
        return self._works.get(kind)

    def start(self, kind: str, title: str, run: Run) -> Work:
        """Begin work in the running event loop. `run` is given the `Work` to tell its progress in.

        Raises:
            AtWork: some of this kind goes on; the message is its title.
        """
        before = self._works.get(kind)
        if before is not None and before.running:
            raise AtWork(before.title)
        work = self._works[kind] = Work(kind, title)
        self._tasks[kind] = asyncio.create_task(_do(work, run))
        return work

    def stop(self, kind: str) -> None:
        """Ask the work of this kind to stop; what it has done is kept. Nothing where none goes on."""
        work = self._works.get(kind)
        if work is not None and work.running:
            work.stopping = True
            self._tasks[kind].cancel()

    async def close(self) -> None:
        """Stop everything and wait until it has ended."""
        for kind in self._works:
            self.stop(kind)
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


async def _do(work: Work, run: Run) -> None:
    try:
        work.result = await run(work)
        work.state = "done"
    except asyncio.CancelledError:
        work.state = "stopped"
        raise
    except Exception as error:
        # Whatever it was: nobody awaits this task, so the page has to be told. The log has the rest.
        log.exception("%s (%s) failed", work.title, work.kind)
        work.state, work.error = "failed", str(error) or type(error).__name__
    finally:
        if work.running:
            work.state = "failed"
        work.ended = time.monotonic()
