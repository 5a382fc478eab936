"""Write a report as a file: whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from results.reports._collect import Progress, collect
from results.reports._model import Report, ReportQuery
from results.reports._render import render
from results.reports._texts import Language

if TYPE_CHECKING:
    from results.store import Store


def write_report(
    store: Store,
    path: Path | str,
    query: ReportQuery | None = None,
    *,
    language: Language = "en",
    title: str | None = None,
    progress: Progress = lambda step: None,
) -> Report:
    """Make a report and put it at `path`, replacing what is there only when all of it is written. Returns what
    it was made from. Raises StoreError, and OSError where the file cannot be written."""
    report = collect(store, query, progress=progress)
    progress("page")
    page = render(report, language=language, title=title)
    target = Path(path)
    part = target.with_name(f".{target.name}.{uuid4().hex[:8]}.part")
    try:
        with part.open("x", encoding="utf-8", newline="\n") as file:
            file.write(page)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return report
