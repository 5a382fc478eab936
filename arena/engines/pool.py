"""The engines of an arena: one per model version, sharing worker processes where they share weights."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from arena.config import Settings
from arena.engines.base import Engine
from arena.engines.cores import CoreGate
from arena.engines.local import LocalEngine
from arena.engines.memory import MemoryEstimate, estimate
from arena.engines.protocol import Dtype, WorkerConfig
from arena.engines.remote import RemoteEngine, Remotes
from arena.engines.residency import Budget, NoRoom, Residency, Resident
from arena.engines.sharing import WorkerSharing
from arena.engines.sources import adapter_folder, resolve
from arena.engines.spec import ModelSpec, Quantisation
from arena.engines.worker_process import Phase, WorkerProcess
from results.store import Store, ledger

__all__ = ["Budget", "EnginePool", "EngineStatus", "MemoryStatus", "NoRoom", "default_budget", "engine_for"]

SHARE = 0.8
"""Of what Palaestra may use of the machine: training and benchmarks want some too."""


@dataclass(frozen=True)
class EngineStatus:
    """Where one engine stands. `memory` is the weights' size in bytes, `estimate` what its worker is counted with
    against the budget while it is loaded, `answering` its open answers. Engines with the same `worker` share it."""

    name: str
    kind: str
    phase: Phase
    detail: str = ""
    device: str | None = None
    dtype: str | None = None
    quantisation: Quantisation = "none"
    memory: int | None = None
    estimate: int | None = None
    pinned: bool = False
    worker: str | None = None
    answering: int = 0
    tokens_generated: int = 0


@dataclass(frozen=True)
class MemoryStatus:
    """Bytes: the budgets (None: no limit) and what loaded models are counted with."""

    budget: int | None
    used: int
    gpu_budget: int | None
    gpu_used: int


class EnginePool:
    """Owns the engines of one process. Safe to use from any thread and any event loop.

    `remotes` holds limits of endpoints and prices (`Remotes.from_settings`).

    `dtype` is for all local models. With "float32" an answer that shared a batch equals the one made alone; in
    bfloat16 (where the hardware has it, "auto" takes it) their tokens may part after a while, since matrix
    products round differently in other shapes. An answer made alone is the same each time in either.

    Models are loaded when they are used. What does not fit `budget` is refused with figures; the idle models used
    longest ago are unloaded for it. With a `store` each load reserves from the machine's ledger as `owner`
    ("`arena serve`"), unless an arena on this data folder shares the model (`share`). `pinned` are model
    names that stay once they are loaded.
    """

    def __init__(
        self,
        data_dir: Path,
        cores: int | None = None,
        dtype: Dtype = "auto",
        remotes: Remotes | None = None,
        *,
        budget: Budget | None = None,
        pinned: Iterable[str] = (),
        store: Store | None = None,
        owner: str = "an arena",
    ) -> None:
        self._data_dir = data_dir
        self._run_dir = data_dir.absolute() / "run"
        self._remotes = remotes or Remotes(formats=data_dir / "formats")
        self._dtype = dtype
        self._pinned = set(pinned)
        self._gate = CoreGate(cores)
        self._residency = Residency(budget, store, owner)
        self._residency.attach_to = self._run_dir if store is not None else None
        self._sharing: WorkerSharing | None = None
        self._lock = threading.Lock()
        self._workers: dict[str, Resident] = {}
        self._engines: dict[str, LocalEngine | RemoteEngine] = {}

    @property
    def data_dir(self) -> Path:
        """The data folder that these engines work in."""
        return self._data_dir

    @property
    def remotes(self) -> Remotes:
        """What its remote engines share."""
        return self._remotes

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        data_dir: Path,
        store: Store | None = None,
        owner: str = "arena",
        on_wait: Callable[[str], None] | None = None,
    ) -> Self:
        """A pool as `arena.toml` describes it. `on_wait` is called, from any thread, with whose load waits for what.
        Takes a second where there is an NVIDIA driver."""
        engines = settings.engines
        pool = cls(
            data_dir,
            dtype=engines.dtype,
            remotes=Remotes.from_settings(settings, data_dir / "formats"),
            budget=default_budget(engines.memory_budget, engines.gpu_memory_budget),
            pinned=engines.pinned,
            store=store,
            owner=owner,
        )
        if on_wait is not None:
            pool._residency.on_wait = on_wait
        return pool

    def get(self, spec: ModelSpec) -> LocalEngine | RemoteEngine:
        """The engine for a spec; nothing is loaded yet. Equal specs share one.

        Raises `EngineUnavailable` where the weights cannot be found (a hub model is fetched here, which may
        take long: call it from a thread).
        """
        key = spec.model_dump_json()
        with self._lock:
            found = self._engines.get(key)
        if found is not None:
            return found
        if spec.kind == "openai":
            return self._keep(key, RemoteEngine(spec, remotes=self._remotes))
        config = WorkerConfig(
            path=resolve(spec, self._data_dir).absolute(),
            quantisation=spec.quantisation,
            context_length=spec.context_length,
            dtype=self._dtype,
            devices=spec.devices,
            cache=self._data_dir.absolute() / "cache" / "ct2" if spec.quantisation == "ct2-int8" else None,
        )
        resident = self._worker(config)
        resident.pinned = resident.pinned or spec.name in self._pinned
        formats = self._data_dir.absolute() / "formats"
        return self._keep(
            key, LocalEngine(spec, resident, self._residency, self._gate, _adapter(spec), formats)
        )

    def share(self) -> bool:
        """Let other processes of this user on this data folder use the workers that are loaded here, until `close`.
        False where another process does so already: its workers are used instead."""
        sharing = WorkerSharing(self._run_dir, self._found, self._residency, self._gate)
        if not sharing.start():
            return False
        self._sharing, self._residency.attach_to = sharing, None
        return True

    def fits(self, spec: ModelSpec) -> bool:
        """Whether the model is loaded, or could be without unloading another. Remote models always fit.

        Raises `EngineUnavailable` where its files cannot be found or read, and `NoRoom` where it can never be loaded
        within the budget. Reads headers: call it from a thread.
        """
        engine = self.get(spec)
        return not isinstance(engine, LocalEngine) or self._residency.fits(engine.resident)

    async def load(self, spec: ModelSpec) -> EngineStatus:
        """Load a model now, unloading idle ones where that is needed. Remote models need no loading.

        Raises `EngineUnavailable`; its kind `NoRoom` tells what the model needs and what there is.
        """
        engine = await asyncio.to_thread(self.get, spec)
        if isinstance(engine, LocalEngine):
            await engine.load()
        return self._status(engine)

    async def unload(self, spec: ModelSpec, *, force: bool = False) -> bool:
        """End the model's worker, and with it all models on the same weights; false where one of them is
        answering. With `force` those answers end as `EngineUnavailable`. Of an adapter whose base others use, only
        what the adapter takes is freed."""
        engine = await asyncio.to_thread(self.get, spec)
        if not isinstance(engine, LocalEngine):
            return True
        adapter = _adapter(spec)
        if adapter is not None and not force and self._is_shared(engine):
            engine.worker.detach(adapter)
            return True
        return await asyncio.to_thread(self._residency.end, engine.resident, force)

    def _is_shared(self, engine: LocalEngine) -> bool:
        with self._lock:
            engines = list(self._engines.values())
        return any(
            isinstance(each, LocalEngine) and each.worker is engine.worker and each is not engine
            for each in engines
        )

    def pin(self, spec: ModelSpec, pinned: bool = True) -> None:
        """Keep the model (and what shares its weights) loaded once it is, or let it go again. It is not loaded
        by this."""
        engine = self.get(spec)
        if isinstance(engine, LocalEngine):
            engine.resident.pinned = pinned

    def memory(self) -> MemoryStatus:
        """The budget, and what is used of it."""
        ram, gpu = self._residency.used()
        budget = self._residency.budget
        return MemoryStatus(budget=budget.ram, used=ram, gpu_budget=budget.gpu, gpu_used=gpu)

    def status(self) -> list[EngineStatus]:
        """Where every engine stands."""
        with self._lock:
            engines = list(self._engines.values())
        return [self._status(engine) for engine in engines]

    async def close(self) -> None:
        """End all workers and connections. Engines start again when they are used."""
        if self._sharing is not None:
            await asyncio.to_thread(self._sharing.close)
            self._sharing = None
        with self._lock:
            engines = list(self._engines.values())
        await asyncio.gather(*(engine.close() for engine in engines))
        self._residency.close()

    def _status(self, engine: LocalEngine | RemoteEngine) -> EngineStatus:
        spec = engine.spec
        if isinstance(engine, RemoteEngine):
            return EngineStatus(name=spec.name, kind="openai", phase="ready")
        worker, resident = engine.worker, engine.resident
        state = worker.state
        ready = state.ready
        holds = resident.holds
        return EngineStatus(
            name=spec.name,
            kind="local",
            phase=state.phase,
            detail=state.detail,
            device=ready.device if ready else None,
            dtype=ready.dtype if ready else None,
            quantisation=spec.quantisation,
            memory=ready.memory if ready else None,
            estimate=(holds.gpu_memory or holds.ram) if holds else None,
            pinned=resident.pinned,
            worker=worker.name,
            answering=self._gate.busy().get(worker.name, 0),
            tokens_generated=worker.tokens_generated,
        )

    def _keep(self, key: str, engine: LocalEngine | RemoteEngine) -> LocalEngine | RemoteEngine:
        with self._lock:
            return self._engines.setdefault(key, engine)

    def _found(self, config: WorkerConfig) -> Resident | None:
        with self._lock:
            return self._workers.get(config.model_dump_json())

    def _worker(self, config: WorkerConfig) -> Resident:
        key = config.model_dump_json()
        with self._lock:
            resident = self._workers.get(key)
            if resident is None:
                short = hashlib.sha256(key.encode()).hexdigest()[:8]
                log_file = self._data_dir / "logs" / f"worker-{config.path.stem}-{short}.log"
                name = f"{config.path.name} ({config.quantisation}, {short})"
                worker = WorkerProcess(name, config, log_file)
                resident = self._workers[key] = self._residency.add(worker, partial(_estimate, config))
            return resident


def _adapter(spec: ModelSpec) -> Path | None:
    folder = adapter_folder(spec)
    return folder.absolute() if folder is not None else None


def engine_for(spec: ModelSpec, data_dir: Path) -> Engine:
    """An engine of its own for one spec. Where several are needed, `EnginePool` lets them share weights."""
    return EnginePool(data_dir).get(spec)


def default_budget(ram: int | float | None = None, gpu: int | float | None = None) -> Budget:
    """A budget in bytes. None is `SHARE` of what the ledger may lend on this machine, a fraction (at most 1) is
    that share of it. Takes a second where there is an NVIDIA driver."""
    most = ledger.capacity()
    return Budget(ram=_amount(ram, most.ram), gpu=_amount(gpu, most.gpu) if most.gpu else None)


def _amount(wanted: int | float | None, most: int) -> int:
    share = SHARE if wanted is None else wanted
    return int(share * most) if share <= 1 else int(share)


def _estimate(config: WorkerConfig) -> MemoryEstimate:
    gpu = config.device in ("auto", "cuda") and ledger.capacity().gpu > 0
    return estimate(
        config.path,
        quantisation=config.quantisation,
        dtype_bytes=2 if config.dtype in ("bfloat16", "float16") or gpu else 4,
        context_length=config.context_length,
        gpu=gpu,
    )
