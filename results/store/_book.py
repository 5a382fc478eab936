"""The book of reservations, kept by the store's owner: who holds what, and who waits. Pure but for its file."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from pydantic import Field, TypeAdapter, ValidationError

from results.records import Record, UtcTime, now
from results.store._machine import Capacity, capacity, free_memory, process_start
from results.store.errors import ReservationRefused

log = logging.getLogger(__name__)

FORGOTTEN_AFTER = 5.0
"""Seconds after which a waiting request that has not asked again is no longer in the queue."""
_GIB = 2**30


class Reservation(Record):
    """What a process holds, in bytes and cores. `started` is when the process began: with its id it names it.

    `purpose` is for people: "`arena serve` (SmolLM2)".
    """

    id: UUID
    pid: int
    started: float
    purpose: str = Field(min_length=1, max_length=300)
    ram: int = Field(default=0, ge=0)
    gpu: int = Field(default=0, ge=0)
    cores: int = Field(default=0, ge=0)
    since: UtcTime = Field(default_factory=now)


class Holdings(Record):
    """All reservations and waiting requests, oldest first, and what there is to reserve in all."""

    capacity: Capacity
    held: tuple[Reservation, ...]
    waiting: tuple[Reservation, ...]


class Granted(Record):
    """The answer to a request: granted, or the reason to wait, in words."""

    granted: bool
    reason: str = ""


@dataclass
class _Waiting:
    reservation: Reservation
    asked_at: float


_RESERVATIONS: TypeAdapter[list[Reservation]] = TypeAdapter(list[Reservation])


class Book:
    """Thread-safe. `path` keeps the held reservations for the next owner; those of dead processes vanish."""

    def __init__(
        self,
        path: Path | None = None,
        *,
        most: Capacity | None = None,
        free: Callable[[], int] = free_memory,
        began: Callable[[int], float | None] = process_start,
    ) -> None:
        self._path, self._most, self._free, self._began = path, most, free, began
        self._lock = threading.Lock()
        self._held: dict[UUID, Reservation] | None = None
        self._waiting: dict[UUID, _Waiting] = {}

    def ask(self, wanted: Reservation) -> Granted:
        """Reserve, or take a place in the queue and tell what is waited for; ask again to find out.

        What fits is granted, whoever else waits; of several that would fit the one that waits longest comes
        first. The same id again changes nothing. Raises ReservationRefused where it could never fit.
        """
        with self._lock:
            held = self._living()
            if wanted.id in held:
                return Granted(granted=True)
            self._refuse_impossible(wanted)
            mine = self._waiting.setdefault(wanted.id, _Waiting(wanted, 0))
            mine.asked_at = time.monotonic()
            for waiting in list(self._waiting.values()):
                if waiting.reservation.id == wanted.id:
                    break
                if self._obstacle(waiting.reservation, held) is None:
                    held = {**held, waiting.reservation.id: waiting.reservation}  # its turn comes first
            reason = self._obstacle(wanted, held)
            if reason is not None:
                return Granted(granted=False, reason=reason)
            del self._waiting[wanted.id]
            self._write({**self._living(), wanted.id: wanted})
            return Granted(granted=True)

    def set(self, reservation: Reservation) -> None:
        """Hold this in any case, in place of what its id held: what is used already need not be asked for."""
        with self._lock:
            self._waiting.pop(reservation.id, None)
            self._write({**self._living(), reservation.id: reservation})

    def release(self, ids: Iterable[UUID]) -> None:
        """Give back, or stop waiting; unknown ids change nothing."""
        with self._lock:
            gone = set(ids)
            for each in gone:
                self._waiting.pop(each, None)
            held = self._living()
            if gone & held.keys():
                self._write({key: value for key, value in held.items() if key not in gone})

    def holdings(self) -> Holdings:
        """Who holds what, and who waits."""
        with self._lock:
            held = self._living()
            waiting = tuple(each.reservation for each in self._waiting.values())
            return Holdings(capacity=self._capacity(), held=tuple(held.values()), waiting=waiting)

    def _capacity(self) -> Capacity:
        if self._most is None:
            self._most = capacity()
        return self._most

    def _living(self) -> dict[UUID, Reservation]:
        if self._held is None:
            self._held = self._read()
        late = time.monotonic() - FORGOTTEN_AFTER
        self._waiting = {key: each for key, each in self._waiting.items() if each.asked_at > late}
        dead = [key for key, each in self._held.items() if self._began(each.pid) != each.started]
        if dead:
            self._write({key: each for key, each in self._held.items() if key not in dead})
        return dict(self._held)

    def _refuse_impossible(self, wanted: Reservation) -> None:
        most = self._capacity()
        for need, limit, what in (
            (wanted.ram, most.ram, "memory"),
            (wanted.gpu, most.gpu, "GPU memory"),
        ):
            if need > limit:
                raise ReservationRefused(
                    f"{wanted.purpose} needs {_gib(need)} of {what}; this machine can give {_gib(limit)} in all"
                )
        if wanted.cores > most.cores:
            raise ReservationRefused(
                f"{wanted.purpose} needs {wanted.cores} cores; this machine has {most.cores}"
            )

    def _obstacle(self, wanted: Reservation, held: dict[UUID, Reservation]) -> str | None:
        """Why `wanted` must wait, or None where it fits."""
        most = self._capacity()
        if wanted.ram and sum(each.ram for each in held.values()) + wanted.ram > most.ram:
            by = _holders([(each, each.ram) for each in held.values()], _gib)
            return f"waiting for {_gib(wanted.ram)} of memory (of {_gib(most.ram)}): held by {by}"
        if wanted.gpu and sum(each.gpu for each in held.values()) + wanted.gpu > most.gpu:
            by = _holders([(each, each.gpu) for each in held.values()], _gib)
            return f"waiting for {_gib(wanted.gpu)} of GPU memory (of {_gib(most.gpu)}): held by {by}"
        if wanted.cores and sum(each.cores for each in held.values()) + wanted.cores > most.cores:
            by = _holders([(each, each.cores) for each in held.values()], str)
            return f"waiting for {wanted.cores} of {most.cores} cores: held by {by}"
        free = self._free() if wanted.ram else 0
        if wanted.ram > free:
            return f"waiting for {_gib(wanted.ram)} of memory: other programs leave {_gib(free)} free"
        return None

    def _read(self) -> dict[UUID, Reservation]:
        if self._path is None:
            return {}
        try:
            return {each.id: each for each in _RESERVATIONS.validate_json(self._path.read_bytes())}
        except FileNotFoundError:
            return {}
        except (OSError, ValidationError) as error:
            log.warning("%s cannot be read; nothing is held as far as is known: %s", self._path, error)
            return {}

    def _write(self, held: dict[UUID, Reservation]) -> None:
        self._held = held
        if self._path is None:
            return
        partial = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            partial.write_bytes(_RESERVATIONS.dump_json(list(held.values())))
            partial.replace(self._path)
        except OSError as error:  # a full disk: the book goes on in memory, the next owner would miss it
            log.warning("%s cannot be written: %s", self._path, error)


def _holders(amounts: list[tuple[Reservation, int]], told: Callable[[int], str]) -> str:
    largest = sorted((pair for pair in amounts if pair[1]), key=lambda pair: -pair[1])
    named = [f"{each.purpose}, pid {each.pid} ({told(amount)})" for each, amount in largest[:3]]
    return "; ".join([*named, *([f"{len(largest) - 3} more"] if len(largest) > 3 else [])])


def _gib(amount: int) -> str:
    return f"{amount / _GIB:.1f} GiB" if amount >= _GIB else f"{amount / 2**20:.0f} MiB"
