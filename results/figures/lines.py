"""Values over time, a line each: told apart by labels, marks and dashes as well as by colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from results.figures._figure import Figure, label, text_width, ticks, word

_DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 2", "1 2")
_TOP, _BOTTOM, _LEFT = 12.0, 30.0, 44.0
_LINE = 15.0


@dataclass(frozen=True)
class Series:
    """A line: `values[i]` at `times[i]`, null where there is none yet."""

    name: str
    times: tuple[datetime, ...]
    values: tuple[float | None, ...]


def line_plot(
    series: Sequence[Series],
    *,
    width: float = 720,
    height: float = 340,
    title: str = "",
    description: str = "",
) -> Figure:
    """Draw each series over time, with its name at the end of its line."""
    values = [v for each in series for v in each.values if v is not None]
    times = [t for each in series for t in each.times]
    if not values:
        return Figure("", width, height, title, description)
    low, high = min(values), max(values)
    pad = max((high - low) * 0.06, 1.0)
    low, high, first, last = low - pad, high + pad, min(times), max(times)
    seconds = max((last - first).total_seconds(), 1.0)
    names = min(max(text_width(each.name, 11) for each in series) + 22, width * 0.34)
    right, bottom = width - names, height - _BOTTOM

    def x(time: datetime) -> float:
        return _LEFT + (time - first).total_seconds() / seconds * (right - _LEFT)

    def y(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - _TOP)

    parts = []
    for tick in ticks(low, high, 6):
        at = y(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right:.1f}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(word(f"{tick:g}", _LEFT - 6, at + 4, anchor="end"))
    steps = 4 if width >= 560 else 1
    form = "%Y-%m-%d" if last - first >= timedelta(days=2) else "%m-%d %H:%M"
    for step in range(steps + 1):
        time = first + (last - first) * (step / steps)
        anchor = "start" if step == 0 else "end" if step == steps else "middle"
        parts.append(word(f"{time:{form}}", x(time), height - 9, anchor=anchor))
    ends: list[tuple[float, int]] = []
    for place, each in enumerate(series):
        points = [(x(t), y(v)) for t, v in zip(each.times, each.values, strict=True) if v is not None]
        if not points:
            continue
        style = place % len(_DASHES)
        path = "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in points)
        dash = f' stroke-dasharray="{_DASHES[style]}"' if _DASHES[style] else ""
        parts.append(f'<path class="line c{style}" d="{path}"{dash}/>')
        parts.append(f'<circle class="f{style}" cx="{points[-1][0]:.1f}" cy="{points[-1][1]:.1f}" r="3.5"/>')
        ends.append((points[-1][1], place))
    for (end, place), at in zip(sorted(ends), _apart([y for y, _ in sorted(ends)], bottom), strict=True):
        style = place % len(_DASHES)
        path = f"M{right + 3:.1f} {end:.1f}L{right + 12:.1f} {at:.1f}"
        parts.append(f'<path class="line c{style}" style="stroke-width:1" d="{path}"/>')
        parts.append(label(series[place].name, right + 15, at + 4, names - 16, size=11))
    return Figure("".join(parts), width, height, title, description)


def _apart(places: Sequence[float], bottom: float) -> list[float]:
    """Ascending places moved as little as needed to stand a line of text from each other, above `bottom`."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + _LINE) if moved else max(place, _TOP))
    limit = bottom
    for i in range(len(moved) - 1, -1, -1):
        moved[i] = min(moved[i], limit)
        limit = moved[i] - _LINE
    return moved
