"""What `arena votes` tells people: progress, and what became of files and screenings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from arena.cli._common import console

if TYPE_CHECKING:
    from results.interchange import ImportSummary
    from results.interchange import Progress as ImportProgress
    from results.vote_screening import Screening

_SHOWN = 10


def tally(now: ImportProgress) -> str:
    """How many rows an import has read so far."""
    return f"{now.rows:,} rows" + (f", {now.rejected:,} bad" if now.rejected else "")


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[str, int, int, str], None]]:
    """A progress bar on stderr; call it with a phase, how much of how much, and a remark."""
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[remark]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task(escape(title), total=None, remark="")

        def show(phase: str, position: int, size: int, remark: str) -> None:
            progress.update(task, completed=position, total=size or 1, remark=remark)

        yield show


def tell_import(summary: ImportSummary) -> None:
    """What became of an imported file."""
    name = escape(summary.file)
    if summary.refused:
        console.print(
            f"[bold red]{name}: nothing was imported[/] (--strict): {summary.rejected:,} of {summary.rows:,} "
            "rows are bad",
            highlight=False,
        )
    else:
        console.print(
            f"[bold]{name}[/]: {summary.added:,} added, {summary.known:,} already known, "
            f"{summary.rejected:,} rejected"
            + (f", {summary.skipped:,} without a verdict" if summary.skipped else "")
            + ("" if summary.format == "votes" else f" ({summary.format})"),
            highlight=False,
        )
    if summary.inconsistent:
        console.print(
            f"  {summary.inconsistent:,} verdicts are inconsistent: the judge's two orders disagree, which is a tie",
            highlight=False,
        )
    if summary.grades:
        console.print(
            f"  {summary.grades:,} grades, {summary.grades_added:,} of them new"
            + (f"; {summary.unparsed:,} replies held none (unparsed)" if summary.unparsed else "")
            + ": `arena judge show` has their means",
            highlight=False,
        )
    for reject in summary.rejects[:_SHOWN]:
        console.print(f"  line {reject.line}: {escape(reject.reason)}", highlight=False)
    if summary.rejected > _SHOWN:
        console.print(f"  ... and {summary.rejected - _SHOWN:,} more", highlight=False)
    if summary.rejects_file:
        console.print(f"  bad rows are in {escape(summary.rejects_file)}", highlight=False)


def tell_screening(found: Screening) -> None:
    """What a screening found and changed."""
    console.print(
        f"{found.votes:,} votes of {found.voters:,} voters, {found.voters_tested:,} of them tested",
        highlight=False,
    )
    for reason, count in found.flagged.items():
        console.print(f"  {count:,} {escape(reason)}", highlight=False)
    for voter in found.flagged_voters[:_SHOWN]:
        console.print(
            f"  voter {voter.voter}: {voter.reason}, {voter.votes:,} votes, odds of 10^{voter.log10_e:.1f}",
            highlight=False,
        )
    for leak in found.leaks[:_SHOWN]:
        console.print(f"  battle {leak.battle} names {escape(', '.join(leak.names))}", highlight=False)
    if found.changed is None:
        console.print("Nothing was changed (--dry-run).")
    else:
        console.print(
            f"{found.changed.newly:,} votes newly left out, {found.changed.released:,} count again. "
            "`arena votes screen --undo` brings all back.",
            highlight=False,
        )
