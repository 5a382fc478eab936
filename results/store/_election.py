"""Who owns the store: the process that holds the lock; everybody else finds it at its endpoint."""

from __future__ import annotations

import random
import time

from filelock import FileLock, Timeout

from results.store._client import Client, OwnerGone
from results.store._endpoint import PROTOCOL, Endpoint, Files
from results.store._opening import Settings
from results.store._owner import Owner
from results.store.errors import StoreBusy, StoreReadOnly

Backend = Owner | Client


def elect(files: Files, settings: Settings, timeout: float) -> Backend:
    """Become the owner, or a client of whoever is. Raises StoreBusy after `timeout` seconds without
    either."""
    deadline = time.monotonic() + timeout
    while True:
        if (owner := _try_owning(files, settings)) is not None:
            return owner
        if (client := _try_joining(files)) is not None:
            return client
        if time.monotonic() > deadline:
            endpoint = Endpoint.read(files.endpoint)
            who = f"process {endpoint.pid}" if endpoint else "a process"
            raise StoreBusy(
                f"{who} holds {files.lock} but does not answer. Wait until it is done, or end it, and try again."
            )
        # Many clients lose their owner at the same moment.
        time.sleep(random.uniform(0.01, 0.05))  # noqa: S311


def _try_owning(files: Files, settings: Settings) -> Owner | None:
    # A new lock object each time: one that is held in this process is somebody else's as well.
    lock = FileLock(files.lock, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        return None
    except OSError as error:
        raise StoreReadOnly(
            f"{files.lock} cannot be written ({error.strerror}). Check the folder's permissions, or choose another "
            "data directory."
        ) from error
    try:
        return Owner(files, lock, settings)
    except OSError as error:
        lock.release()
        raise StoreReadOnly(
            f"{files.database.parent} cannot be written ({error.strerror or error}). Check the folder's permissions "
            "and the space on its disk."
        ) from error
    except BaseException:
        lock.release()
        raise


def _try_joining(files: Files) -> Client | None:
    try:
        endpoint = Endpoint.read(files.endpoint)
    except PermissionError as error:
        raise StoreReadOnly(
            f"the store in {files.database.parent} is owned by another user's process. Run both as one user."
        ) from error
    if endpoint is None:
        return None
    if endpoint.protocol != PROTOCOL:
        raise StoreBusy(
            f"the store is owned by process {endpoint.pid} of another version of Palaestra. End it, and try again."
        )
    try:
        return Client(endpoint)
    except OwnerGone:
        return None
