"""`arena votes`: votes from and to files, forgotten, screened."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import timedelta
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
from arena.cli._votes_output import progress_bar, tally, tell_import, tell_screening

if TYPE_CHECKING:
    from results.interchange import AnswerSummary, ExportSummary, PreferenceSummary

Source = Literal["human", "judge"]

app = typer.Typer(no_args_is_help=True, help="Import, export, forget and screen votes.")


@app.command(name="import")
def import_(
    file: Annotated[
        Path,
        typer.Argument(help="CSV, TSV, JSONL, JSON, Parquet or Arrow file, or a folder.", show_default=False),
    ],
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="FIELD=COLUMN,...",
            help="Which column is which field: model_a=left,model_b=right,verdict=winner.",
        ),
    ] = None,
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            help="auto, votes (the usual schema), lmsys, fastchat, mt-bench-pair, mt-bench-single, alpaca-eval or "
            "arena-hard.",
        ),
    ] = "auto",
    source: Annotated[
        Source | None,
        typer.Option(help="Whose verdicts these are.", show_default="as the format says, or human"),
    ] = None,
    judge: Annotated[str | None, typer.Option(help="The judge's name, for --source judge.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="One value for all rows, such as language=ko."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Import nothing if any row is bad.")] = False,
    rejects: Annotated[
        Path | None,
        typer.Option(
            help="Where bad rows are written, with line and reason (JSONL).", show_default="in --data"
        ),
    ] = None,
    as_json: AsJson = False,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Import votes, or a judge's verdicts. Importing a file again adds nothing; an import that was
    interrupted is run again with the same command."""
    from results.interchange import BadFile, import_votes
    from results.store import StoreError, open_store

    mapping = _pairs(map_, "--map", "model_a=left", split=True)
    fixed = _pairs(set_, "--set", "language=ko", split=False)
    if judge is not None:
        if source != "judge":
            raise BadInput("--judge names a judge, but these are human votes; add --source judge")
        fixed["judge"] = judge
    rejects_file = rejects or data / "rejects" / f"{file.stem}.jsonl"
    try:
        with open_store(data) as store, progress_bar(f"importing {file.name}") as show:
            summary = import_votes(
                store, file, source=source, format=format_, mapping=mapping, fixed=fixed, strict=strict,
                rejects=rejects_file, progress=lambda now: show(now.phase, now.position, now.size, tally(now)),
            )  # fmt: skip
    except BadFile as error:
        raise BadInput(str(error)) from error
    except StoreError as error:
        raise WorkFailed(str(error)) from error
    except KeyboardInterrupt:
        console.print("Interrupted: nothing was imported. Run the same command again to start over.")
        raise
    if as_json:
        print_json(summary.model_dump(mode="json"))
    tell_import(summary)
    if summary.refused or (summary.rejected and not summary.added + summary.known + summary.grades):
        raise typer.Exit(BAD_USAGE)


