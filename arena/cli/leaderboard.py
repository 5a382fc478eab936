"""`arena leaderboard`: rated models in the terminal, or as a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.table import Table

from arena.cli._common import DEFAULT_DATA, AsJson, BadInput, DataDir, WorkFailed, console, output, print_json
from arena.cli._leaderboard_more import changes_table, chosen_columns, commercial_names, facts_cells
from arena.cli._leaderboard_notes import advice_for, notes_of
from arena.cli._leaderboard_tables import (
    against_table,
    board_table,
    difference_table,
    history_table,
    style_table,
)

if TYPE_CHECKING:
    from results.leaderboard import BoardQuery, Rated
    from results.store import Store

# As in results.leaderboard, which takes a second to load and is only loaded when it is needed.
Method = Literal["bt", "elo"]
SourceFilter = Literal["human", "judge", "all"]
By = Literal["model", "version"]
Ties = Literal["half", "davidson", "rao-kupper"]
Format = Literal["table", "json", "csv", "markdown", "parquet"]

_WIDTH_WITHOUT_TERMINAL = 120
_WIDTH_WITH_COLUMNS = 200
_SUFFIXES: dict[str, Format] = {
    ".json": "json", ".csv": "csv", ".md": "markdown", ".parquet": "parquet", ".txt": "table",
}  # fmt: skip
_WHO = {"human": "people", "judge": "judges", "all": "all"}


def leaderboard(
    method: Annotated[
        Method, typer.Option(help="bt: Bradley-Terry with intervals; elo: online Elo in the order of votes.")
    ] = "bt",
    source: Annotated[
        SourceFilter, typer.Option(help="Votes of people, a judge's verdicts, or both.")
    ] = "human",
    judge: Annotated[str | None, typer.Option(help="Only this judge's verdicts.")] = None,
    category: Annotated[str | None, typer.Option(help="Only battles of this category.")] = None,
    language: Annotated[str | None, typer.Option(help="Only battles in this language.")] = None,
    by: Annotated[
        By, typer.Option(help="A row per model version, or versions of a model merged.")
    ] = "version",
    models: Annotated[
        list[str] | None,
        typer.Option("--models", help="Show only this model (its ranks stay those of all); may be repeated."),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Only comparisons from this time on (2026-03-31, UTC).")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Only comparisons before this time.")] = None,
    ties: Annotated[
        Ties, typer.Option(help="A tie is half a win, or has a probability of its own by this model.")
    ] = "half",
    style_control: Annotated[
        bool, typer.Option("--style-control", help="Rate at equal length, headers, lists and bold.")
    ] = False,
    position_bias: Annotated[
        bool, typer.Option("--position-bias", help="Estimate what side A is worth (tables always do).")
    ] = False,
    half_life: Annotated[
        float | None, typer.Option(metavar="DAYS", help="Comparisons this much older weigh half.")
    ] = None,
    max_votes_per_voter: Annotated[
        float | None, typer.Option(help="One voter's votes together weigh at most this many.")
    ] = None,
    max_votes_per_prompt: Annotated[
        float | None, typer.Option(help="One prompt's comparisons together weigh at most this many.")
    ] = None,
    correct_sampling: Annotated[
        bool, typer.Option("--correct-sampling", help="Weigh by inverse selection probability of the pair.")
    ] = False,
    judge_weight: Annotated[
        float | None, typer.Option(help="What a judgment weighs against a vote, with --source all.")
    ] = None,
    bootstrap: Annotated[
        int | None, typer.Option(metavar="N", help="Intervals from N resamplings of the comparisons.")
    ] = None,
    simultaneous: Annotated[
        bool, typer.Option("--simultaneous", help="Ranks whose intervals hold for all models at once.")
    ] = False,
    against: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Show how each model does against this one.")
    ] = None,
    compare_source: Annotated[
        SourceFilter | None, typer.Option(help="Show the difference to this source (people against judges).")
    ] = None,
    against_time: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Show how ratings and ranks changed since this time (UTC)."),
    ] = None,
    over_time: Annotated[
        int | None, typer.Option(metavar="N", help="Show ratings at N times.", min=2, max=1000)
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME,...",
            help="Show also: win-rate, licence, size, quantisation, parent, cost, speed, or all. Blank: not known.",
        ),
    ] = None,
    commercial: Annotated[
        bool,
        typer.Option("--commercial", help="Only models whose licences (and parents') allow commercial use."),
    ] = False,
    format_: Annotated[
        Format | None, typer.Option("--format", help="How to print (default: a table, or as --out is named).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write to this file instead of stdout.", dir_okay=False)
    ] = None,
    as_json: AsJson = False,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Rated models, best first, with 95% intervals."""
    kind = _format(format_, out, as_json)
    if judge is not None and source == "human":
        raise BadInput("--judge selects a judge's verdicts; add --source judge")
    views = {
        "--against": against, "--compare-source": compare_source, "--over-time": over_time,
        "--against-time": against_time,
    }  # fmt: skip
    asked = [name for name, view in views.items() if view is not None]
    if len(asked) > 1:
        raise BadInput(f"{' and '.join(asked)} are different views: use one at a time")
    shown = _Shown(tuple(chosen_columns(columns or ())), commercial)
    if asked and (shown.columns or commercial):
        raise BadInput(f"--columns and --commercial are for the leaderboard itself, not for {asked[0]}")
    query = _query(
        method=method,
        source=source,
        judge=judge,
        category=category,
        language=language,
        by=by,
        models=tuple(models or ()),
        since=_time("--since", since),
        until=_time("--until", until),
        ties=ties.replace("-", "_"),
        style_control=style_control,
        position_bias=position_bias or (kind == "table" and method == "bt"),
        half_life=half_life,
        max_votes_per_voter=max_votes_per_voter,
        max_votes_per_prompt=max_votes_per_prompt,
        correct_sampling=correct_sampling,
        judge_weight=judge_weight,
        bootstrap=bootstrap,
        simultaneous=simultaneous,
    )
    if not data.is_dir():
        raise BadInput(
            f"there is no data directory {data}. Name the right one with --data, or begin one: "
            "`arena serve` to vote, `arena votes import FILE` for votes you have"
        )
    choice = _Choice(against, compare_source, over_time, _time("--against-time", against_time))
    view, advice = _view(data, query, choice, shown)
    if kind != "table" or view.rows:
        _put(view, kind, out)
    elif not advice:
        _tell_notes(view)
    if advice:
        console.print(advice, highlight=False, markup=False)


