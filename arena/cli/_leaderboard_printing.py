"""How a view of `arena leaderboard` is printed: tables, or rows as JSON, CSV, Markdown and Parquet."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from rich.console import Console

from arena.cli._common import BadInput, console, output, print_json
from arena.cli._leaderboard_views import View

Format = Literal["table", "json", "csv", "markdown", "parquet"]

_SUFFIXES: dict[str, Format] = {
    ".json": "json", ".csv": "csv", ".md": "markdown", ".parquet": "parquet", ".txt": "table",
}  # fmt: skip


def format_of(given: Format | None, out: Path | None, as_json: bool) -> Format:
    if as_json and given not in (None, "json"):
        raise BadInput(f"--json and --format {given} contradict each other: leave one out")
    by_name = _SUFFIXES.get(out.suffix.lower()) if out is not None else None
    kind: Format | None = "json" if as_json else given or by_name
    if out is not None and kind is None:
        raise BadInput(
            f"--out {out} does not tell the format: name the file *.csv, *.md, *.json or *.parquet, or add --format"
        )
    if kind == "parquet" and out is None:
        raise BadInput("Parquet is not for the terminal: name a file with --out FILE.parquet")
    return kind or "table"


def put(view: View, kind: Format, out: Path | None) -> None:
    """Print a view, or write it to a file."""
    from results.leaderboard_files import to_csv, to_markdown, to_parquet

    content: bytes | None = None
    if kind in ("csv", "markdown"):
        content = {"csv": to_csv, "markdown": to_markdown}[kind](view.kind, view.rows).encode()
    elif kind == "parquet":
        content = to_parquet(view.kind, view.rows)
    try:
        if out is None and content is not None:
            sys.stdout.write(content.decode())
        elif content is not None and out is not None:
            out.write_bytes(content)
        elif out is not None:
            with out.open("w", encoding="utf-8") as file:
                if kind == "json":
                    print_json(view.data, file)
                else:
                    _print_tables(view, Console(file=file, width=view.width))
        elif kind == "json":
            print_json(view.data)
        else:
            width = output.width if output.is_terminal else max(output.width, view.width)
            _print_tables(view, Console(width=width))
    except OSError as error:
        if out is None:
            raise
        raise BadInput(f"--out {out} cannot be written: {error.strerror or error}") from None
    if out is not None:
        console.print(f"Wrote {out}", highlight=False, markup=False)
    if kind == "table":
        tell_notes(view)


def tell_notes(view: View) -> None:
    for note in view.notes:
        console.print(note, highlight=False, markup=False, style="dim")


def _print_tables(view: View, screen: Console) -> None:
    for table in view.tables(screen.width, screen.encoding.startswith("utf")):
        screen.print(table)
