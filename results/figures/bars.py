"""Values as bars from zero, one row each, with their intervals where there are some."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from results.figures._figure import Figure, label, text_width, ticks, word

_ROW, _TOP, _BOTTOM = 24.0, 24.0, 8.0
_FIGURES = 150.0


@dataclass(frozen=True)
class Bar:
    """One row: a value (None: not measured), its interval, and how it is written (`text`)."""

    name: str
    value: float | None
    text: str
    lower: float | None = None
    upper: float | None = None


def bar_plot(rows: Sequence[Bar], *, width: float = 720, title: str = "") -> Figure:
    """Draw rows from top to bottom: name, bar from zero, interval, and the value in words."""
    values = [v for row in rows for v in (row.value, row.lower, row.upper) if v is not None]
    low, high = min([0.0, *values]), max([0.0, *values])
    if high <= low:
        high = low + 1
    names = min(max((text_width(row.name) for row in rows), default=0.0) + 4, width * 0.34)
    left, right = names + 14, width - _FIGURES - 12
    height = _TOP + _ROW * len(rows) + _BOTTOM

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    parts = []
    for tick in ticks(low, high, 6):
        parts.append(
            f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{_TOP - 4}" y2="{height - _BOTTOM}"/>'
        )
        parts.append(word(f"{tick:g}", x(tick), 14))
    for place, row in enumerate(rows):
        y = _TOP + _ROW * (place + 0.5)
        parts.append(label(row.name, 0, y + 4, names))
        parts.extend(_mark(row, x, y))
        parts.append(word(row.text, width, y + 4, size=12, anchor="end"))
    described = "; ".join(f"{row.name} {row.text}" for row in rows[:12])
    return Figure("".join(parts), width, height, title, described)


def _mark(row: Bar, x: Callable[[float], float], y: float) -> list[str]:
    if row.value is None:
        return []
    start, end = sorted((x(0.0), x(row.value)))
    kind = "more" if row.value >= 0 else "less"
    parts = [
        f'<rect class="{kind}" x="{start:.1f}" y="{y - 7:.1f}" width="{max(end - start, 1):.1f}" height="14"/>'
    ]
    if row.lower is not None and row.upper is not None:
        low, high = x(row.lower), x(row.upper)
        path = f"M{low:.1f} {y - 5:.1f}v10M{high:.1f} {y - 5:.1f}v10M{low:.1f} {y:.1f}H{high:.1f}"
        parts.append(f'<path class="cap" style="stroke:var(--fig-ink,#1b2430)" d="{path}"/>')
    return parts
