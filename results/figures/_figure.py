"""What all figures share: the SVG document, its colours, and the measures of text and axes."""

from __future__ import annotations

import html
import math
import unicodedata
from dataclasses import dataclass
from pathlib import Path

FIGURE_CSS = """
.fig { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Apple SD Gothic Neo",
  "Malgun Gothic", "Noto Sans KR", "Noto Sans CJK KR", sans-serif; font-variant-numeric: tabular-nums; }
.fig text { fill: var(--fig-ink, #1b2430); }
.fig .soft { fill: var(--fig-soft, #56616f); }
.fig .grid { stroke: var(--fig-grid, #dfe4ea); stroke-width: 1; }
.fig .zero { stroke: var(--fig-soft, #56616f); stroke-width: 1; stroke-dasharray: 2 3; }
.fig .bar { stroke: var(--fig-bar, #7fa8d6); stroke-width: 6; }
.fig .cap { stroke: var(--fig-bar, #7fa8d6); stroke-width: 2; fill: none; }
.fig .dot { fill: var(--fig-dot, #12467f); }
.fig .more { fill: var(--fig-more, #3b82c4); }
.fig .less { fill: var(--fig-less, #d9822b); }
.fig .none { fill: var(--fig-grid, #dfe4ea); fill-opacity: .45; }
.fig .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.fig .c0 { stroke: var(--fig-c0, #12467f); } .fig .f0 { fill: var(--fig-c0, #12467f); }
.fig .c1 { stroke: var(--fig-c1, #b4530a); } .fig .f1 { fill: var(--fig-c1, #b4530a); }
.fig .c2 { stroke: var(--fig-c2, #0b7a5e); } .fig .f2 { fill: var(--fig-c2, #0b7a5e); }
.fig .c3 { stroke: var(--fig-c3, #9b2f6f); } .fig .f3 { fill: var(--fig-c3, #9b2f6f); }
.fig .c4 { stroke: var(--fig-c4, #5d6670); } .fig .f4 { fill: var(--fig-c4, #5d6670); }
.fig .c5 { stroke: var(--fig-c5, #6a4fc0); } .fig .f5 { fill: var(--fig-c5, #6a4fc0); }
""".strip()
"""How figures are drawn; the custom properties (`--fig-ink` and so on) let a page set colours of its own."""


@dataclass(frozen=True)
class Figure:
    """A drawing of `width` by `height` pixels. `title` and `description` are its text alternative: what it
    is, and what it shows."""

    body: str
    width: float
    height: float
    title: str
    description: str

    def svg(self, *, standalone: bool = True) -> str:
        """The SVG element. Standalone ones bring their style and a light ground; the others take both from a
        page that has `FIGURE_CSS`."""
        size = f"{self.width:.0f}", f"{self.height:.0f}"
        ground = (
            f'<style>{FIGURE_CSS}</style><rect width="100%" height="100%" fill="#fff"/>' if standalone else ""
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="fig" role="img" viewBox="0 0 {size[0]} {size[1]}" '
            f'width="{size[0]}" height="{size[1]}" aria-label="{escape(f"{self.title}. {self.description}")}">'
            f"{ground}{self.body}</svg>"
        )

    def save(self, path: Path | str) -> None:
        """Write the figure as an SVG file. Raises OSError."""
        Path(path).write_text(self.svg(), encoding="utf-8")

    def _repr_svg_(self) -> str:
        return self.svg()


def escape(text: str) -> str:
    """Text for XML, in content or attributes: markup escaped, characters that XML cannot hold replaced."""
    allowed = "".join(c if c in "\t\n" or (c >= " " and not _unfit(c)) else "\ufffd" for c in text)
    return html.escape(allowed, quote=True)


def _unfit(character: str) -> bool:
    return "\x7f" <= character <= "\x9f" or "\ud800" <= character <= "\udfff" or character in "\ufffe\uffff"


def text_width(text: str, size: float = 12) -> float:
    """About how many pixels wide the text is: an em for wide (Korean, Chinese) characters, 0.57 for others."""
    ems = sum(
        0.0 if unicodedata.combining(c) else 1.0 if unicodedata.east_asian_width(c) in "WF" else 0.57
        for c in text
    )
    return ems * size


def shortened(text: str, room: float, size: float = 12) -> str:
    """The text, cut with an ellipsis where it is wider than `room` pixels."""
    if text_width(text, size) <= room:
        return text
    kept = text
    while kept and text_width(kept + "…", size) > room:
        kept = kept[:-1]
    return kept.rstrip() + "…"


def label(text: str, x: float, y: float, room: float, *, size: float = 12, anchor: str = "start") -> str:
    """A text element; one that had to be cut tells the whole text as its tooltip."""
    shown = shortened(text, room, size)
    whole = f"<title>{escape(text)}</title>" if shown != text else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" text-anchor="{anchor}">{escape(shown)}{whole}</text>'


def word(
    text: str, x: float, y: float, *, size: float = 11, anchor: str = "middle", soft: bool = True
) -> str:
    """A short text element that needs no cutting."""
    kind = ' class="soft"' if soft else ""
    return f'<text{kind} x="{x:.1f}" y="{y:.1f}" font-size="{size:.3g}" text-anchor="{anchor}">{escape(text)}</text>'


def ticks(low: float, high: float, most: int) -> list[float]:
    """At most about `most` round numbers from `low` to `high`."""
    span = max(high - low, 1e-9)
    raw = span / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * 0.999)
    return [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
