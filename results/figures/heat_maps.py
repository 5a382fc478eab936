"""Heat maps of pairs: every cell carries its number, so that nothing is told by colour alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from results.figures._figure import Figure, label, text_width, word

_STRONGEST = 0.55  # opacity at which the ink on a cell keeps a contrast of 4.5 on light and dark ground
_TOP = 22.0


def win_rate_map(
    names: Sequence[str],
    wins: npt.NDArray[np.float64],
    games: npt.NDArray[np.float64],
    *,
    width: float = 720,
    title: str = "Win rate of the row's model against the column's, in percent",
    description: str = "",
) -> Figure:
    """`wins[i, j]` of `games[i, j]` (both (n, n); a tie is half a win) as percent, empty where two models
    never met."""
    rate = np.divide(wins, games, out=np.full(games.shape, np.nan), where=games > 0)
    shown = [["" if np.isnan(r) else f"{100 * r:.0f}" for r in line] for line in rate]
    return heat_map(names, shown, 2 * rate - 1, width=width, title=title, description=description)


def count_map(
    names: Sequence[str],
    games: npt.NDArray[np.float64],
    *,
    width: float = 720,
    title: str = "Comparisons of each pair",
    description: str = "",
) -> Figure:
    """How often each pair met, `games` being (n, n); shades follow the square root, so that small counts
    differ too."""
    most = max(float(games.max(initial=0.0)), 1.0)
    shade = np.where(games > 0, np.sqrt(games / most), np.nan)
    shown = [[_brief(n) if n else "" for n in line] for line in games]
    return heat_map(names, shown, shade, width=width, title=title, description=description)


def heat_map(
    names: Sequence[str],
    texts: Sequence[Sequence[str]],
    shade: npt.NDArray[np.float64],
    *,
    width: float = 720,
    title: str = "",
    description: str = "",
) -> Figure:
    """A square table of n models with themselves. `shade` (n, n) lies in -1..1 and is NaN where there is
    nothing to tell; columns bear the numbers of the rows."""
    n = len(names)
    numbered = [f"{place}  {name}" for place, name in enumerate(names, start=1)]
    left = min(max((text_width(name) for name in numbered), default=0.0) + 10, width * 0.36)
    cell = min((width - left) / max(n, 1), 44.0)
    tall = max(cell, 18.0)
    size = min(12.0, max(8.0, cell * 0.42))
    parts = []
    for i, name in enumerate(numbered):
        y = _TOP + i * tall
        parts.append(label(name, 0, y + tall / 2 + 4, left - 8))
        parts.append(word(str(i + 1), left + (i + 0.5) * cell, _TOP - 7, size=size))
        for j, text in enumerate(texts[i]):
            if i == j:
                continue
            x = left + j * cell
            parts.append(
                f'<rect {_paint(float(shade[i, j]))} x="{x:.1f}" y="{y:.1f}" '
                f'width="{cell - 1:.1f}" height="{tall - 1:.1f}"/>'
            )
            if text:
                middle = y + tall / 2 + size * 0.36
                parts.append(word(text, x + cell / 2 - 0.5, middle, size=size, soft=False))
    return Figure("".join(parts), left + cell * n, _TOP + tall * n + 2, title, description)


def _paint(value: float) -> str:
    if not np.isfinite(value):
        return 'class="none"'
    return f'class="{"more" if value >= 0 else "less"}" fill-opacity="{abs(value) * _STRONGEST:.2f}"'


def _brief(count: float) -> str:
    if count < 1000:
        return f"{count:.0f}"
    return f"{count / 1000:.0f}k" if count < 1_000_000 else f"{count / 1_000_000:.0f}M"
