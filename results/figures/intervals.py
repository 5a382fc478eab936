"""Values with their intervals, one row each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from results.figures._figure import Figure, label, text_width, ticks, word

if TYPE_CHECKING:
    from results.leaderboard import Leaderboard

_ROW, _TOP, _BOTTOM = 22.0, 24.0, 8.0
_WIDE = 560.0


@dataclass(frozen=True)
class Interval:
    """One row: a value with its bounds. A missing bound is drawn open; a missing value leaves the bound."""

    name: str
    value: float | None
    lower: float | None = None
    upper: float | None = None


def ratings_plot(board: Leaderboard, *, width: float = 720, most: int | None = None) -> Figure:
    """The ratings of a leaderboard with their intervals, best first (`most` of them at most)."""
    rows = [Interval(row.model, row.rating, row.lower, row.upper) for row in board.models]
    level = f" with {100 * board.level:g}% intervals" if board.level else ""
    return interval_plot(rows[:most], width=width, title=f"Ratings{level}")


def interval_plot(
    rows: Sequence[Interval], *, width: float = 720, title: str = "", description: str | None = None
) -> Figure:
    """Draw rows from top to bottom: name, interval and point on a common axis, figures where there is room.

    `description` is the text alternative; by default it lists the first rows in figures.
    """
    values = [v for row in rows for v in (row.value, row.lower, row.upper) if v is not None]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if high <= low:
        low, high = low - 1, high + 1
    wide = width >= _WIDE
    longest = max((text_width(row.name) for row in rows), default=0.0)
    names = min(longest + 4, width * (0.34 if wide else 0.38))
    figures = 128.0 if wide else 40.0
    left, right = names + 14, width - figures - 12
    height = _TOP + _ROW * len(rows) + _BOTTOM

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    parts = []
    for tick in ticks(low, high, 7 if wide else 3):
        at = x(tick)
        parts.append(
            f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP - 4}" y2="{height - _BOTTOM}"/>'
        )
        parts.append(word(f"{tick:g}", at, 14))
    for place, row in enumerate(rows):
        y = _TOP + _ROW * (place + 0.5)
        parts.append(label(row.name, 0, y + 4, names))
        parts.extend(_mark(row, x, y, left, right))
        parts.append(word(_figures(row, wide), width, y + 4, size=12, anchor="end"))
    return Figure("".join(parts), width, height, title, description or _described(rows))


def _mark(row: Interval, x: Callable[[float], float], y: float, left: float, right: float) -> list[str]:
    if row.value is None and row.lower is None and row.upper is None:
        return []
    parts = []
    if row.lower is not None or row.upper is not None:
        start = left if row.lower is None else x(row.lower)
        end = right if row.upper is None else x(row.upper)
        parts.append(f'<line class="bar" x1="{start:.1f}" x2="{end:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        # An open end is an arrow, a closed one a cap: told apart without colour.
        for at, outward, is_open in ((start, -1, row.lower is None), (end, 1, row.upper is None)):
            path = (
                f"M{at - 2 * outward:.1f} {y - 7:.1f}L{at + 5 * outward:.1f} {y:.1f}L{at - 2 * outward:.1f} {y + 7:.1f}"
                if is_open
                else f"M{at:.1f} {y - 5:.1f}V{y + 5:.1f}"
            )
            parts.append(f'<path class="cap" d="{path}"/>')
    if row.value is not None:
        parts.append(f'<circle class="dot" cx="{x(row.value):.1f}" cy="{y:.1f}" r="4"/>')
    return parts


def _figures(row: Interval, wide: bool) -> str:
    value = "" if row.value is None else f"{row.value:.0f}"
    if not wide:
        return value or (f"> {row.lower:.0f}" if row.lower is not None else "–")
    if row.lower is not None and row.upper is not None:
        return f"{value} ({row.lower:.0f} – {row.upper:.0f})"
    bound = (
        f"> {row.lower:.0f}"
        if row.lower is not None
        else f"< {row.upper:.0f}"
        if row.upper is not None
        else ""
    )
    return f"{value} {bound}".strip() or "–"


def _described(rows: Sequence[Interval]) -> str:
    return "; ".join(f"{row.name} {_figures(row, wide=True)}" for row in rows[:10])
