"""A really started `arena serve` with the real SmolLM2 and scripted remote models, and its tokens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import openai
import pytest

from arena.api.tokens import issue
from arena.config import load_settings
from arena.engines import embedded
from arena.engines.pool import EnginePool
from arena.roster import Contestant, find
from results.store import open_store
from results.store.tokens import Scope, add_token

SCRIPTED = ("ok", "korean", "slow", "overlong", "refuses", "cut", "held")


@dataclass
class Served:
    """A running `arena serve`; `token` opens /v1, `operator` the rest."""

    data_dir: Path
    port: int
    process: subprocess.Popen[bytes]
    token: str = ""
    operator: str = ""
    output: Path = field(default=Path())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, token: str | None = None) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.url}/v1", api_key=token or self.token, timeout=120, max_retries=0
        )

    def http(self) -> httpx.Client:
        headers = {"authorization": f"Bearer {self.token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=120, trust_env=False)

    def new_token(self, name: str, scope: Scope = "api") -> str:
        record, text = issue(name, scope)
        with open_store(self.data_dir) as store:
            add_token(store, record)
        return text

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise


def _free_port() -> int:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as probe:
        return int(probe.getsockname()[1])


def _start(data_dir: Path, ready_within: float) -> Served:
    port, output = _free_port(), data_dir / "serve.out"
    command = [sys.executable, "-m", "arena.cli.main", "serve", "--data", str(data_dir), "--port", str(port)]
    with output.open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
        )
    served = Served(data_dir, port, process, output=output)
    deadline = time.monotonic() + ready_within
    with httpx.Client(trust_env=False) as client:
        while True:
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            try:
                if client.get(f"{served.url}/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.1)
    return served


@pytest.fixture(scope="session")
def entries(scripted_server: str) -> str:
    """Scripted models as arena.toml has them."""
    return "".join(
        f'[[models]]\nname = "{mode}"\nkind = "openai"\nsource = "{mode}:api"\nbase_url = "{scripted_server}/v1"\n'
        'licence = "MIT"\ntags = ["scripted"]\n'
        for mode in SCRIPTED
    )


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, entries: str) -> Iterator[Served]:
    """The server that all tests share: the real model (greedy by default), and scripted ones."""
    data_dir = tmp_path_factory.mktemp("served")
    embedded.prepare(data_dir)
    (data_dir / "arena.toml").write_text(
        f"embedded = false\n[api]\nmax_body_bytes = 200000\nanswer_timeout = 120\nmax_choices = 4\n"
        # In float32 an answer does not depend on what shares its batch.
        '[engines]\ndtype = "float32"\n'
        f'[[models]]\nname = "smollm2"\nsource = "embedded:{embedded.NAME}"\nlicence = "Apache-2.0"\n'
        f"[models.sampling]\ntemperature = 0.0\nmax_tokens = 24\n{entries}",
        encoding="utf-8",
    )
    running = _start(data_dir, 240)
    try:
        running.token, running.operator = running.new_token("시험"), running.new_token("ops", "operator")
        yield running
    finally:
        running.stop()


@pytest.fixture
def start(tmp_path: Path, entries: str) -> Iterator[Callable[[str], Served]]:
    """Starts servers of their own with scripted models only: `start(settings)`."""
    started: list[Served] = []

    def run(settings: str) -> Served:
        (tmp_path / "arena.toml").write_text(f"embedded = false\n{settings}\n{entries}", encoding="utf-8")
        started.append(_start(tmp_path, 240))
        return started[-1]

    yield run
    for each in started:
        each.stop()


@pytest.fixture
def client(served: Served) -> openai.OpenAI:
    """The official client, with a token."""
    return served.client()


@pytest.fixture
def beside(served: Served) -> Iterator[tuple[Contestant, EnginePool]]:
    """The engines of this process, which is another than the server's, and the model that the server has loaded."""
    with open_store(served.data_dir) as store:
        pool = EnginePool.from_settings(load_settings(served.data_dir), served.data_dir, store, "a test")
        yield find(store, "smollm2"), pool
        asyncio.run(pool.close())
