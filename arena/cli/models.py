"""`arena models`: the roster, and the model that comes with Palaestra."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from arena.cli._common import DEFAULT_DATA, DataDir, WorkFailed, console, output
from arena.engines import embedded
from arena.engines.base import EngineUnavailable

app = typer.Typer(no_args_is_help=True, help="Models: prepare the one that comes with Palaestra.")


@app.callback()
def group() -> None:
    """Keeps `prepare` a subcommand while it is the only one."""


@app.command()
def prepare(data: DataDir = DEFAULT_DATA) -> None:
    """Fetch, check and convert the embedded model, once; prints its folder."""
    output.print(str(prepare_embedded(data)), highlight=False)


def prepare_embedded(data: Path) -> Path:
    """The embedded model's folder; fetches and converts it, with progress, where that has not been done."""
    folder = embedded.find(data)
    if folder is not None and folder.is_relative_to(data):
        return folder
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        try:
            return embedded.prepare(data, show)
        except (EngineUnavailable, OSError) as error:
            raise WorkFailed(f"the embedded model could not be prepared: {error}") from error
