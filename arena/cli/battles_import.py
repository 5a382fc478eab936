"""`arena battles import`: files of answers become battles that people can vote on and judges can judge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from arena.cli._common import (
    BAD_USAGE,
    DEFAULT_DATA,
    AsJson,
    BadInput,
    DataDir,
    WorkFailed,
    console,
    print_json,
)
from arena.cli._votes_output import progress_bar

if TYPE_CHECKING:
    from results.interchange import AnswersSummary

_SHOWN = 10


def import_answers(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Files (or folders) of answers: AlpacaEval outputs, FastChat or Arena-Hard model answers, OpenAI "
            "chat messages. Give those of all models together.",
            show_default=False,
        ),
    ],
    pairs: Annotated[
        Literal["all", "sampled"],
        typer.Option(help="all: each two models that answered a prompt; sampled: some pairs of each prompt."),
    ] = "all",
    per_prompt: Annotated[
        int, typer.Option(min=1, help="With --pairs sampled: how many pairs a prompt gets.")
    ] = 1,
    seed: Annotated[int, typer.Option(help="Draws the pairs of --pairs sampled.")] = 0,
    format_: Annotated[
        str, typer.Option("--format", help="auto, alpaca-outputs, model-answers or openai-chat.")
    ] = "auto",
    questions: Annotated[
        Path | None,
        typer.Option(
            help="The prompts of FastChat's and Arena-Hard's answers.",
            show_default="question.jsonl beside the answers or one folder up",
            dir_okay=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="The model of rows that name none.", show_default="the file's name"),
    ] = None,
    category: Annotated[str | None, typer.Option(help="Category of rows that have none.")] = None,
    language: Annotated[str | None, typer.Option(help="Language of rows that have none, such as ko.")] = None,
    rejects: Annotated[
        Path | None,
        typer.Option(help="Where bad rows are written (JSONL).", show_default="in --data"),
    ] = None,
    as_json: AsJson = False,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Make battles of answers that you have: two models, one prompt, no verdict yet. Importing again adds nothing."""
    from results import interchange
    from results.store import StoreError, open_store

    for file in files:
        if not file.exists():
            raise BadInput(f"{file}: there is no such file or folder")
    try:
        with open_store(data) as store, progress_bar("reading") as show:
            summary = interchange.import_answers(
                store, files, pairs=pairs, per_prompt=per_prompt, seed=seed, format=format_, questions=questions,
                model=model, category=category, language=language,
                rejects=rejects or data / "rejects" / f"{files[0].stem}.jsonl",
                progress=lambda phase, position, size: show(phase, position, size, ""),
            )  # fmt: skip
    except interchange.BadFile as error:
        raise BadInput(str(error)) from error
    except StoreError as error:
        raise WorkFailed(str(error)) from error
    except KeyboardInterrupt:
        console.print("Interrupted: what was written stays. The same command again adds what is missing.")
        raise
    if as_json:
        print_json(summary.model_dump(mode="json"))
    _tell(summary)
    if summary.rejected and not summary.added + summary.known:
        raise typer.Exit(BAD_USAGE)


def _tell(summary: AnswersSummary) -> None:
    console.print(
        f"[bold]{summary.added:,} battles added[/], {summary.known:,} already known: {summary.answers:,} answers of "
        f"{len(summary.models)} models to {summary.prompts:,} prompts",
        highlight=False,
    )
    for reason, count in summary.left_out.items():
        console.print(f"  {count:,} left out: {escape(reason)}", highlight=False)
    if summary.named_by_file:
        names = ", ".join(summary.named_by_file[:_SHOWN])
        console.print(
            f"  named by their files: {escape(names)} (--model NAME says otherwise)", highlight=False
        )
    for reject in summary.rejects[:_SHOWN]:
        console.print(f"  line {reject.line}: {escape(reject.reason)}", highlight=False)
    if summary.rejected:
        where = f"; they are in {summary.rejects_file}" if summary.rejects_file else ""
        console.print(f"  {summary.rejected:,} bad rows{escape(where)}", highlight=False)