@app.command(name="export")
def export(
    file: Annotated[
        Path, typer.Argument(help="File to write: .csv, .tsv, .jsonl, .json, .parquet or .arrow.")
    ],
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            help="votes (the usual schema), lmsys, fastchat, mt-bench-pair, alpaca-eval; grades: mt-bench-single; for "
            "training: dpo, kto, reward, openai-preference, openai-chat; answers: alpaca-outputs, mt-bench-answers, "
            "arena-hard-answers.",
        ),
    ] = "votes",
    source: Annotated[
        Literal["human", "judge", "all"] | None,
        typer.Option(help="Whose verdicts to write (all: training data only).", show_default="human"),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Answers: of this model only (name or name@version).")
    ] = None,
    judge: Annotated[str | None, typer.Option(help="Grades: of this judge only.")] = None,
    public: Annotated[
        bool,
        typer.Option("--public", help="For publishing: voters are pseudonyms, personal data becomes marks."),
    ] = False,
    agreement: Annotated[
        float,
        typer.Option(
            min=0.0, max=0.99, help="Training data: the winner needs more than this share of verdicts."
        ),
    ] = 0.5,
    as_json: AsJson = False,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Write counted votes with prompts and conversations, or training data made of them. What `votes`, lmsys,
    fastchat, mt-bench-pair and alpaca-eval files hold, `arena votes import` reads back to the same ratings."""
    from results.interchange import (
        ANSWER_FORMATS,
        GRADE_FORMAT,
        PREFERENCE_FORMATS,
        SHAPES,
        BadFile,
        export_answers,
        export_grades,
        export_preferences,
        export_votes,
    )
    from results.store import StoreError, open_store

    _need_data(data)
    training = format_ in PREFERENCE_FORMATS
    answers = format_ in ANSWER_FORMATS
    if model is not None and not answers:
        raise BadInput(f"--model is for answers: --format {', '.join(ANSWER_FORMATS)}")
    grades = format_ == GRADE_FORMAT
    if judge is not None and not grades:
        raise BadInput(f"--judge is for grades: --format {GRADE_FORMAT}")
    if grades and source == "human":
        raise BadInput(f"--format {GRADE_FORMAT} holds grades of judges; leave --source out")
    summary: AnswerSummary | ExportSummary | PreferenceSummary
    other = 0
    shape = SHAPES.get(format_)
    chosen = source or (shape.source if shape is not None and shape.source else "human")
    if chosen == "all" and not training and not grades:
        raise BadInput("--source all is for training data; votes and judgments go to files of their own")
    try:
        with open_store(data) as store, progress_bar(f"exporting to {file.name}") as show:
            if training:
                summary = export_preferences(
                    store, file, format_, source=chosen, agreement=agreement, public=public,
                    progress=lambda done, total: show("exporting", done, total, ""),
                )  # fmt: skip
            elif grades:
                summary = export_grades(
                    store, file, judge=judge, public=public,
                    progress=lambda done, total: show("exporting", done, total, ""),
                )  # fmt: skip
            elif answers:
                summary = export_answers(
                    store, file, format_, model=model, public=public,
                    progress=lambda done, total: show("exporting", done, total, ""),
                )  # fmt: skip
            else:
                votes = export_votes(
                    store, file, source="judge" if chosen == "judge" else "human", format=format_, public=public,
                    progress=lambda done, total: show("exporting", done, total, ""),
                )  # fmt: skip
                summary, other = votes, votes.other_source
    except BadFile as error:
        raise BadInput(str(error)) from error
    except StoreError as error:
        raise WorkFailed(str(error)) from error
    if as_json:
        print_json(summary.model_dump(mode="json"))
    console.print(f"[bold]{escape(summary.file)}[/]: {summary.rows:,} rows written", highlight=False)
    for reason, count in summary.left_out.items():
        what = "battles" if training else "answers" if answers else "left out, which do not count in ratings"
        console.print(f"  {count:,} {what}: {escape(reason)}", highlight=False)
    for kind, count in summary.screened.items():
        console.print(f"  {count:,} places marked {escape(f'[{kind}]')}", highlight=False)
    if public:
        console.print("  Names and what is told in words are not found: read what you publish.")
    if other:
        name = "judge" if chosen == "human" else "human"
        console.print(f"  {other:,} of --source {name} go to a file of their own", highlight=False)


@app.command()
def forget(
    voter: Annotated[
        str | None,
        typer.Argument(help="The voter's id, or the name in an imported file.", show_default=False),
    ] = None,
    older_than: Annotated[
        int | None,
        typer.Option(
            "--older-than", metavar="DAYS", min=0, help="Instead of one voter: all that was given before."
        ),
    ] = None,
    keep_verdicts: Annotated[
        bool,
        typer.Option(
            "--keep-verdicts", help="Votes stay, anonymous, so that ratings do not change; texts go."
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    as_json: AsJson = False,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Remove all that a voter gave: votes, conversations begun, and the voter. Ratings are without those votes
    at once. Backups and exported files keep what they hold."""
    from results.interchange.keys import voter_id
    from results.records import now
    from results.store import StoreError, open_store

    if (voter is None) == (older_than is None):
        raise BadInput("name either one VOTER or --older-than DAYS")
    _need_data(data)
    try:
        with open_store(data) as store, console.status("Forgetting"):
            if voter is not None:
                gone = store.forget_voter(voter_id(voter), keep_verdicts=keep_verdicts, dry_run=dry_run)
            else:
                before = now() - timedelta(days=older_than or 0)
                gone = store.forget_older(before, keep_verdicts=keep_verdicts, dry_run=dry_run)
            if not dry_run and not gone.is_empty:
                store.checkpoint()
    except StoreError as error:
        raise WorkFailed(str(error)) from error
    backups = list((data / "backups").glob("*.duckdb"))
    if as_json:
        print_json({**gone.model_dump(), "dry_run": dry_run, "backups": len(backups)})
    if gone.is_empty:
        console.print(
            "Nothing of the kind is stored." if voter is None else f"Nothing of {escape(voter)} is stored."
        )
        return
    console.print(
        f"{'Would be removed' if dry_run else 'Removed'}: {gone.voters:,} voters, {gone.votes:,} votes"
        f"{' (made anonymous)' if keep_verdicts else ''}, {gone.battles:,} battles, {gone.turns:,} turns, "
        f"{gone.generations:,} answers, {gone.prompts:,} prompts; {gone.emptied_battles:,} more battles without texts",
        highlight=False,
    )
    if not dry_run:
        console.print(
            "Old bytes can lie in free blocks of the database file until `arena db compact`."
            + (
                f" {len(backups)} backups in {escape(str(data / 'backups'))} are as they were."
                if backups
                else ""
            ),
            highlight=False,
        )


