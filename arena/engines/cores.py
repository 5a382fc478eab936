"""Which workers may decode now: as many as there are cores, and one torch thread each when several do.

Two processes of two threads on two cores are five times slower than two of one thread: they spin against each
other. So a worker that decodes alone gets all cores, and gives them up as soon as another begins.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import psutil


def available_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(eq=False)
class Ticket:
    """One answer's place. `admitted` is done when the worker `key` may decode for it."""

    key: str
    admitted: Future[None] = field(default_factory=Future)
    left: bool = False


class CoreGate:
    """Shares cores among workers, first come, first served.

    A worker that decodes takes further answers along at once, unless another worker waits: then they queue
    behind it, so that a busy model cannot keep the others out. Safe to use from any thread.
    """

    def __init__(self, cores: int | None = None, load: Callable[[], float] | None = None) -> None:
        self.cores = cores or available_cores()
        self._load = load or (lambda: psutil.getloadavg()[0])
        self._lock = threading.Lock()
        self._active: Counter[str] = Counter()
        self._waiting: deque[Ticket] = deque()
        self._set_threads: dict[str, Callable[[int], None]] = {}

    def register(self, key: str, set_threads: Callable[[int], None]) -> None:
        """`set_threads` is called with a count whenever the threads of worker `key` change."""
        self._set_threads[key] = set_threads

    def enter(self, key: str) -> Ticket:
        """Ask for a place. Give the ticket back with `leave`, whether it was admitted or not."""
        ticket = Ticket(key)
        with self._lock:
            self._waiting.append(ticket)
            self._admit()
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Give a place back, or stop waiting for it."""
        with self._lock:
            if ticket.left:
                return
            ticket.left = True
            if ticket in self._waiting:
                self._waiting.remove(ticket)
            elif not ticket.admitted.cancelled():
                self._active[ticket.key] -= 1
                if not self._active[ticket.key]:
                    del self._active[ticket.key]
            self._admit()

    def busy(self) -> dict[str, int]:
        """Answers being decoded, by worker."""
        with self._lock:
            return dict(self._active)

    def waiting(self) -> int:
        """Answers that wait for a core."""
        with self._lock:
            return len(self._waiting)

    def _admit(self) -> None:
        while self._waiting:
            ticket = self._waiting[0]
            if ticket.key not in self._active and len(self._active) >= self.cores:
                break
            self._waiting.popleft()
            if ticket.admitted.set_running_or_notify_cancel():
                self._active[ticket.key] += 1
                ticket.admitted.set_result(None)
        threads = self._threads_alone() if len(self._active) == 1 else 1
        for key in self._active:
            if key in self._set_threads:
                self._set_threads[key](threads)

    def _threads_alone(self) -> int:
        """All cores, less one for each process beyond them that already competes for a core.

        A thread that has lost its core holds up all others at the next layer: on two cores beside one busy
        process, two threads decode at half the speed of one.
        """
        return max(1, self.cores - max(0, int(self._load() - self.cores)))
