"""The engines of an arena: one per model version, sharing worker processes where they share weights."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from dataclasses import dataclass
from pathlib import Path

from arena.engines.base import Engine
from arena.engines.cores import CoreGate
from arena.engines.local import LocalEngine
from arena.engines.protocol import Dtype, WorkerConfig
from arena.engines.remote import RemoteEngine, Remotes
from arena.engines.sources import adapter_folder, resolve
from arena.engines.spec import ModelSpec
from arena.engines.worker_process import Phase, WorkerProcess


@dataclass(frozen=True)
class EngineStatus:
    """Where one engine stands. `memory` is the weights' size in bytes, `answering` its open answers."""

    name: str
    kind: str
    phase: Phase
    detail: str = ""
    device: str | None = None
    dtype: str | None = None
    memory: int | None = None
    answering: int = 0
    tokens_generated: int = 0


class EnginePool:
    """Owns the engines of one process. Safe to use from any thread and any event loop.

    `remotes` holds limits of endpoints and prices (`Remotes.from_settings`).

    `dtype` is for all local models. With "float32" an answer that shared a batch equals the one made alone; in
    bfloat16 (where the hardware has it, "auto" takes it) their tokens may part after a while, since matrix
    products round differently in other shapes. An answer made alone is the same each time in either.
    """

    def __init__(
        self,
        data_dir: Path,
        cores: int | None = None,
        dtype: Dtype = "auto",
        remotes: Remotes | None = None,
    ) -> None:
        self._data_dir = data_dir
        self._remotes = remotes or Remotes(formats=data_dir / "formats")
        self._dtype = dtype
        self._gate = CoreGate(cores)
        self._lock = threading.Lock()
        self._workers: dict[str, WorkerProcess] = {}
        self._engines: dict[str, LocalEngine | RemoteEngine] = {}

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
            path=resolve(spec, self._data_dir),
            quantisation=spec.quantisation,
            context_length=spec.context_length,
            dtype=self._dtype,
        )
        return self._keep(
            key,
            LocalEngine(
                spec, self._worker(config), self._gate, adapter_folder(spec), self._data_dir / "formats"
            ),
        )

    def status(self) -> list[EngineStatus]:
        """Where every engine stands."""
        busy = self._gate.busy()
        with self._lock:
            engines = list(self._engines.values())
        return [_status(engine, busy) for engine in engines]

    async def close(self) -> None:
        """End all workers and connections. Engines start again when they are used."""
        with self._lock:
            engines = list(self._engines.values())
        await asyncio.gather(*(engine.close() for engine in engines))

    def _keep(self, key: str, engine: LocalEngine | RemoteEngine) -> LocalEngine | RemoteEngine:
        with self._lock:
            return self._engines.setdefault(key, engine)

    def _worker(self, config: WorkerConfig) -> WorkerProcess:
        key = config.model_dump_json()
        with self._lock:
            worker = self._workers.get(key)
            if worker is None:
                short = hashlib.sha256(key.encode()).hexdigest()[:8]
                log_file = self._data_dir / "logs" / f"worker-{config.path.stem}-{short}.log"
                name = f"{config.path.name} ({config.quantisation}, {short})"
                worker = self._workers[key] = WorkerProcess(name, config, log_file)
            return worker


def engine_for(spec: ModelSpec, data_dir: Path) -> Engine:
    """An engine of its own for one spec. Where several are needed, `EnginePool` lets them share weights."""
    return EnginePool(data_dir).get(spec)


def _status(engine: LocalEngine | RemoteEngine, busy: dict[str, int]) -> EngineStatus:
    if isinstance(engine, RemoteEngine):
        return EngineStatus(name=engine.spec.name, kind="openai", phase="ready")
    worker = engine.worker
    state = worker.state
    ready = state.ready
    return EngineStatus(
        name=engine.spec.name,
        kind="local",
        phase=state.phase,
        detail=state.detail,
        device=ready.device if ready else None,
        dtype=ready.dtype if ready else None,
        memory=ready.memory if ready else None,
        answering=busy.get(worker.name, 0),
        tokens_generated=worker.tokens_generated,
    )
