"""What all commands share: the data directory option, output, and the exceptions that become exit codes.

Data goes to stdout, everything meant for people watching (tables' captions, progress, errors) to stderr.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich.console import Console

FAILED, BAD_USAGE, GATE_SAID_NO = 1, 2, 3

console = Console(stderr=True)
output = Console(soft_wrap=True)

DataDir = Annotated[
    Path,
    typer.Option(
        "--data", envvar="ARENA_DATA", help="Folder of the database, artifacts and logs.", file_okay=False
    ),
]
DEFAULT_DATA = Path("arena-data")

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="Settings file.", show_default="arena.toml in the data folder"),
]
MirroredData = Annotated[
    Path | None,
    typer.Option(
        "--datasets", envvar="ARENA_DATASETS", help="Folder of mirrored data sets of lm-eval's tasks."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print data as JSON on stdout.")]


class BadInput(Exception):
    """The user's input cannot be used: exit code 2. The message says what is wrong, where, and what to do."""


class WorkFailed(Exception):
    """The input was fine, but the work failed: exit code 1."""


def print_json(data: Any, file: TextIO | None = None) -> None:
    """Write `data` as one JSON document to stdout, or to `file`."""
    out = file or sys.stdout
    json.dump(data, out, ensure_ascii=False, indent=2, default=str)
    out.write("\n")
