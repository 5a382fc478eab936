"""Figures of a training: what was measured at each step, and how a quantity is spread over rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from results.figures._figure import Figure, escape, text_width, ticks, word

_DASHES = ("", "7 3", "2 3", "9 3 2 3")
_COLOURS = 6
_LINE = 16.0
_TOP, _BOTTOM, _LEFT, _RIGHT = 26.0, 24.0, 52.0, 12.0
_MOST_POINTS = 400


@dataclass(frozen=True)
class Curve:
    """A line over steps: `values[i]` at `steps[i]`, steps ascending."""

    name: str
    steps: tuple[float, ...]
    values: tuple[float, ...]


def curve_plot(
    curves: Sequence[Curve],
    *,
    width: float = 460,
    height: float = 220,
    title: str = "",
    description: str | None = None,
) -> Figure:
    """Draw curves over common steps, told apart by dashes as well as by colour (twelve of them), with their names on
    top, for which the figure grows by a line where they need one.

    Long curves are thinned to 400 points. `description` is the text alternative; by default it tells where each
    curve begins and ends.
    """
    drawn = [_thinned(each) for each in curves if each.values]
    if description is None:
        description = "; ".join(f"{c.name} {c.values[0]:.4g} → {c.values[-1]:.4g}" for c in drawn)
    if not drawn:
        return Figure("", width, height, title, description)
    places = _legend([each.name for each in drawn], width)
    top = _TOP + places[-1][1]
    height += places[-1][1]
    low, high = min(min(c.values) for c in drawn), max(max(c.values) for c in drawn)
    pad = (high - low) * 0.06 or abs(high) * 0.05 or 1.0
    low, high = low - pad, high + pad
    first, last = min(c.steps[0] for c in drawn), max(c.steps[-1] for c in drawn)
    right, bottom = width - _RIGHT, height - _BOTTOM

    def x(step: float) -> float:
        return _LEFT + (step - first) / max(last - first, 1e-9) * (right - _LEFT)

    def y(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - top)

    parts = []
    for tick in ticks(low, high, 5):
        at = y(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right:.1f}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(word(f"{tick:,.6g}", _LEFT - 6, at + 4, anchor="end"))
    parts.extend(word(f"{tick:g}", x(tick), height - 7) for tick in ticks(first, last, 6))
    for number, (each, (place, down)) in enumerate(zip(drawn, places, strict=True)):
        colour, dashes = number % _COLOURS, _DASHES[number % len(_DASHES)]
        dash = f' stroke-dasharray="{dashes}"' if dashes else ""
        points = [(x(s), y(v)) for s, v in zip(each.steps, each.values, strict=True)]
        path = "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in points)
        parts.append(f'<path class="line c{colour}" d="{path}"{dash}/>')
        parts.append(f'<circle class="f{colour}" cx="{points[-1][0]:.1f}" cy="{points[-1][1]:.1f}" r="3"/>')
        parts.append(f'<path class="line c{colour}" d="M{place:.1f} {down + 10:.0f}h22"{dash}/>')
        parts.append(word(each.name, place + 27, down + 14, anchor="start"))
    return Figure("".join(parts), width, height, title, description)


def _legend(names: Sequence[str], width: float) -> list[tuple[float, float]]:
    """Where each name stands: from the left, and how far below the first line."""
    places: list[tuple[float, float]] = []
    left, down = _LEFT, 0.0
    for name in names:
        room = 45 + text_width(name, 11)
        if left > _LEFT and left + room - 18 > width:
            left, down = _LEFT, down + _LINE
        places.append((left, down))
        left += room
    return places


def histogram_plot(
    values: Sequence[float],
    *,
    bins: int = 24,
    width: float = 460,
    height: float = 200,
    title: str = "",
    description: str | None = None,
) -> Figure:
    """How at least one value of zero or more is spread. The highest hundredth is counted in the last bar, so that
    one long row does not flatten the others."""
    array = np.asarray(values, dtype=float)
    top = float(np.percentile(array, 99))
    highest = float(array.max())
    top = max(top, 1.0)
    counts, edges = np.histogram(np.minimum(array, top), bins=min(bins, max(int(top), 1)), range=(0, top))
    if description is None:
        middle = float(np.median(array))
        description = f"{len(array):,} rows, median {middle:,.0f}, largest {highest:,.0f}"
    most = max(int(counts.max()), 1)
    right, bottom = width - _RIGHT, height - _BOTTOM
    step = (right - _LEFT) / len(counts)
    parts = []
    for tick in ticks(0, most, 4):
        at = bottom - tick / most * (bottom - 8)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right:.1f}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(word(f"{tick:,.0f}" if tick == int(tick) else "", _LEFT - 6, at + 4, anchor="end"))
    for place, count in enumerate(counts):
        tall = int(count) / most * (bottom - 8)
        begin, end = edges[place], edges[place + 1]
        open_ended = place == len(counts) - 1 and highest > top
        span = f"≥ {begin:,.0f}" if open_ended else f"{begin:,.0f}–{end:,.0f}"
        parts.append(
            f'<rect class="more" x="{_LEFT + place * step + 0.5:.1f}" y="{bottom - tall:.1f}" '
            f'width="{max(step - 1, 1):.1f}" height="{tall:.1f}"><title>{escape(f"{span}: {count:,}")}</title></rect>'
        )
    parts.extend(
        word(f"{tick:,.0f}", _LEFT + tick / top * (right - _LEFT), height - 7) for tick in ticks(0, top, 6)
    )
    return Figure("".join(parts), width, height, title, description)


def _thinned(curve: Curve) -> Curve:
    """At most `_MOST_POINTS` points, the last one among them."""
    count = len(curve.values)
    if count <= _MOST_POINTS:
        return curve
    chosen = np.unique(np.linspace(0, count - 1, _MOST_POINTS).astype(int))
    return Curve(curve.name, tuple(curve.steps[i] for i in chosen), tuple(curve.values[i] for i in chosen))
