"""Real parts that many tests need: the embedded model, engines on it, and a scripted OpenAI-compatible server."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from arena.engines import embedded
from arena.engines.pool import EnginePool
from arena.engines.spec import ModelSpec

TESTS = Path(__file__).parent


def pytest_configure() -> None:
    """Ctrl+C works in the processes that tests start, also where the tests themselves run in the background of a
    script: a shell has such ones ignore it, and so would their children."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def model_data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with the prepared embedded model (downloaded once for this user, then linked)."""
    data_dir = tmp_path_factory.mktemp("model-data")
    embedded.prepare(data_dir)
    return data_dir


@pytest.fixture(scope="session")
def smollm2_dir(model_data_dir: Path) -> Path:
    """The folder of the embedded model."""
    folder = embedded.find(model_data_dir)
    assert folder is not None
    return folder


@pytest.fixture(scope="session")
def smollm2_spec() -> ModelSpec:
    """The embedded model as it is, without sampling defaults: greedy."""
    return ModelSpec(name="smollm2", source=f"embedded:{embedded.NAME}")


@pytest.fixture(scope="session")
def engine_pool(model_data_dir: Path) -> Iterator[EnginePool]:
    """Engines on the real model, in float32 so that batching changes no token; one worker for all tests."""
    pool = EnginePool(model_data_dir, dtype="float32")
    yield pool
    asyncio.run(pool.close())


@pytest.fixture(scope="session")
def scripted_server() -> Iterator[str]:
    """The address (without /v1) of a running scripted OpenAI-compatible server."""
    command = [sys.executable, str(TESTS / "_servers" / "scripted_openai.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = f"http://127.0.0.1:{int(process.stdout.readline())}"
        transport = httpx.HTTPTransport(retries=10)
        with httpx.Client(transport=transport, trust_env=False) as client:
            assert client.get(f"{address}/seen/nothing").json()["requests"] == 0
        yield address
        process.terminate()
