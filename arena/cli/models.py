"""`arena models`: the roster, and the model that comes with Palaestra."""

from __future__ import annotations

import typer

from arena.cli._common import DEFAULT_DATA, DataDir, output
from arena.cli._embedded import prepare_embedded

app = typer.Typer(no_args_is_help=True, help="Models: the roster, and the model that comes with Palaestra.")


@app.callback()
def group() -> None:
    """Keeps `prepare` a subcommand while it is the only one."""


@app.command()
def prepare(data: DataDir = DEFAULT_DATA) -> None:
    """Fetch, check and convert the embedded model, once; prints its folder."""
    output.print(str(prepare_embedded(data)), highlight=False)
