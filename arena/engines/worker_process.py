"""The arena's end of a worker process: starting it, talking to it, noticing its death.

Threads, not asyncio, carry the pipes, so that one worker serves callers on any event loop.
"""

from __future__ import annotations

import logging
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from pydantic import ValidationError

import arena.engines
from arena.engines.base import EngineUnavailable
from arena.engines.protocol import (
    FROM_WORKER,
    Cancel,
    Detach,
    Embedded,
    EmbedMany,
    Ended,
    Failed,
    FromWorker,
    Loading,
    ProtocolError,
    Ready,
    Refused,
    Scored,
    ScoreMany,
    Start,
    Threads,
    ToWorker,
    WorkerConfig,
    read_frame,
    write_message,
)
from arena.engines.worker_links import Link, ProcessLink, attach

log = logging.getLogger(__name__)

Phase = Literal["unloaded", "waiting", "loading", "ready", "failed"]
Sink = Callable[[FromWorker | EngineUnavailable], None]

RETRY_FAILED_AFTER = 5.0
"""Seconds for which a failed load is not tried again: several waiting callers get one answer."""
UNRESPONSIVE_AFTER = 120.0
"""Seconds after which a worker that does not obey a cancel is killed."""
LONGEST_LOG = 1_000_000
WORKER = "arena.engines.local_worker"
"""The module that a worker process runs."""


@dataclass(frozen=True)
class WorkerState:
    """Where a worker stands. `detail` is what it waits for, the stage of loading, or why it failed; `ready` what
    it loaded."""

    phase: Phase
    detail: str = ""
    ready: Ready | None = None


