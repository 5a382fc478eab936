"""The command line in this process, for the tests of all commands."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from arena.cli.main import main


class Done(NamedTuple):
    """How a command ended; `stderr` has its line breaks, which depend on the terminal, made into spaces."""

    returncode: int
    stdout: str
    stderr: str


Arena = Callable[..., Done]


@pytest.fixture
def arena(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Arena:
    """Runs the command line in this process, as the installed command does."""

    def run(*words: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["arena", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        told = capsys.readouterr()
        return Done(int(stop.value.code or 0), told.out, " ".join(told.err.split()))

    return run
