"""`arena leaderboard`: rated models in the terminal, or as JSON."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from arena.cli._common import DEFAULT_DATA, AsJson, BadInput, DataDir, WorkFailed, console, output, print_json

if TYPE_CHECKING:
    from results.leaderboard import Leaderboard, LeaderboardRow
    from results.store import Store

# As in results.leaderboard, which takes a second to load and is only loaded when it is needed.
Method = Literal["bt", "elo"]
SourceFilter = Literal["human", "judge", "all"]
By = Literal["model", "version"]

_MOST_BAR, _LEAST_BAR = 48, 12
_GAP = 3  # between two columns
_WIDTH_WITHOUT_TERMINAL = 120


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
    as_json: AsJson = False,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Rated models, best first, with 95% intervals."""
    from results.leaderboard import leaderboard as rate
    from results.store import StoreError, open_store

    if judge is not None and source == "human":
        raise BadInput("--judge selects a judge's verdicts; add --source judge")
    if not data.is_dir():
        raise BadInput(
            f"there is no data directory {data}. Name the right one with --data, or begin one: "
            "`arena serve` to vote, `arena votes import FILE` for votes you have"
        )
    try:
        with open_store(data) as store:
            board = rate(store, method, source, category, language, judge=judge, by=by)
            advice = "" if board.models else _advice(store, board)
    except StoreError as error:
        raise WorkFailed(str(error)) from error
    if as_json:
        print_json(board.model_dump(mode="json"))
    elif board.models:
        _show(board)
    if advice:
        console.print(advice, highlight=False, markup=False)


def _advice(store: Store, board: Leaderboard) -> str:
    """What to do where the selection has no votes."""
    from results.leaderboard import known_values
    from results.leaderboard import leaderboard as rate

    filters: tuple[tuple[Literal["category", "language", "judge"], str | None], ...] = (
        ("category", board.category), ("language", board.language), ("judge", board.judge),
    )  # fmt: skip
    for column, wanted in filters:
        known = known_values(store, column)
        if wanted is not None and wanted not in known:
            near = difflib.get_close_matches(wanted, known, n=1)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            return f"No votes of {column} {wanted!r}.{meant} There are: {', '.join(known[:20]) or 'none'}."
    if board.source != "all" and rate(store, "bt", "all").votes:
        return f"No comparisons of --source {board.source} here; --source all shows what there is."
    left_out = sum(board.excluded.values())
    if left_out:
        return f"No votes that count yet; {left_out:,} are left out ({_reasons(board.excluded)})."
    return (
        "No votes yet. Vote in the browser (`arena serve`), or import votes: `arena votes import FILE` "
        "(columns model_a, model_b, winner; others by --map)."
    )


def _show(board: Leaderboard) -> None:
    width = output.width if output.is_terminal else max(output.width, _WIDTH_WITHOUT_TERMINAL)
    screen = Console(width=width)
    screen.print(_table(board, width, fancy=screen.encoding.startswith("utf")))
    caption = f"{board.votes:,} votes" if board.source == "human" else f"{board.votes:,} comparisons"
    if board.excluded:
        caption += f"; {sum(board.excluded.values()):,} left out ({_reasons(board.excluded)})"
    notes = [caption + "."]
    if board.method == "bt":
        if any(row.rating is not None for row in board.models):
            notes.append(f"{100 * (board.level or 0):g}% intervals; in brackets the ranks they allow.")
        notes.extend(f"{row.model}: {row.reason}." for row in board.models if row.reason)
    for note in notes:
        console.print(note, highlight=False, markup=False, style="dim")


def _reasons(excluded: dict[str, int]) -> str:
    return ", ".join(f"{reason.replace('_', ' ')} {count:,}" for reason, count in excluded.items())


