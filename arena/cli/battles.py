"""`arena battles`: battles that did not begin in the browser."""

from __future__ import annotations

import typer

from arena.cli.battles_import import import_answers

app = typer.Typer(no_args_is_help=True, help="Battles from scripts and from files of answers.")
app.command(name="import")(import_answers)
