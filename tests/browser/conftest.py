"""A real browser and a real `arena serve`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from results.interchange import import_votes
from results.store import open_store
from tests.trainers.conftest import tiny_model  # noqa: F401

expect.set_options(timeout=45_000)

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@dataclass
class Arena:
    """A running `arena serve`."""

    data_dir: Path
    port: int
    process: subprocess.Popen[str]
    lines: list[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def wait_for(self, pattern: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not any(re.search(pattern, line) for line in self.lines):
            assert self.process.poll() is None, "".join(self.lines)
            assert time.monotonic() < deadline, f"no {pattern!r} in:\n{''.join(self.lines)}"
            time.sleep(0.1)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def free_port() -> int:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as probe:
        return int(probe.getsockname()[1])


def start_arena(data_dir: Path, *options: str) -> Arena:
    """`arena serve` on a free port; returns when it answers."""
    port = free_port()
    command = [sys.executable, "-m", "arena.cli.main", "serve", "--data", str(data_dir), "--port", str(port)]
    process = subprocess.Popen(
        [*command, *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
    )
    lines: list[str] = []

    def read_lines() -> None:
        assert process.stderr is not None
        for line in process.stderr:  # one by one: others read the list while it grows
            lines.append(line)  # noqa: PERF402

    threading.Thread(target=read_lines, daemon=True).start()
    arena = Arena(data_dir, port, process, lines)
    arena.wait_for(r"Palaestra is at", 120)
    return arena


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """An installed Chromium. Missing is a failure in CI, and a check that was not run elsewhere."""
    path = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    if path is None:
        message = "not run: no Chromium on this machine (Debian: apt-get install chromium fonts-noto-cjk)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A page of a new visitor who reads English."""
    context = chromium.new_context(locale="en-US", viewport={"width": 1280, "height": 900})
    page = context.new_page()
    yield page
    context.close()


@pytest.fixture(scope="module")
def scripted_arena(
    scripted_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Arena]]:
    """Starts arenas whose contestants are scripted modes of the test server: `scripted_arena("ok", "slow")`."""
    started: list[Arena] = []

    def start(*modes: str, settings: str = "") -> Arena:
        data_dir = tmp_path_factory.mktemp("arena")
        entries = "".join(
            f'[[models]]\nname = "contestant-{mode}"\nkind = "openai"\nsource = "{mode}"\n'
            f'base_url = "{scripted_server}/v1"\n'
            for mode in modes
        )
        (data_dir / "arena.toml").write_text(f"embedded = false\n{settings}\n{entries}", encoding="utf-8")
        started.append(start_arena(data_dir))
        return started[-1]

    yield start
    for arena in started:
        arena.stop()


@pytest.fixture(scope="session")
def training_arena(
    tiny_model: Path,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Arena]:
    """An arena whose one model is small and random, with a vote between two others: for datasets and trainings."""
    data_dir = tmp_path_factory.mktemp("training")
    (data_dir / "arena.toml").write_text(
        f'embedded = false\n[[models]]\nname = "tiny"\nsource = "{tiny_model}"\nlicence = "apache-2.0"\n',
        encoding="utf-8",
    )
    asked = {"role": "user", "content": "점심 뭐 먹지?"}
    said = [[asked, {"role": "assistant", "content": answer}] for answer in ("김치찌개요!", "몰라요")]
    vote = {
        "id": "lunch", "model_a": "한빛", "model_b": "누리", "winner": "model_a", "language": "ko",
        "conversation_a": said[0], "conversation_b": said[1],
    }  # fmt: skip
    votes = data_dir / "votes.jsonl"
    votes.write_text(json.dumps(vote, ensure_ascii=False) + "\n", encoding="utf-8")
    with open_store(data_dir) as store:
        import_votes(store, votes)
    started = start_arena(data_dir)
    yield started
    started.stop()
