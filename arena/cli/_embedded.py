"""The model that comes with Palaestra, prepared with progress."""

from __future__ import annotations

from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from arena.cli._common import WorkFailed, console
from arena.engines import embedded
from arena.engines.base import EngineUnavailable


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
