"""`arena leaderboard`: rated models in the terminal, or as a file."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from pydantic import ValidationError

from arena.cli._common import DEFAULT_DATA, AsJson, BadInput, DataDir, console
from arena.cli._leaderboard_more import chosen_columns
from arena.cli._leaderboard_printing import Format, format_of, put, tell_notes
from arena.cli._leaderboard_views import Choice, Shown, SourceFilter, view_of

if TYPE_CHECKING:
    from results.leaderboard import BoardQuery

# As in results.leaderboard, which takes a second to load and is only loaded when it is needed.
Method = Literal["bt", "elo"]
By = Literal["model", "version"]
Ties = Literal["half", "davidson", "rao-kupper"]


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
    kind = format_of(format_, out, as_json)
    if judge is not None and source == "human":
        raise BadInput("--judge selects a judge's verdicts; add --source judge")
    views = {
        "--against": against, "--compare-source": compare_source, "--over-time": over_time,
        "--against-time": against_time,
    }  # fmt: skip
    asked = [name for name, view in views.items() if view is not None]
    if len(asked) > 1:
        raise BadInput(f"{' and '.join(asked)} are different views: use one at a time")
    shown = Shown(tuple(chosen_columns(columns or ())), commercial)
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
    choice = Choice(against, compare_source, over_time, _time("--against-time", against_time))
    view, advice = view_of(data, query, choice, shown)
    if kind != "table" or view.rows:
        put(view, kind, out)
    elif not advice:
        tell_notes(view)
    if advice:
        console.print(advice, highlight=False, markup=False)


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
