"""Linear algebra on one thread: matrices here are small, and BLAS threads that wait for each other on cores
busy with generating make it many times slower."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

_lock = threading.Lock()


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit the process's BLAS libraries to one thread inside. One caller at a time, as the limit is global
    and is set back to what it was."""
    with _lock, _controller().limit(limits=1):
        yield