@dataclass(frozen=True)
class _Shown:
    """What the leaderboard itself shows beside ratings, and whether only what may be used commercially."""

    columns: tuple[str, ...]
    commercial: bool


@dataclass(frozen=True)
class _Choice:
    """Which view is asked for: at most one is not None."""

    against: str | None
    compare_source: SourceFilter | None
    over_time: int | None
    against_time: datetime | None


@dataclass(frozen=True)
class _View:
    """What is printed: `data` as JSON, `rows` of `kind` in other formats, or tables with notes."""

    data: Any
    kind: type[BaseModel]
    rows: Sequence[BaseModel]
    tables: Callable[[int, bool], list[Table]]
    notes: list[str]
    width: int = _WIDTH_WITHOUT_TERMINAL


def _view(data: Path, query: BoardQuery, choice: _Choice, shown: _Shown) -> tuple[_View, str]:
    """The view that is asked for, and what to do where it is empty."""
    from results.leaderboard import UnknownModel, rate
    from results.ratings import Unidentified
    from results.store import StoreError, open_store

    try:
        with open_store(data) as store:
            rated = rate(store, query)
            advice = "" if rated.board.votes else advice_for(store, rated.board)
            if not rated.board.votes:
                view = _board_view(store, rated, shown)
            elif choice.against is not None:
                view = _against_view(rated, choice.against)
            elif choice.compare_source is not None:
                view = _difference_view(store, rated, choice.compare_source)
            elif choice.against_time is not None:
                view = _changes_view(store, query, choice.against_time)
            elif choice.over_time is not None:
                view = _history_view(store, query, choice.over_time)
            else:
                view = _board_view(store, rated, shown)
            return view, advice
    except UnknownModel as error:
        raise BadInput(str(error)) from None
    except Unidentified as error:
        raise WorkFailed(f"style control does not work on these comparisons: {error}") from None
    except StoreError as error:
        raise WorkFailed(str(error)) from error


def _board_view(store: Store, rated: Rated, shown: _Shown) -> _View:
    from results.leaderboard import LeaderboardRow
    from results.leaderboard_facts import row_facts, show_only, with_facts

    board, notes = rated.board, []
    if shown.commercial:
        names, others = commercial_names(store, rated)
        board = show_only(rated, names)
        notes = [
            f"{others} of {others + len(names)} models are not shown: their licences do not allow commercial use, "
            "or are not known (`arena models show NAME` says why)."
        ]
    kind: type[LeaderboardRow] = LeaderboardRow
    rows: Sequence[LeaderboardRow] = board.models
    cells: list[dict[str, str]] = []
    if shown.columns:
        facts = row_facts(store, rated)
        kind, rows = with_facts(board.models, facts, shown.columns)
        cells = [facts_cells(facts[row.model], shown.columns) for row in board.models]

    def tables(width: int, fancy: bool) -> list[Table]:
        style = [style_table(board.style, board.level or 0)] if board.style else []
        return [board_table(board, width, fancy=fancy, more=cells), *style] if board.models else style

    data = board.model_dump(mode="json")
    if shown.columns:
        data["models"] = _dumped(rows)
    width = _WIDTH_WITH_COLUMNS if shown.columns else _WIDTH_WITHOUT_TERMINAL
    return _View(data, kind, rows, tables, [*notes, *notes_of(board)], width)


