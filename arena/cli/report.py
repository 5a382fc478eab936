"""`arena report`: one HTML file that says which model is best, how surely, and why."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from arena.cli._common import DEFAULT_DATA, BadInput, DataDir, WorkFailed, console

if TYPE_CHECKING:
    from results.store import Store

# As in results.reports, which takes a second to load and is only loaded when it is needed.
Source = Literal["human", "judge", "all"]
Language = Literal["en", "ko"]

_STEPS = {
    "ratings": "rating the models",
    "history": "rating them at earlier moments",
    "style": "taking out the style of answers",
    "agreement": "setting judges against people",
    "suites": "reading suites",
    "evidence": "looking at voters, speed and examples",
    "page": "writing the page",
}


def report(
    out: Annotated[Path, typer.Option("--out", help="HTML file to write; replaced if it is there.")],
    language: Annotated[Language, typer.Option(help="Language of the report: en or ko.")] = "en",
    seed: Annotated[int, typer.Option(help="Draws the example battles.")] = 0,
    examples: Annotated[int, typer.Option(min=0, max=50, help="How many example battles to draw.")] = 5,
    source: Annotated[Source, typer.Option(help="Votes of people, a judge's verdicts, or both.")] = "human",
    judge: Annotated[str | None, typer.Option(help="Only this judge's verdicts.")] = None,
    category: Annotated[str | None, typer.Option(help="Only battles of this category.")] = None,
    acceptable_loss: Annotated[
        float,
        typer.Option(
            min=0,
            max=49,
            metavar="POINTS",
            help="Percentage points of battles that a smaller model may lose more than an equal one would.",
        ),
    ] = 5,
    title: Annotated[
        str | None, typer.Option(help="The report's title.", show_default="Which model is best?")
    ] = None,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Write a report that a manager can read and an engineer can check: one HTML file that needs no network."""
    from results.reports import ReportQuery, write_report
    from results.store import StoreError, open_store

    if judge is not None and source == "human":
        raise BadInput("--judge selects a judge's verdicts; add --source judge")
    if not data.is_dir():
        raise BadInput(
            f"there is no data directory {data}. Name the right one with --data, or begin one: "
            "`arena serve` to vote, `arena votes import FILE` for votes you have"
        )
    if out.is_dir():
        raise BadInput(f"--out {out} is a folder; name a file in it, such as {out / 'report.html'}")
    if not out.absolute().parent.is_dir():
        raise BadInput(f"--out {out}: there is no folder {out.parent}; make it, or name another")
    query = ReportQuery(
        source=source,
        judge=judge,
        category=category,
        seed=seed,
        examples=examples,
        acceptable_loss=acceptable_loss / 100,
    )
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    try:
        with open_store(data) as store, Progress(*columns, console=console, transient=True) as progress:
            _check(store, "category", category)
            _check(store, "judge", judge)
            task = progress.add_task("reading")
            made = write_report(
                store, out, query, language=language, title=title,
                progress=lambda step: progress.update(task, description=_STEPS[step]),
            )  # fmt: skip
    except StoreError as error:
        raise WorkFailed(str(error)) from error
    except OSError as error:
        raise WorkFailed(f"{out} cannot be written: {error.strerror or error}") from error
    size = out.stat().st_size / 1024
    console.print(
        f"[bold]{escape(str(out))}[/]: {made.votes:,} comparisons, {len(made.rows)} models, {size:,.0f} kB",
        highlight=False,
    )
    if not made.votes:
        console.print(
            "There is nothing to compare yet, and the report says so. Vote in the browser (`arena serve`), or "
            "import votes (`arena votes import FILE`).",
            highlight=False,
        )


def _check(store: Store, column: Literal["category", "judge"], wanted: str | None) -> None:
    from results.leaderboard import known_values

    if wanted is None:
        return
    known = known_values(store, column)
    if wanted not in known:
        near = difflib.get_close_matches(wanted, known, n=1)
        meant = f" Did you mean {near[0]!r}?" if near else ""
        raise BadInput(
            f"no comparisons of {column} {wanted!r}.{meant} There are: {', '.join(known[:20]) or 'none'}"
        )
