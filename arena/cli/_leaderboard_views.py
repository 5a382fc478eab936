"""What `arena leaderboard` shows: the leaderboard itself, against one model, against a source or a time, over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel
from rich.table import Table

from arena.cli._common import BadInput, WorkFailed
from arena.cli._leaderboard_more import changes_table, commercial_names, facts_cells
from arena.cli._leaderboard_notes import advice_for, decision_words, notes_of
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

SourceFilter = Literal["human", "judge", "all"]

_WIDTH_WITHOUT_TERMINAL = 120
_WIDTH_WITH_COLUMNS = 200
_WHO = {"human": "people", "judge": "judges", "all": "all"}
_DECISIONS_TOLD = 5
"""Models of a view against another that are also told about in words."""


@dataclass(frozen=True)
class Shown:
    """What the leaderboard itself shows beside ratings, and whether only what may be used commercially."""

    columns: tuple[str, ...]
    commercial: bool


@dataclass(frozen=True)
class Choice:
    """Which view is asked for: at most one is not None."""

    against: str | None
    compare_source: SourceFilter | None
    over_time: int | None
    against_time: datetime | None


@dataclass(frozen=True)
class View:
    """What is printed: `data` as JSON, `rows` of `kind` in other formats, or tables with notes."""

    data: Any
    kind: type[BaseModel]
    rows: Sequence[BaseModel]
    tables: Callable[[int, bool], list[Table]]
    notes: list[str]
    width: int = _WIDTH_WITHOUT_TERMINAL


def view_of(data: Path, query: BoardQuery, choice: Choice, shown: Shown) -> tuple[View, str]:
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


def _board_view(store: Store, rated: Rated, shown: Shown) -> View:
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
    return View(data, kind, rows, tables, [*notes, *notes_of(board)], width)


def _changes_view(store: Store, query: BoardQuery, time: datetime) -> View:
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
    return View(
        {"since": time.isoformat(), "votes_then": then.board.votes, "votes_now": now.board.votes,
         "models": _dumped(rows), "new": new},
        RatingChange,
        rows,
        lambda width, fancy: [changes_table(rows, when, query.level)],
        notes,
    )  # fmt: skip


def _against_view(rated: Rated, opponent: str) -> View:
    from results.decisions import decide
    from results.leaderboard_pairs import HeadToHead, against

    rows = against(rated, opponent)
    level = rated.query.level
    decisions = [decide(rated, row.model, row.opponent) for row in rows]
    notes = [decision_words(each) for each in decisions[:_DECISIONS_TOLD]]
    notes += [
        "P(it wins) is by the ratings of all comparisons, a tie counting half; the rest by direct ones."
    ]
    return View(
        {
            "opponent": rated.names[rated.index(opponent)],
            "level": level,
            "models": _dumped(rows),
            "decisions": _dumped(decisions),
        },
        HeadToHead,
        rows,
        lambda width, fancy: [against_table(rows, level)],
        notes,
    )


def _difference_view(store: Store, rated: Rated, other: SourceFilter) -> View:
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
    return View(
        {"source": query.source, "compare_source": other, "models": _dumped(rows)},
        Difference,
        rows,
        lambda width, fancy: [difference_table(rows, first, second, query.level)],
        notes,
    )


def _history_view(store: Store, query: BoardQuery, points: int) -> View:
    from results.leaderboard_history import RatingPoint, rating_history

    tracks = rating_history(store, query.model_copy(update={"position_bias": False}), points)
    rows = [point for track in tracks for point in track.points]
    notes = ["Each column rates all comparisons before its time."]
    return View(
        {"models": _dumped(tracks)},
        RatingPoint,
        rows,
        lambda width, fancy: [history_table(tracks, width)],
        notes,
    )


def _dumped(rows: Sequence[BaseModel]) -> list[dict[str, Any]]:
    return [row.model_dump(mode="json") for row in rows]
