"""Which models lie in memory: a budget, loads on demand, eviction of those unused longest, pins, reservations.

A worker in use is never ended for another. A load that needs its room marks it as leaving: requests that come
later queue behind that load, so that a busy model cannot keep the others out.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from arena.engines.base import EngineTimedOut, EngineUnavailable
from arena.engines.memory import MemoryEstimate, in_words
from arena.engines.protocol import Ready
from arena.engines.worker_process import WorkerProcess, WorkerState
from results.store import ReservationRefused, ReservationTimedOut, Store, StoreError, ledger

log = logging.getLogger(__name__)

PAUSE = 0.05
GIVE_AFTER = 30.0
"""Seconds of idleness after which a model is unloaded for another process that waits for its memory."""
LOOK_EVERY = 2.0
NOTHING = MemoryEstimate(weights=0, cache=0, working=0, host=0, cache_tokens=0)
"""What a worker takes here that lies in another arena's process."""

Place = Literal["out", "entering", "in", "leaving", "ending"]


class NoRoom(EngineUnavailable):
    """The model does not fit the memory budget (beside what must stay); the message tells the figures."""


@dataclass(frozen=True)
class Budget:
    """Bytes that loaded models may take, as estimated; None is no limit."""

    ram: int | None = None
    gpu: int | None = None


@dataclass(eq=False)
class Resident:
    """A worker and its place in memory. `holds` is what it is counted with from the moment it has a place; one that
    is `attached` lies in another arena's process."""

    worker: WorkerProcess
    estimate: Callable[[], MemoryEstimate]
    place: Place = "out"
    users: int = 0
    used_at: float = 0.0
    pinned: bool = False
    leaves_for: Resident | None = None
    waited_for: str = ""
    holds: MemoryEstimate | None = None
    reservation: ledger.Reservation | None = None
    attached: bool = False

    @property
    def name(self) -> str:
        """The worker's name, for people."""
        return self.worker.name


