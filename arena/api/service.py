"""What the API works with, and whether it is ready."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from arena.api.access import Access, Caller
from arena.api.errors import SERVER, ApiError
from arena.api.models import served
from arena.api.records import Recorder, RequestLog
from arena.config import Settings
from arena.engines.base import Engine, EngineUnavailable
from arena.engines.observed import ObservedEngine, Telemetry
from arena.engines.pool import EnginePool, EngineStatus
from arena.engines.spec import ModelSpec
from arena.roster import Contestant
from results.store import Store


class Readiness:
    """What a server still waits for before it should get traffic. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loading: dict[str, None] = {}
        self._left_out: dict[str, str] = {}
        self._draining = False

    def expect(self, names: Sequence[str]) -> None:
        """Not ready before these models are loaded or known to be unusable."""
        with self._lock:
            self._loading.update(dict.fromkeys(names))

    def settled(self, name: str, problem: str | None = None) -> None:
        """The model is loaded (or will be when it is asked), or cannot be because of `problem`."""
        with self._lock:
            self._loading.pop(name, None)
            if problem is not None:
                self._left_out[name] = problem

    def drain(self) -> None:
        """Take nothing new from now on: the server is about to end."""
        self._draining = True

    @property
    def draining(self) -> bool:
        """Whether the server is about to end."""
        return self._draining

    def loading(self) -> list[str]:
        """The models that are still waited for."""
        with self._lock:
            return list(self._loading)

    def left_out(self) -> dict[str, str]:
        """Why each model that could not be loaded at the start could not."""
        with self._lock:
            return dict(self._left_out)


class Slots:
    """Open API requests, counted by caller."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[str] = Counter()
        self.idle = asyncio.Event()
        """Set while nothing is being answered."""
        self.idle.set()

    @contextmanager
    def taken(self, caller: Caller) -> Iterator[None]:
        """One request of this caller. Raises `ApiError` (429) where too many are open."""
        key = caller.token_id.hex if caller.token_id else ""
        if self._open[key] >= self._most:
            raise ApiError(
                429,
                f"{self._most} requests of this token are being answered already (`max_concurrent` under [api])",
                kind="rate_limit_error",
                code="rate_limit_exceeded",
                headers={"retry-after": "1"},
            )
        self._open[key] += 1
        self.idle.clear()
        try:
            yield
        finally:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]
            if not self._open:
                self.idle.set()


@dataclass
class ApiService:
    """The parts of one server that its API answers from."""

    settings: Settings
    store: Store
    engine_for: Callable[[ModelSpec], Engine]
    engine_status: Callable[[], list[EngineStatus]]
    telemetry: Telemetry
    access: Access
    log: RequestLog | None = None
    readiness: Readiness = field(default_factory=Readiness)
    slots: Slots = field(init=False)
    recorder: Recorder = field(init=False)

    def __post_init__(self) -> None:
        self.slots = Slots(self.settings.api.max_concurrent)
        self.recorder = Recorder(self.telemetry, self.engine_status, self.log)

    async def model(self, reference: str) -> tuple[Contestant, ObservedEngine]:
        """The contestant that a model id means now, with its engine, observed. Raises `ApiError`, `EngineError`."""
        return await asyncio.to_thread(self._model, reference)

    async def drained(self, seconds: float) -> bool:
        """Take nothing new, and wait until what is open has been answered; false after `seconds`."""
        self.readiness.drain()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.slots.idle.wait(), seconds)
        return self.slots.idle.is_set()

    def refuse_while_draining(self) -> None:
        """Raises `ApiError` (503) where the server is about to end."""
        if self.readiness.draining:
            raise ApiError(
                503,
                "the server is about to stop: ask again in a moment",
                kind=SERVER,
                code="shutting_down",
                headers={"retry-after": "5"},
            )

    def _model(self, reference: str) -> tuple[Contestant, ObservedEngine]:
        contestant = served(self.store, reference)
        engine = self.engine_for(contestant.spec)
        return contestant, self.telemetry.observed(engine, contestant.version.label, "api")


def service_of(
    settings: Settings,
    store: Store,
    engines: EnginePool | None,
    telemetry: Telemetry,
    log: RequestLog | None = None,
) -> ApiService:
    """The service of one server. Without `engines` it lists models and answers for none."""

    def no_engine(spec: ModelSpec) -> Engine:
        raise EngineUnavailable(f"{spec.name}: this server has no engines")

    return ApiService(
        settings=settings,
        store=store,
        engine_for=engines.get if engines is not None else no_engine,
        engine_status=engines.status if engines is not None else list,
        telemetry=telemetry,
        access=Access(store, settings.server),
        log=log,
    )