def _table(board: Leaderboard, width: int, *, fancy: bool) -> Table:
    filters = [board.source] + [value for value in (board.category, board.language, board.judge) if value]
    name = "Bradley-Terry" if board.method == "bt" else "Elo"
    table = Table(
        title=escape(f"{name} leaderboard ({', '.join(filters)})"),
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    rows = board.models
    names = min(max(Text(row.model).cell_len for row in rows), max(16, width // 4))
    columns = {"rank": [_rank(row) for row in rows], "rating": [_rating(row) for row in rows]}
    if board.method == "bt":
        columns["95% interval"] = [_interval(row) for row in rows]
    columns["votes"] = [f"{row.votes:,}" for row in rows]
    details = {"won / lost / tied": [f"{row.wins:,} / {row.losses:,} / {row.ties:,}" for row in rows]}

    room = width - names - 2 * _GAP - _widths(columns)
    wide = board.method == "elo" or room - _widths(details) >= _LEAST_BAR
    if wide:
        columns |= details
        room -= _widths(details)
    axis = _Axis.over(rows, min(room, _MOST_BAR), fancy)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
        if column == "rank":
            table.add_column("model", overflow="fold", min_width=names)
        if column == "95% interval" and axis is not None:
            table.add_column(Text(axis.header), no_wrap=True)
    for place, row in enumerate(rows):
        line: list[str | Text] = []
        for column, cells in columns.items():
            line.append(cells[place])
            if column == "rank":
                line.append(Text(row.model))
            if column == "95% interval" and axis is not None:
                line.append(Text(axis.bar(row), style="cyan"))
        table.add_row(*line, style="dim" if row.rating is None else None)
    return table


def _widths(columns: dict[str, list[str]]) -> int:
    """Terminal cells that these columns take, with the gaps beside them."""
    return sum(max(map(len, [name, *cells])) + _GAP for name, cells in columns.items())


def _rating(row: LeaderboardRow) -> str:
    return "-" if row.rating is None else f"{row.rating:.0f}"


def _rank(row: LeaderboardRow) -> str:
    if row.rank is None:
        return "-"
    if row.rank_best is None or row.rank_worst is None:
        return str(row.rank)
    return f"{row.rank} ({row.rank_best}-{row.rank_worst})"


def _interval(row: LeaderboardRow) -> str:
    if row.lower is not None and row.upper is not None:
        return f"{row.lower:.0f} to {row.upper:.0f}"
    if row.lower is not None:
        return f"over {row.lower:.0f}"
    return f"under {row.upper:.0f}" if row.upper is not None else ""


class _Axis:
    """A scale of ratings on a row of terminal cells, on which intervals are drawn."""

    def __init__(self, low: float, high: float, cells: int, fancy: bool) -> None:
        self.low, self.high, self.cells = low, high, cells
        # left half, right half, line, rating, open to the left, open to the right
        self.signs = ("╶", "╴", "─", "●", "◀", "▶") if fancy else ("-", "-", "-", "o", "<", ">")

    @classmethod
    def over(cls, rows: tuple[LeaderboardRow, ...], cells: int, fancy: bool) -> _Axis | None:
        """The axis that all intervals fit on; None where there are none or too little room."""
        ends = [end for row in rows for end in (row.lower, row.upper) if end is not None]
        if not ends or cells < _LEAST_BAR:
            return None
        return cls(min(ends), max(max(ends), min(ends) + 1), cells, fancy)

    @property
    def header(self) -> str:
        left, right = f"{self.low:.0f}", f"{self.high:.0f}"
        return left + " " * max(1, self.cells - len(left) - len(right)) + right

    def bar(self, row: LeaderboardRow) -> str:
        """The interval with the rating in it; open at one side where there is only one bound."""
        if row.lower is None and row.upper is None:
            return ""
        start_half, end_half, line, rating, open_left, open_right = self.signs
        # Ends fall on half cells; an end in the middle of a cell draws the half that belongs to the line.
        start = 0 if row.lower is None else round(self._place(row.lower) * 2)
        end = self.cells * 2 - 1 if row.upper is None else round(self._place(row.upper) * 2)
        bar = [" "] * (start // 2) + [line] * (end // 2 - start // 2 + 1)
        if start % 2:
            bar[start // 2] = start_half
        if not end % 2 and end > start:
            bar[end // 2] = end_half
        if row.lower is None:
            bar[0] = open_left
        if row.upper is None:
            bar[-1] = open_right
        if row.rating is not None:
            bar[min(int(self._place(row.rating)), len(bar) - 1)] = rating
        return "".join(bar)

    def _place(self, rating: float) -> float:
        return (rating - self.low) / (self.high - self.low) * (self.cells - 0.5)
