"""Leaderboards and what belongs to them as tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from results.leaderboard import Effect, Leaderboard, LeaderboardRow
    from results.leaderboard_history import RatingTrack
    from results.leaderboard_pairs import Difference, HeadToHead

_MOST_BAR, _LEAST_BAR = 48, 12
_GAP = 3  # between two columns


def against_table(rows: Sequence[HeadToHead], level: float) -> Table:
    """Every model against one: what is expected, and what happened when they met."""
    opponent = rows[0].opponent if rows else ""
    table = _plain(f"Against {opponent}")
    table.add_column("model", overflow="fold")
    for title in ("P(it wins)", f"{100 * level:g}% interval", "won / lost / tied", "share won"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            Text(row.model),
            _percent(row.probability),
            _percents(row.lower, row.upper),
            f"{row.wins:,} / {row.losses:,} / {row.ties:,}",
            _percent(row.share),
            style="dim" if row.probability is None else None,
        )
    return table


def difference_table(rows: Sequence[Difference], first: str, second: str, level: float) -> Table:
    """Two leaderboards model by model."""
    table = _plain(f"{first} against {second}")
    table.add_column("model", overflow="fold")
    for title in (first, second, "difference", f"{100 * level:g}% interval"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            Text(row.model),
            f"{row.first:.0f}",
            f"{row.second:.0f}",
            f"{row.difference:+.0f}",
            f"{row.lower:+.0f} to {row.upper:+.0f}",
            style=None if row.clear else "dim",
        )
    return table


def history_table(tracks: Sequence[RatingTrack], width: int) -> Table:
    """Ratings over time, a column per time; the oldest ones are dropped where the terminal is too narrow."""
    times = sorted({point.time for track in tracks for point in track.points})
    short = len({f"{time:%m-%d}" for time in times}) == len(times) and times[-1].year == times[0].year
    pattern = "%m-%d" if short else "%Y-%m-%d %H:%M"
    names = min(max(Text(track.model).cell_len for track in tracks), max(16, width // 4))
    room = max(2, (width - names) // (len(f"{times[0]:{pattern}}") + _GAP))
    times = times[-room:]
    table = _plain("Ratings over time (UTC)")
    table.add_column("model", overflow="fold")
    for time in times:
        table.add_column(f"{time:{pattern}}", justify="right", no_wrap=True)
    for track in tracks:
        at = {point.time: f"{point.rating:.0f}" for point in track.points}
        table.add_row(Text(track.model), *(at.get(time, "-") for time in times))
    return table


def style_table(effects: Sequence[Effect], level: float) -> Table:
    """Coefficients of style control."""
    table = _plain("What style is worth")
    table.add_column("style")
    for title in ("coefficient", f"{100 * level:g}% interval", "p"):
        table.add_column(title, justify="right", no_wrap=True)
    for effect in effects:
        table.add_row(
            effect.name,
            f"{effect.value:+.3f}",
            f"{effect.lower:+.3f} to {effect.upper:+.3f}",
            ""
            if effect.p_value is None
            else f"{effect.p_value:.3f}"
            if effect.p_value >= 0.001
            else "<0.001",
        )
    return table


def _plain(title: str) -> Table:
    return Table(title=escape(title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f}%"


def _percents(lower: float | None, upper: float | None) -> str:
    return "" if lower is None or upper is None else f"{100 * lower:.0f}% to {100 * upper:.0f}%"


def board_table(board: Leaderboard, width: int, *, fancy: bool, more: Sequence[dict[str, str]] = ()) -> Table:
    """A leaderboard in `width` cells, with interval bars where there is room; `fancy` for UTF-8 terminals. `more` are
    further cells of each row by title."""
    filters = [board.source] + [value for value in (board.category, board.language, board.judge) if value]
    name = "Bradley-Terry" if board.method == "bt" else "Elo"
    table = _plain(f"{name} leaderboard ({', '.join(filters)})")
    rows = board.models
    names = min(max(Text(row.model).cell_len for row in rows), max(16, width // 4))
    interval = f"{100 * (board.level or 0):g}% interval"
    columns = {"rank": [_rank(row) for row in rows], "rating": [_rating(row) for row in rows]}
    if board.method == "bt":
        columns[interval] = [_interval(row) for row in rows]
    columns["votes"] = [f"{row.votes:,}" for row in rows]
    for title in more[0] if more else ():
        columns[title] = [cells[title] for cells in more]
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
        if column == interval and axis is not None:
            table.add_column(Text(axis.header), no_wrap=True)
    for place, row in enumerate(rows):
        line: list[str | Text] = []
        for column, cells in columns.items():
            line.append(cells[place])
            if column == "rank":
                line.append(Text(row.model))
            if column == interval and axis is not None:
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