class Residency:
    """The workers of one process and their share of the machine. Safe to use from any thread and event loop.

    With a `store`, each load also reserves from the machine's ledger and waits where other processes hold what it
    needs; models idle for `GIVE_AFTER` are unloaded when another process waits. `owner` is how others are told of
    this process ("`arena serve`").
    """

    def __init__(
        self, budget: Budget | None = None, store: Store | None = None, owner: str = "an arena"
    ) -> None:
        self.budget = budget or Budget()
        self._store, self._owner = store, owner
        self.on_wait: Callable[[str], None] = _nobody
        """Called, from any thread, with whose load waits for what."""
        self.attach_to: Path | None = None
        """The folder where an arena may share its workers: one that has the model loaded is used instead of loading
        it again."""
        self._lock = threading.Lock()
        self._residents: dict[str, Resident] = {}
        self._closed = threading.Event()
        if store is not None:
            threading.Thread(target=self._give, args=(store,), name="give memory", daemon=True).start()

    def add(self, worker: WorkerProcess, estimate: Callable[[], MemoryEstimate]) -> Resident:
        """Look after a worker from now on."""
        with self._lock:
            resident = self._residents.setdefault(worker.name, Resident(worker, estimate))
        worker.on_end = lambda: self._ended(resident)
        return resident

    def used(self) -> tuple[int, int]:
        """Bytes of memory and of GPU memory that are counted at the moment."""
        with self._lock:
            return self._used()

    def fits(self, resident: Resident) -> bool:
        """Whether the model is loaded, or could be without ending another one. Raises `NoRoom` where it could not
        be loaded in any case."""
        need = resident.estimate()
        with self._lock:
            self._refuse_impossible(resident, need)
            return resident.holds is not None or not self._over(need, self._used())

    @asynccontextmanager
    async def using(self, resident: Resident, patience: float | None = None) -> AsyncIterator[Ready]:
        """The worker is loaded, and stays so while this lasts. `patience` is how many seconds to wait for memory.

        Raises `NoRoom` where it cannot fit, `EngineTimedOut`, and `EngineUnavailable` where it cannot be loaded.
        """
        try:
            async with asyncio.timeout(patience):
                await self._enter(resident)
        except TimeoutError:
            raise EngineTimedOut(
                f"{resident.name} was not loaded within {patience:g} seconds: {resident.waited_for}"
            ) from None
        try:
            # Shielded: a caller that gives up must not cancel the load for the others.
            yield await asyncio.shield(asyncio.wrap_future(resident.worker.load(spawn=not resident.attached)))
        finally:
            with self._lock:
                resident.users -= 1
                resident.used_at = time.monotonic()
            self._ended(resident)

    def end(self, resident: Resident, force: bool = False) -> bool:
        """End the worker and free its memory. False where it is in use (or being loaded) and that was not
        forced."""
        with self._lock:
            if resident.place == "out":
                return True
            if (resident.users and not force) or resident.place in ("entering", "ending"):
                return False
            resident.place = "ending"
        resident.worker.stop()
        self._ended(resident)
        return True

    def close(self) -> None:
        """Look after nothing more."""
        self._closed.set()

    async def _enter(self, resident: Resident) -> None:
        while True:
            with self._lock:
                if resident.place == "in":
                    resident.users += 1
                    resident.used_at = time.monotonic()
                    return
                if resident.place == "out":
                    resident.place = "entering"
                    break
            await asyncio.sleep(PAUSE)
        try:
            folder = self.attach_to
            resident.attached = folder is not None and await asyncio.to_thread(resident.worker.attach, folder)
            if resident.attached:
                resident.holds = NOTHING
            else:
                need = await asyncio.to_thread(resident.estimate)
                await self._make_room(resident, need)
                if self._store is not None:
                    resident.reservation = await self._reserved(self._store, resident, need)
        except BaseException:
            self._is_out(resident)
            raise
        with self._lock:
            resident.place = "in"
            resident.users += 1
            resident.used_at = time.monotonic()

    async def _make_room(self, resident: Resident, need: MemoryEstimate) -> None:
        try:
            while True:
                with self._lock:
                    self._refuse_impossible(resident, need)
                    if not self._over(need, self._used()):
                        resident.holds = need
                        return
                    victim = self._victim(resident)
                    if victim is not None and not victim.users:
                        victim.place = "ending"
                if victim is not None and victim.place == "ending":
                    await asyncio.to_thread(self._evict, victim)
                else:
                    self._tell(resident, f"waiting for {in_words(need.ram)}: {self._holders()}")
                    await asyncio.sleep(PAUSE)
        finally:
            with self._lock:
                for each in self._residents.values():
                    if each.leaves_for is resident:
                        each.leaves_for = None
                        each.place = "in" if each.place == "leaving" else each.place

    def _evict(self, victim: Resident) -> None:
        log.info("%s is unloaded to make room", victim.name)
        victim.worker.stop()
        self._ended(victim)

    async def _reserved(self, store: Store, resident: Resident, need: MemoryEstimate) -> ledger.Reservation:
        cancelled = threading.Event()

        def take() -> ledger.Reservation:
            return ledger.take(
                store,
                purpose=f"{self._owner} ({resident.name})",
                ram=need.ram,
                gpu=need.gpu_memory,
                on_wait=lambda reason: self._tell(resident, reason),
                cancelled=cancelled,
            )

        taking = asyncio.create_task(asyncio.to_thread(take))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            cancelled.set()
            try:
                ledger.release(store, await taking)
            except ReservationTimedOut:
                log.debug("%s no longer waits for memory", resident.name)
            raise
        except ReservationRefused as error:
            raise NoRoom(str(error)) from error
        except StoreError as error:
            raise EngineUnavailable(f"{resident.name}: memory cannot be reserved: {error}") from error

    def _tell(self, resident: Resident, reason: str) -> None:
        if reason != resident.waited_for:
            self.on_wait(f"{resident.name}: {reason}")
        resident.waited_for = reason
        resident.worker.state = WorkerState("waiting", reason)

    def _ended(self, resident: Resident) -> None:
        """Its memory is free if its process has ended. A later load may have begun by now: that one stands."""
        with self._lock:
            gone = resident.worker.ended and resident.place in ("in", "leaving", "ending")
        if gone:
            self._is_out(resident)

    def _is_out(self, resident: Resident) -> None:
        with self._lock:
            reservation, resident.reservation = resident.reservation, None
            resident.place, resident.holds, resident.leaves_for = "out", None, None
            if resident.worker.state.phase == "waiting":
                resident.worker.state = WorkerState("unloaded")
        if reservation is not None and self._store is not None:
            try:
                ledger.release(self._store, reservation)
            except StoreError as error:  # a store that is closed: the reservation ends with this process
                log.info("the memory of %s is given back when this process ends: %s", resident.name, error)

    def _used(self) -> tuple[int, int]:
        held = [each.holds for each in self._residents.values() if each.holds is not None]
        return sum(each.ram for each in held), sum(each.gpu_memory for each in held)

    def _over(self, need: MemoryEstimate, beside: tuple[int, int]) -> bool:
        ram, gpu = self.budget.ram, self.budget.gpu
        return (ram is not None and beside[0] + need.ram > ram) or (
            gpu is not None and need.gpu and beside[1] + need.gpu_memory > gpu
        )

    def _refuse_impossible(self, resident: Resident, need: MemoryEstimate) -> None:
        others = [each for each in self._residents.values() if each is not resident]
        pinned = [(each, each.holds) for each in others if each.pinned and each.holds]
        beside = sum(held.ram for _, held in pinned), sum(held.gpu_memory for _, held in pinned)
        if not self._over(need, beside):
            return
        gpu = need.gpu and self.budget.gpu is not None and beside[1] + need.gpu_memory > self.budget.gpu
        wanted, limit = (need.gpu_memory, self.budget.gpu) if gpu else (need.ram, self.budget.ram)
        by = "".join(
            f", {in_words(held.gpu_memory if gpu else held.ram)} in use by {each.name} (pinned)"
            for each, held in pinned
        )
        raise NoRoom(
            f"{resident.name} needs {in_words(wanted)} of {'GPU memory' if gpu else 'memory'}, budget "
            f"{in_words(limit or 0)}{by}. Choose a smaller quantisation or context_length, unload what is pinned, "
            f"or raise {'gpu_memory_budget' if gpu else 'memory_budget'} under [engines] in arena.toml"
        )

    def _victim(self, wanting: Resident) -> Resident | None:
        """The unpinned model to end: the idle one that was used longest ago, else a busy one, which leaves when
        its answers are complete."""
        marked = [each for each in self._residents.values() if each.leaves_for is wanting]
        if marked:
            return marked[0]
        loaded = [
            each
            for each in self._residents.values()
            if each.place == "in" and not each.pinned and not each.worker.shared
        ]
        victim = min(loaded, key=lambda each: (each.users > 0, each.used_at), default=None)
        if victim is not None:
            victim.place, victim.leaves_for = "leaving", wanting
        return victim

    def _holders(self) -> str:
        with self._lock:
            held = [(each.name, each.holds.ram) for each in self._residents.values() if each.holds]
        return "in use by " + ", ".join(f"{name} ({in_words(ram)})" for name, ram in held)

    def _give(self, store: Store) -> None:
        """Unload idle models while other processes wait for memory."""
        while not self._closed.wait(LOOK_EVERY):
            with self._lock:
                since = time.monotonic() - GIVE_AFTER
                idle = [
                    each
                    for each in self._residents.values()
                    if each.place == "in"
                    and not (each.users or each.pinned or each.worker.shared)
                    and each.used_at < since
                ]
            if not idle:
                continue
            try:
                waiting = ledger.holdings(store).waiting
            except StoreError:  # closed, or busy: nobody can be waited for now
                continue
            if any(each.ram or each.gpu for each in waiting):
                self.end(min(idle, key=lambda each: each.used_at))


def _nobody(told: str) -> None:
    """What is called where nobody asks."""
