"""An arena's loaded workers, shared with other processes of the same user on the same data folder.

A Unix socket in DATA/run, in a folder that only the user can enter, speaks the workers' own protocol: the first frame
asks for a config, the answer is `ready` or `failed` (not loaded here), then requests and replies follow under the
client's own ids. A client's requests wait for cores and memory beside the arena's own; when it goes, they are
cancelled. When the arena ends, clients see the connection end, and may load the model themselves.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import ValidationError

from arena.engines.asking import asked
from arena.engines.base import EngineError, EngineUnavailable
from arena.engines.cores import CoreGate
from arena.engines.protocol import (
    PROTOCOL,
    TO_WORKER,
    Attach,
    Cancel,
    Delta,
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
    WorkerConfig,
    framed_bytes,
    receive_frame,
)
from arena.engines.residency import Residency, Resident
from arena.engines.worker_links import SOCKET, address

log = logging.getLogger(__name__)

Find = Callable[[WorkerConfig], Resident | None]


class WorkerSharing:
    """Serves workers that are loaded here, on a thread of its own. `find` gives the resident of a config."""

    def __init__(self, folder: Path, find: Find, residency: Residency, gate: CoreGate) -> None:
        self._folder, self._find, self._residency, self._gate = folder, find, residency, gate
        self._lock = FileLock(folder / "workers.lock", thread_local=False)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="shared workers", daemon=True)
        self._socket: socket.socket | None = None
        self._connections: set[asyncio.Task[None]] = set()

    def start(self) -> bool:
        """Share from now on. False where another process shares its workers here already, or the system has no
        such sockets."""
        if not hasattr(socket, "AF_UNIX"):
            return False
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            return False
        (self._folder / SOCKET).unlink(missing_ok=True)  # of a process that was killed: we hold its lock
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with address(self._folder) as path:
                listening.bind(path)
            (self._folder / SOCKET).chmod(0o600)
            listening.listen()
        except OSError as error:
            listening.close()
            self._lock.release()
            log.warning("workers are not shared with other processes: %s", error)
            return False
        listening.setblocking(False)
        self._socket = listening
        self._loop = asyncio.new_event_loop()
        self._thread.start()
        return True

    def close(self) -> None:
        """End all connections, with the requests on them."""
        if self._socket is None or self._loop is None:
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        (self._folder / SOCKET).unlink(missing_ok=True)
        self._lock.release()
        self._socket = None

    def _run(self) -> None:
        assert self._loop is not None
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_unix_server(self._accept, sock=self._socket)
        await self._stop.wait()
        server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if _is_ours(writer.get_extra_info("socket")):
                await _Connection(reader, writer, self._find, self._residency, self._gate).serve()
        except (ProtocolError, ValidationError, OSError) as error:
            log.info("a process that shared a worker is disconnected: %s", error)
        except asyncio.CancelledError:
            log.debug("the arena ends: a connection to a shared worker ends with it")
        finally:
            self._connections.discard(task)
            writer.close()


class _Connection:
    """One process that uses one worker of ours."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        find: Find,
        residency: Residency,
        gate: CoreGate,
    ) -> None:
        self._reader, self._writer = reader, writer
        self._find, self._residency, self._gate = find, residency, gate
        self._answering: dict[int, asyncio.Task[None]] = {}
        self._cancelled: dict[int, int] = {}  # by id, with the tokens made so far

    async def serve(self) -> None:
        """Answer until the other side ends the connection. Raises ProtocolError, ValidationError, OSError."""
        first = await receive_frame(self._reader)
        if first is None:
            return
        asked = Attach.model_validate_json(first)
        resident = self._find(asked.config) if asked.protocol == PROTOCOL else None
        if resident is None or resident.place != "in" or resident.worker.shared:
            await self._send(Failed(reason="it is not loaded here"))
            return
        await self._send(Loading(stage="asking the arena that shares it"))
        try:
            ready = await asyncio.shield(asyncio.wrap_future(resident.worker.load(spawn=False)))
            await self._send(ready)
        except EngineUnavailable as error:
            await self._send(Failed(reason=str(error)))
            return
        try:
            while (frame := await receive_frame(self._reader)) is not None:
                self._obey(resident, frame)
        finally:
            tasks = list(self._answering.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _obey(self, resident: Resident, frame: bytes) -> None:
        message = TO_WORKER.validate_json(frame)
        if isinstance(message, Start | ScoreMany | EmbedMany):
            task = asyncio.create_task(self._answer(resident, message))
            self._answering[message.id] = task
            task.add_done_callback(partial(self._is_done, message.id))
        elif isinstance(message, Cancel) and message.id in self._answering:
            self._cancelled.setdefault(message.id, 0)
            self._answering[message.id].cancel()
        # Threads and adapters are the owner's business.

    def _is_done(self, identity: int, task: asyncio.Task[None]) -> None:
        del self._answering[identity]
        made = self._cancelled.pop(identity, None)
        if task.cancelled() and made is not None:  # not where the arena ends: no answer ends by that
            ended = Ended(id=identity, finish_reason="cancelled", completion_tokens=made)
            self._writer.write(framed_bytes(ended))
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("an answer for another process failed", exc_info=error)
            told = f"{type(error).__name__}: {str(error)[:300]}"
            self._writer.write(framed_bytes(Refused(id=identity, kind="error", message=told)))

    async def _answer(self, resident: Resident, message: Start | ScoreMany | EmbedMany) -> None:
        made = 0
        try:
            async with (
                self._residency.using(resident) as ready,
                asked(resident.worker, self._gate, ready, message) as inbox,
            ):
                last = False
                while not last:
                    reply = await inbox.get()
                    if isinstance(reply, EngineUnavailable):
                        raise reply
                    assert not isinstance(reply, Loading | Ready | Failed)
                    made = reply.tokens if isinstance(reply, Delta) else made
                    last = isinstance(reply, Ended | Scored | Embedded | Refused)
                    await self._send(reply.model_copy(update={"id": message.id}))
        except EngineError as error:
            await self._send(Refused(id=message.id, kind="unavailable", message=str(error)))
        except asyncio.CancelledError:
            if message.id in self._cancelled:
                self._cancelled[message.id] = made
            raise
        except OSError as error:  # it went away meanwhile: the reading side cancels the rest
            log.debug("an answer of a shared worker has no reader any more: %s", error)

    async def _send(self, message: FromWorker) -> None:
        self._writer.write(framed_bytes(message))
        await self._writer.drain()


def _is_ours(connection: socket.socket) -> bool:
    """Whether the same user is on the other side; where the system does not tell, the folder's mode has to do."""
    if sys.platform != "linux":
        return True
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return bool(uid == os.getuid())