def _changes_view(store: Store, query: BoardQuery, time: datetime) -> _View:
    from results.leaderboard_changes import RatingChange, changes_since

    try:
        now, then, rows = changes_since(store, query, time)
    except ValueError as error:
        raise BadInput(f"--against-time: {error}") from None
    known = {row.model for row in rows}
    new = [row.model for row in now.board.models if row.rating is not None and row.model not in known]
    when = f"{time:%Y-%m-%d %H:%M}"
    notes = [
        f"{then.board.votes:,} comparisons then, {now.board.votes:,} now. Models rated at both times, on one mean; "
        f"{sum(row.clear for row in rows)} of {len(rows)} changed clearly."
        if rows
        else f"Fewer than two models were rated before {when} and are rated now."
    ]
    if new:
        notes.append(f"Rated since then: {', '.join(new)}.")
    return _View(
        {"since": time.isoformat(), "votes_then": then.board.votes, "votes_now": now.board.votes,
         "models": _dumped(rows), "new": new},
        RatingChange,
        rows,
        lambda width, fancy: [changes_table(rows, when, query.level)],
        notes,
    )  # fmt: skip


def _against_view(rated: Rated, opponent: str) -> _View:
    from results.leaderboard_pairs import HeadToHead, against

    rows = against(rated, opponent)
    level = rated.query.level
    notes = ["P(it wins) is by the ratings of all comparisons, a tie counting half; the rest by direct ones."]
    return _View(
        {"opponent": rated.names[rated.index(opponent)], "level": level, "models": _dumped(rows)},
        HeadToHead,
        rows,
        lambda width, fancy: [against_table(rows, level)],
        notes,
    )


def _difference_view(store: Store, rated: Rated, other: SourceFilter) -> _View:
    from results.leaderboard import rate
    from results.leaderboard_pairs import Difference, difference

    query = rated.query
    if query.method == "elo" or query.judge is not None or query.judge_weight is not None:
        raise BadInput("--compare-source goes with --method bt, and without --judge and --judge-weight")
    if other == query.source:
        raise BadInput(f"--compare-source {other} is what --source shows: name another, such as judge")
    rows = difference(rated, rate(store, query.model_copy(update={"source": other, "position_bias": False})))
    first, second = _WHO[query.source], _WHO[other]
    clear = sum(row.clear for row in rows)
    notes = [
        f"Models rated by both, moved to one mean; {clear} of {len(rows)} differ clearly."
        if rows
        else f"Fewer than two models are rated both by {first} and by {second}."
    ]
    if "all" in (query.source, other):
        notes.append("Both sides share comparisons, so that the intervals are too wide.")
    return _View(
        {"source": query.source, "compare_source": other, "models": _dumped(rows)},
        Difference,
        rows,
        lambda width, fancy: [difference_table(rows, first, second, query.level)],
        notes,
    )


def _history_view(store: Store, query: BoardQuery, points: int) -> _View:
    from results.leaderboard_history import RatingPoint, rating_history

    tracks = rating_history(store, query.model_copy(update={"position_bias": False}), points)
    rows = [point for track in tracks for point in track.points]
    notes = ["Each column rates all comparisons before its time."]
    return _View(
        {"models": _dumped(tracks)},
        RatingPoint,
        rows,
        lambda width, fancy: [history_table(tracks, width)],
        notes,
    )


def _dumped(rows: Sequence[BaseModel]) -> list[dict[str, Any]]:
    return [row.model_dump(mode="json") for row in rows]


def _put(view: _View, kind: Format, out: Path | None) -> None:
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
        _tell_notes(view)


def _tell_notes(view: _View) -> None:
    for note in view.notes:
        console.print(note, highlight=False, markup=False, style="dim")


def _print_tables(view: _View, screen: Console) -> None:
    for table in view.tables(screen.width, screen.encoding.startswith("utf")):
        screen.print(table)


def _format(given: Format | None, out: Path | None, as_json: bool) -> Format:
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


def _query(**options: Any) -> BoardQuery:
    from results.leaderboard import BoardQuery

    try:
        return BoardQuery(**options)
    except ValidationError as error:
        first = error.errors()[0]
        field = f"--{str(first['loc'][0]).replace('_', '-')}: " if first["loc"] else ""
        raise BadInput(field + first["msg"].removeprefix("Value error, ")) from None


def _time(option: str, word: str | None) -> datetime | None:
    if word is None:
        return None
    try:
        return datetime.fromisoformat(word)
    except ValueError:
        raise BadInput(
            f"{option} {word!r} is not a time: write a date such as 2026-03-31, or 2026-03-31T09:00+09:00"
        ) from None
