"""How a worker is spoken to: by the pipes of a process of our own, or by the socket of an arena that shares its own."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from pydantic import ValidationError

from arena.engines.protocol import (
    FROM_WORKER,
    PROTOCOL,
    Attach,
    FromWorker,
    Loading,
    ProtocolError,
    Ready,
    WorkerConfig,
    read_frame,
    write_message,
)

log = logging.getLogger(__name__)

SOCKET = "workers.sock"
LONGEST_ADDRESS = 100
"""Bytes of a socket's path; systems take 104 or 108."""
PATIENCE = 5.0
"""Seconds for an arena to say whether it shares a worker; one that takes longer is busy enough."""
LOADING_PATIENCE = 600.0
"""Seconds for one that is being loaded there."""


class Link(Protocol):
    """Both directions to one worker. `shared` is that of another process's arena."""

    shared: bool
    requests: BinaryIO
    replies: BinaryIO

    @property
    def pid(self) -> int | None:
        """The worker's process id, where it is ours and runs."""

    def kill(self) -> None:
        """End the worker, or the connection to it."""

    def wait(self) -> None:
        """Return when it has ended."""

    def close(self) -> None:
        """Free what the ended link holds; called by who reads it."""

    def how_it_ended(self) -> str:
        """In words, after "the process of X"."""


class ProcessLink:
    """A worker process of our own."""

    shared = False

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.requests, self.replies = cast(BinaryIO, process.stdin), cast(BinaryIO, process.stdout)

    @property
    def pid(self) -> int | None:
        """See `Link`."""
        return self._process.pid if self._process.poll() is None else None

    def kill(self) -> None:
        """See `Link`."""
        self._process.kill()

    def wait(self) -> None:
        """See `Link`."""
        self._process.wait()

    def close(self) -> None:
        """See `Link`: pipes end with the process."""

    def how_it_ended(self) -> str:
        """See `Link`."""
        code = self._process.returncode
        if code == -signal.SIGKILL:
            return "was killed (signal 9), as the system does when memory runs out"
        if code < 0:
            return f"crashed (signal {-code}, {signal.Signals(-code).name})"
        return f"ended with exit code {code}"


class SocketLink:
    """A worker of another arena on the same data folder."""

    shared = True
    pid = None

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.requests = cast(BinaryIO, connection.makefile("wb"))
        self.replies = cast(BinaryIO, connection.makefile("rb"))

    def kill(self) -> None:
        """See `Link`: only the connection ends."""
        with contextlib.suppress(OSError):  # the other side was faster
            self._connection.shutdown(socket.SHUT_RDWR)

    def wait(self) -> None:
        """See `Link`."""

    def close(self) -> None:
        """See `Link`."""
        for each in (self.requests, self.replies, self._connection):
            with contextlib.suppress(OSError):  # a request that was still to be sent
                each.close()

    def how_it_ended(self) -> str:
        """See `Link`."""
        return "belonged to another arena process, which ended"


def attach(folder: Path, config: WorkerConfig) -> tuple[SocketLink, Ready] | None:
    """A link to a loaded worker of an equal config that an arena shares in `folder`; None where there is none."""
    if not hasattr(socket, "AF_UNIX") or not _is_private(folder):
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(PATIENCE)
    link: SocketLink | None = None
    try:
        with address(folder) as path:
            connection.connect(path)
        link = SocketLink(connection)
        write_message(link.requests, Attach(protocol=PROTOCOL, config=config))
        reply = _reply(link)
        if isinstance(reply, Loading):
            connection.settimeout(LOADING_PATIENCE)
            reply = _reply(link)
    except (OSError, ProtocolError, ValidationError) as error:
        log.debug("no worker is shared in %s: %s", folder, error)
        reply = None
    if link is not None and isinstance(reply, Ready):
        connection.settimeout(None)
        return link, reply
    if link is not None:
        link.close()
    connection.close()
    return None


@contextlib.contextmanager
def address(folder: Path) -> Iterator[str]:
    """The socket's path, short enough for the system. Raises OSError where there is no short one."""
    path = str(folder / SOCKET)
    if len(os.fsencode(path)) <= LONGEST_ADDRESS:
        yield path
        return
    if sys.platform != "linux":
        raise OSError(f"{path} is too long for a socket's path")
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET}"
    finally:
        os.close(descriptor)


def _reply(link: SocketLink) -> FromWorker | None:
    frame = read_frame(link.replies)
    return FROM_WORKER.validate_json(frame) if frame is not None else None


def _is_private(folder: Path) -> bool:
    """Whether nobody else could have put a socket there."""
    try:
        found = folder.stat()
    except OSError:  # there is none
        return False
    return found.st_uid == os.getuid() and not found.st_mode & 0o077
