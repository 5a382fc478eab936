"""The `arena` command: its groups, and how its errors become exit codes."""

from __future__ import annotations

import sys

import typer
from rich.markup import escape

from arena.cli import (
    battles,
    bench,
    data,
    db,
    judge,
    leaderboard,
    models,
    report,
    serve,
    tokens,
    train,
    votes,
)
from arena.cli import format as format_
from arena.cli._common import BAD_USAGE, FAILED, BadInput, WorkFailed, console

app = typer.Typer(
    name="arena",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Palaestra: choose, compare and improve open language models with evidence.",
    epilog="Exit codes: 0 fine, 1 the work failed, 2 bad usage or bad input, 3 a gate said no.",
)
app.command(name="serve")(serve.serve)
app.add_typer(votes.app, name="votes")
app.add_typer(battles.app, name="battles")
app.add_typer(bench.app, name="bench")
app.add_typer(db.app, name="db")
app.add_typer(format_.app, name="format")
app.add_typer(models.app, name="models")
app.add_typer(data.app, name="data")
app.add_typer(train.app, name="train")
app.add_typer(judge.app, name="judge")
app.add_typer(tokens.app, name="tokens")
app.command(name="leaderboard")(leaderboard.leaderboard)
app.command(name="report")(report.report)


def main() -> None:
    """Run the command line; the process's exit code tells how it went."""
    try:
        app()
    except BadInput as error:
        console.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
        sys.exit(BAD_USAGE)
    except WorkFailed as error:
        console.print(f"[bold red]failed:[/] {escape(str(error))}", highlight=False)
        sys.exit(FAILED)


if __name__ == "__main__":
    main()
