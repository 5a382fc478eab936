"""One ledger of the machine's memory, GPU memory and cores: what serving, benchmarks and training reserve from.

The store's owner keeps it in memory, and in a file beside the database for the owner after it. What does not fit
waits, with the reason told; reservations of processes that have died vanish.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING
from uuid import UUID

from results.ids import new_id
from results.records import Record
from results.store._book import Granted, Holdings, Reservation
from results.store._database import Database
from results.store._machine import Capacity, capacity, process_start
from results.store._operations import Nothing, Operation
from results.store.errors import ReservationRefused, ReservationTimedOut

if TYPE_CHECKING:  # the store itself imports the catalogue of operations
    from results.store._store import Store

__all__ = [
    "Capacity",
    "Holdings",
    "Reservation",
    "ReservationRefused",
    "ReservationTimedOut",
    "capacity",
    "change",
    "holdings",
    "release",
    "reserve",
    "take",
]

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0

OnWait = Callable[[str], None]


class ReservationIds(Record):
    """Reservations to be given back."""

    ids: tuple[UUID, ...]


def take(
    store: Store,
    *,
    purpose: str,
    ram: int = 0,
    gpu: int = 0,
    cores: int = 0,
    on_wait: OnWait | None = None,
    timeout: float | None = None,
    cancelled: threading.Event | None = None,
) -> Reservation:
    """Reserve bytes of memory and of GPU memory and cores for this process; `release` gives them back, and so
    does the end of the process.

    Waits while it does not fit, up to `timeout` seconds, and calls `on_wait` with the reason whenever that changes
    ("waiting for 3.0 GiB of memory (of 14.1 GiB): held by `arena serve` (SmolLM2), pid 123 (9.0 GiB)").
    Raises ReservationRefused where it could never fit, ReservationTimedOut at the end of the timeout or when
    `cancelled` is set; then nothing is held.
    """
    wanted = Reservation(
        id=new_id(),
        pid=os.getpid(),
        started=_began(os.getpid()),
        purpose=purpose,
        ram=ram,
        gpu=gpu,
        cores=cores,
    )
    deadline = None if timeout is None else time.monotonic() + timeout
    told, pause = "", FIRST_PAUSE
    stop = cancelled or threading.Event()
    try:
        while not (answer := store.perform(RESERVE, wanted)).granted:
            if on_wait is not None and answer.reason != told:
                told = answer.reason
                on_wait(told)
            left = LONGEST_PAUSE if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise ReservationTimedOut(f"{purpose} gave up after {timeout:g} s of {answer.reason}")
            if stop.wait(min(pause, left)):
                raise ReservationTimedOut(f"{purpose} was cancelled while {answer.reason}")
            pause = min(2 * pause, LONGEST_PAUSE)
    except BaseException:
        store.perform(RELEASE, ReservationIds(ids=(wanted.id,)))
        raise
    return wanted


def change(
    store: Store, reservation: Reservation, *, ram: int | None = None, gpu: int | None = None
) -> Reservation:
    """Hold other amounts from now on, without waiting: for what turned out to use more, or less."""
    update = {"ram": reservation.ram if ram is None else ram, "gpu": reservation.gpu if gpu is None else gpu}
    changed = reservation.model_copy(update=update)
    store.perform(SET_RESERVATION, changed)
    return changed


def release(store: Store, reservation: Reservation) -> None:
    """Give a reservation back. A second time changes nothing."""
    store.perform(RELEASE, ReservationIds(ids=(reservation.id,)))


@contextmanager
def reserve(
    store: Store,
    *,
    purpose: str,
    ram: int = 0,
    gpu: int = 0,
    cores: int = 0,
    on_wait: OnWait | None = None,
    timeout: float | None = None,
    cancelled: threading.Event | None = None,
) -> Iterator[Reservation]:
    """Hold a reservation for the time of a `with` block (see `take`)."""
    reservation = take(
        store,
        purpose=purpose,
        ram=ram,
        gpu=gpu,
        cores=cores,
        on_wait=on_wait,
        timeout=timeout,
        cancelled=cancelled,
    )
    try:
        yield reservation
    finally:
        release(store, reservation)


def holdings(store: Store) -> Holdings:
    """What there is in all, who holds what, and who waits."""
    return store.perform(HOLDINGS, Nothing())


@cache
def _began(pid: int) -> float:
    began = process_start(pid)
    assert began is not None  # it is this process
    return began


def _reserve(database: Database, wanted: Reservation) -> Granted:
    return database.book.ask(wanted)


def _set(database: Database, reservation: Reservation) -> None:
    database.book.set(reservation)


def _release(database: Database, payload: ReservationIds) -> None:
    database.book.release(payload.ids)


def _holdings(database: Database, payload: Nothing) -> Holdings:
    return database.book.holdings()


# Of kind "whole database": they touch no row, and must not wait for the writer.
RESERVE = Operation("reserve", Reservation, Granted, _reserve, kind="whole database")
SET_RESERVATION = Operation("set_reservation", Reservation, None, _set, kind="whole database")
RELEASE = Operation("release", ReservationIds, None, _release, kind="whole database")
HOLDINGS = Operation("holdings", Nothing, Holdings, _holdings, kind="whole database")
