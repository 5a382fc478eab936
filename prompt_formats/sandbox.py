"""Rendering of templates that are not ours, in worker processes that can be killed.

Jinja's sandbox keeps a template away from Python, but cannot stop one that loops for ever or writes without
end. So tokenizers', GGUF files' and users' templates render in a child process, kept warm and reused, which
is killed when it overruns its time, and which limits its own memory and output.
"""

from __future__ import annotations

import atexit
import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prompt_formats.environment import Rendering
from prompt_formats.errors import InvalidInput, TemplateFailed

_START_SECONDS = 30.0
_KEPT_WARM = 2


@dataclass(frozen=True)
class Limits:
    """What a template that is not ours may use: seconds of wall clock, characters written, MiB of address
    space."""

    seconds: float = 5.0
    characters: int = 4_000_000
    megabytes: int = 1024


class _TimedOut(Exception):
    pass


class _Died(Exception):
    pass


class _Worker:
    """One child process and its two pipes."""

    def __init__(self, limits: Limits) -> None:
        # A bare environment: a template that escaped the sandbox would find no keys or tokens in it.
        env = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PYTHONUTF8": "1"}
        self.limits = limits
        self._process = subprocess.Popen(
            [sys.executable, "-m", "prompt_formats._worker", str(limits.megabytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=env,
            cwd=os.sep,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        os.set_blocking(self._output.fileno(), False)
        os.set_blocking(self._input.fileno(), False)
        self._pending = b""
        self._exchange(b"", time.monotonic() + _START_SECONDS)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        line = json.dumps(request, ensure_ascii=True).encode() + b"\n"
        return self._exchange(line, time.monotonic() + self.limits.seconds)

    def _exchange(self, line: bytes, deadline: float) -> dict[str, Any]:
        # Six bytes a character is the most that JSON's ASCII escapes can take.
        most = self.limits.characters * 12 + 65536
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            if line:
                selector.register(self._input, selectors.EVENT_WRITE)
            while b"\n" not in self._pending:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise _TimedOut
                for key, _ in selector.select(left):
                    if key.fileobj is self._input:
                        line = self._send(line)
                        if not line:
                            selector.unregister(self._input)
                        continue
                    chunk = self._output.read(1 << 20)
                    if not chunk or len(self._pending) > most:
                        raise _Died
                    self._pending += chunk
        answer, _, self._pending = self._pending.partition(b"\n")
        decoded: dict[str, Any] = json.loads(answer)
        return decoded

    def _send(self, line: bytes) -> bytes:
        try:
            sent = os.write(self._input.fileno(), line)
        except BrokenPipeError as error:
            raise _Died from error
        return line[sent:]

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._input.close()
        self._output.close()


class _Pool:
    """Idle workers. A thread takes one for one rendering, so that threads do not wait for each other."""

    def __init__(self) -> None:
        self._idle: list[_Worker] = []
        self._lock = threading.Lock()
        self._owner = os.getpid()

    def take(self, limits: Limits) -> tuple[_Worker, bool]:
        """A worker with these limits, and whether it was started just now."""
        with self._lock:
            if self._owner != os.getpid():  # after a fork the children belong to the parent
                self._idle, self._owner = [], os.getpid()
            for worker in self._idle:
                if worker.limits == limits:
                    self._idle.remove(worker)
                    return worker, False
        return _Worker(limits), True

    def put(self, worker: _Worker) -> None:
        with self._lock:
            self._idle.append(worker)
            surplus = self._idle.pop(0) if len(self._idle) > _KEPT_WARM else None
        if surplus is not None:
            surplus.kill()

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        if self._owner == os.getpid():
            for worker in idle:
                worker.kill()


_pool = _Pool()
atexit.register(_pool.close)


def render_untrusted(
    template: str,
    context: Mapping[str, Any],
    *,
    now: datetime,
    continue_final_message: bool = False,
    track_generation: bool = False,
    limits: Limits | None = None,
) -> Rendering:
    """Render `template` in a worker process, with limits.

    Same result as `environment.render_template`. Raises `TemplateFailed` also when the template takes more
    time, memory or output than `limits` allow; the worker is then killed.
    """
    limits = limits or Limits()
    request = {
        "template": template,
        "context": dict(context),
        "now": now.isoformat(),
        "continue_final_message": continue_final_message,
        "track_generation": track_generation,
        "limit": limits.characters,
    }
    answer = _ask(request, limits)
    if "error" in answer:
        error = InvalidInput if answer["kind"] == InvalidInput.kind else TemplateFailed
        raise error(answer["error"])
    spans = tuple((start, end) for start, end in answer["spans"])
    return Rendering(answer["text"], answer["clock_read"], spans)


def _ask(request: dict[str, Any], limits: Limits) -> dict[str, Any]:
    worker, fresh = _pool.take(limits)
    while True:
        try:
            answer = worker.ask(request)
        except _TimedOut:
            worker.kill()
            raise TemplateFailed(
                f"the template did not finish in {limits.seconds:g} s and was stopped (an endless loop?)"
            ) from None
        except _Died:
            worker.kill()
            if fresh:
                raise TemplateFailed(
                    f"the template's process died (it may use {limits.megabytes} MiB of memory)"
                ) from None
            # A warm worker may have been ended from outside; a fresh one shows whether the template is to
            # blame.
            worker, fresh = _Worker(limits), True
            continue
        except BaseException:
            worker.kill()
            raise
        _pool.put(worker)
        return answer