class WorkerProcess:
    """One set of weights in a process of its own, started when it is needed, or in one that another arena shares.

    After a crash the next request starts it again. Methods may be called from any thread.
    """

    def __init__(self, name: str, config: WorkerConfig, log_file: Path | None = None) -> None:
        self.name = name
        self.config = config
        self.tokens_generated = 0
        self.state = WorkerState("unloaded")
        self._log_file = log_file
        self._lock = threading.RLock()
        self._link: Link | None = None
        self._outbox: queue.SimpleQueue[ToWorker | None] = queue.SimpleQueue()
        self._loaded: Future[Ready] = Future()
        self._failed_at = -RETRY_FAILED_AFTER
        self._next_id = 0
        self._sinks: dict[int, Sink] = {}
        self._cancelling: dict[int, threading.Timer] = {}
        self._threads = 0
        self.on_end: Callable[[], None] = _nothing
        """Called, from any thread, when the process has ended and its memory is free."""

    @property
    def ended(self) -> bool:
        """Whether there is no process, and none is being started."""
        return self._link is None

    @property
    def shared(self) -> bool:
        """Whether the process is that of another arena, which shares it."""
        link = self._link
        return link is not None and link.shared

    @property
    def pid(self) -> int | None:
        """The process id while a worker of our own runs."""
        link = self._link
        return link.pid if link is not None else None

    @property
    def busy(self) -> bool:
        """Whether answers are being made for somebody."""
        return bool(self._sinks)

    def attach(self, folder: Path) -> bool:
        """Use an equal worker that an arena shares in `folder`, unless ours runs; whether that is so. Takes as long
        as that arena needs to answer."""
        with self._lock:
            if self._link is not None:
                return self._link.shared
        found = attach(folder, self.config)
        if found is None:
            return False
        link, ready = found
        with self._lock:
            if self._link is not None:  # somebody was faster
                link.close()
                return self._link.shared
            self._begin(link)
            self._receive(ready)
        return True

    def load(self, *, spawn: bool = True) -> Future[Ready]:
        """Start the worker unless it runs. The future ends with what it loaded, or `EngineUnavailable`. Without
        `spawn` none is started: where the one that was attached has gone, `start` tells."""
        with self._lock:
            if spawn and self._link is None and time.monotonic() - self._failed_at >= RETRY_FAILED_AFTER:
                self._spawn()
            return self._loaded

    def start(self, request: Start | ScoreMany | EmbedMany, sink: Sink) -> int:
        """Begin an answer, a scoring or an embedding on a loaded worker; returns its id.

        `sink` is called from another thread.
        """
        with self._lock:
            if self._link is None:
                raise self._gone("ended before this answer began")
            self._next_id += 1
            identity = self._next_id
            self._sinks[identity] = sink
            self._outbox.put(request.model_copy(update={"id": identity}))
            return identity

    def cancel(self, identity: int) -> None:
        """Stop an answer; its sink gets nothing more. Nothing happens where it has ended already."""
        with self._lock:
            if self._sinks.pop(identity, None) is None or self._link is None:
                return
            self._outbox.put(Cancel(id=identity))
            timer = threading.Timer(UNRESPONSIVE_AFTER, self._kill_unresponsive, (self._link,))
            timer.daemon = True
            self._cancelling[identity] = timer
            timer.start()

    def detach(self, adapter: Path) -> None:
        """Have the worker free an adapter that no answer uses."""
        with self._lock:
            if self._link is not None and not self._link.shared:
                self._outbox.put(Detach(adapter=adapter))

    def use_threads(self, count: int) -> None:
        """Let the worker compute with `count` threads."""
        with self._lock:
            if count != self._threads and self._link is not None and not self._link.shared:
                self._threads = count
                self._outbox.put(Threads(count=count))

    def stop(self) -> None:
        """End the process and free its memory; answers in the making get `EngineUnavailable`."""
        with self._lock:
            link = self._link
        if link is None:
            return
        link.kill()
        link.wait()
        self._ended(link)

    def _spawn(self) -> None:
        root = Path(arena.engines.__file__).parents[2]
        path = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
        environment = {
            **os.environ,
            "PYTHONPATH": path,
            # Threads wait for each other this long before they sleep. The default keeps a core that another
            # process needs; sleeping at once makes two threads as slow as one.
            "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "20000"),
            "HF_HUB_OFFLINE": "1",  # the files are here already: loading must not wait for a network
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "TQDM_DISABLE": "1",
        }
        with self._open_log() as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", WORKER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
            )
        self._begin(ProcessLink(process))
        self.state = WorkerState("loading", "starting")
        self._outbox.put(self.config)

    def _begin(self, link: Link) -> None:
        self._link, self._threads = link, 0
        self._loaded, self._outbox = Future(), queue.SimpleQueue()
        for target, args in ((self._write, (link, self._outbox)), (self._read, (link,))):
            threading.Thread(target=target, args=args, name=f"worker {self.name}", daemon=True).start()

    def _open_log(self) -> IO[bytes]:
        if self._log_file is None:
            return open(os.devnull, "wb")
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        long = self._log_file.exists() and self._log_file.stat().st_size > LONGEST_LOG
        return self._log_file.open("wb" if long else "ab")

    @staticmethod
    def _write(link: Link, outbox: queue.SimpleQueue[ToWorker | None]) -> None:
        while (message := outbox.get()) is not None:
            try:
                write_message(link.requests, message)
            except (OSError, ValueError):  # it died, or was closed: the reading side tells everyone
                return

    def _read(self, link: Link) -> None:
        try:
            while (frame := read_frame(link.replies)) is not None:
                self._receive(FROM_WORKER.validate_json(frame))
        except (ProtocolError, ValidationError) as error:
            log.error("worker %s sent what cannot be understood and is ended: %s", self.name, error)
            link.kill()
        except OSError as error:  # a connection that was cut
            log.info("the connection to %s ended: %s", self.name, error)
        link.wait()
        self._ended(link)
        link.close()

    def _receive(self, message: FromWorker) -> None:
        match message:
            case Loading(stage=stage):
                self.state = WorkerState("loading", stage)
            case Ready():
                self.state = WorkerState("ready", ready=message)
                self._loaded.set_result(message)
            case Failed(reason=reason):
                self.state = WorkerState("failed", reason)
            case _:
                self._deliver(message)

    def _deliver(self, message: FromWorker) -> None:
        assert not isinstance(message, Loading | Ready | Failed)
        with self._lock:
            last = isinstance(message, Ended | Scored | Embedded | Refused)
            if isinstance(message, Ended):
                self.tokens_generated += message.completion_tokens
            sink = self._sinks.pop(message.id, None) if last else self._sinks.get(message.id)
            if last and (timer := self._cancelling.pop(message.id, None)) is not None:
                timer.cancel()
        if sink is not None:
            sink(message)

    def _ended(self, link: Link) -> None:
        with self._lock:
            if self._link is not link:
                return
            self._link = None
            self._outbox.put(None)
            sinks, self._sinks = self._sinks, {}
            timers, self._cancelling = self._cancelling, {}
            how = link.how_it_ended()
            if self.state.phase == "failed":
                self._failed_at = time.monotonic()
                error = EngineUnavailable(f"{self.name} cannot be loaded: {self.state.detail}")
            else:
                self.state = WorkerState("unloaded", how)
                error = self._gone(how)
            if not self._loaded.done():
                self._loaded.set_exception(error)
        for timer in timers.values():
            timer.cancel()
        for sink in sinks.values():
            sink(error)
        self.on_end()

    def _gone(self, how: str) -> EngineUnavailable:
        return EngineUnavailable(
            f"the process of {self.name} {how}. It is started again by the next request."
            + (f" Its log: {self._log_file}" if self._log_file else "")
        )

    def _kill_unresponsive(self, link: Link) -> None:
        log.error("worker %s does not obey a cancel and is killed", self.name)
        link.kill()


def _nothing() -> None:
    """What is called where nobody waits."""