@app.command()
def screen(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be left out.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Count all screened votes again.")] = False,
    reason: Annotated[
        list[str] | None,
        typer.Option(
            help="With --undo: only votes marked for this reason (burst, partisan ...); may be repeated."
        ),
    ] = None,
    fdr: Annotated[
        float, typer.Option(min=0.0001, max=0.5, help="Expected share of honest voters among those flagged.")
    ] = 0.01,
    min_votes: Annotated[int, typer.Option(min=1, help="Voters with fewer votes are not tested.")] = 15,
    as_json: AsJson = False,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Find votes that should not count: voters whose verdicts do not come from the answers, bursts, duplicates,
    and answers that named their model. They stay, marked, and every leaderboard says how many were left out."""
    from results.store import StoreError, open_store
    from results.vote_screening import Rules, UnknownReason, undo_screening
    from results.vote_screening import screen as run

    if undo and dry_run:
        raise BadInput("--undo changes marks and --dry-run changes nothing; give one of them")
    if reason and not undo:
        raise BadInput("--reason says which marks --undo takes away; give --undo with it")
    _need_data(data)
    try:
        with open_store(data) as store, console.status("Screening"):
            if undo:
                back = undo_screening(store, reason or ())
            else:
                found = run(store, Rules(fdr=fdr, min_votes=min_votes), dry_run=dry_run)
    except StoreError as error:
        raise WorkFailed(str(error)) from error
    except UnknownReason as error:
        raise BadInput(f"--reason: {error}") from None
    if undo:
        if as_json:
            print_json(back.model_dump(mode="json"))
        console.print(f"{back.released:,} votes count again.", highlight=False)
        return
    if as_json:
        print_json(found.model_dump(mode="json"))
    tell_screening(found)


def _need_data(data: Path) -> None:
    if not data.is_dir():
        raise BadInput(f"there is no data directory {data}; name the right one with --data")


def _pairs(options: Sequence[str] | None, name: str, example: str, *, split: bool) -> dict[str, str]:
    """`a=b` pairs of an option; with `split`, several in one, separated by commas (quoted as in CSV)."""
    pairs: dict[str, str] = {}
    for option in options or ():
        for part in next(csv.reader([option], skipinitialspace=True)) if split else [option]:
            key, equals, value = part.partition("=")
            if not equals or not key.strip() or not value:
                raise BadInput(f"{name} {option}: {part!r} is not like {example}")
            if key.strip() in pairs:
                raise BadInput(f"{name} names {key.strip()} twice")
            pairs[key.strip()] = value
    return pairs
