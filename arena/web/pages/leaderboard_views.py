"""What the Leaderboard page shows, as HTML: ratings, all pairs, head to head, over time, people and judges."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, select_autoescape

from arena.web._i18n import text
from results.decisions import decide
from results.leaderboard import BoardQuery, Leaderboard, Rated, rate
from results.leaderboard_changes import changes_since
from results.leaderboard_facts import RowFacts, row_facts, size_text
from results.leaderboard_history import RatingPoint, rating_history
from results.leaderboard_pairs import battles_of_pair, difference, head_to_head, pair_matrix
from results.records import now
from results.store import Store

View = Literal["board", "pairs", "duel", "time", "changes", "judges"]
VIEWS: tuple[View, ...] = ("board", "pairs", "duel", "time", "changes", "judges")
SINCE = ("7", "1", "30", "90", "365")
"""Days that changes are shown over; the first is what is shown unless another is chosen."""

PATH = "leaderboard"
FACTS = ("licence", "size", "quantisation", "parent", "speed", "first_token", "cost")
"""Columns of what is known of models beside their ratings, in their order."""
MOST_IN_MATRIX = 24
MOST_LINES = 8
POINTS = 16
BATTLES = 30

_templates = Environment(
    loader=PackageLoader("arena.web", "templates"), autoescape=select_autoescape(), trim_blocks=True
)


@dataclass(frozen=True)
class Shown:
    """What is looked at: a view of a query, and for head to head two models by name. `with_prompts` is whether
    the prompts of battles may be shown to whoever looks, `since` one of `SINCE`."""

    view: View
    query: BoardQuery
    first: str | None
    second: str | None
    with_prompts: bool
    since: str = SINCE[0]

    def link(self, **changes: str | None) -> str:
        """The address of this view, or of one that differs by `changes`."""
        parts: dict[str, str | None] = {
            "view": None if self.view == "board" else self.view,
            "method": None if self.query.method == "bt" else self.query.method,
            "source": None if self.query.source == "human" else self.query.source,
            "category": self.query.category,
            "language": self.query.language,
            "ties": None if self.query.ties == "half" else self.query.ties,
            "style": "1" if self.query.style_control else None,
            "a": self.first if self.view == "duel" else None,
            "b": self.second if self.view == "duel" else None,
            "since": self.since if self.view == "changes" and self.since != SINCE[0] else None,
        }
        parts |= changes
        asked = urlencode({key: value for key, value in parts.items() if value is not None})
        # Relative to the first page, which Gradio makes the base of all addresses.
        return f"./{PATH}?{asked}" if asked else f"./{PATH}"


def view_html(store: Store, rated: Rated, shown: Shown, locale: str) -> str:
    """The view as HTML in `locale`; names and prompts are escaped. Raises StoreError."""
    if not rated.board.votes or shown.view == "board":
        return board_html(rated.board, locale, row_facts(store, rated) if rated.board.votes else {})
    figures: Callable[[], dict[str, Any]] = {
        "pairs": lambda: _pairs(rated, shown),
        "duel": lambda: _duel(store, rated, shown),
        "time": lambda: _time(store, rated),
        "changes": lambda: _changes(store, rated, shown),
        "judges": lambda: _judges(store, rated),
    }[shown.view]
    return _render(f"leaderboard_{shown.view}.html", locale, board=rated.board, **figures())


def board_html(board: Leaderboard, locale: str, facts: dict[str, RowFacts] | None = None) -> str:
    """The leaderboard as a table with an interval bar for each rated model, and what is known of the models beside:
    a column for whatever is known of any of them."""
    told = {name: _facts(row) for name, row in (facts or {}).items()}
    ends = [
        value
        for row in board.models
        if row.rating is not None
        for value in (row.rating, row.lower, row.upper)
        if value is not None
    ]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    excluded = [(_reason(reason, locale), count) for reason, count in board.excluded.items() if count]
    return _render(
        "leaderboard.html",
        locale,
        board=board,
        low=low,
        width=max(high - low, 1e-9),
        excluded="; ".join(f"{reason} ({count:,})" for reason, count in excluded),
        facts=told,
        fact_columns=[name for name in FACTS if any(name in row for row in told.values())],
        why=lambda status: text(locale, f"unrated.{status}"),
        effects=[
            f"{text(locale, f'leaderboard.style.{effect.name}')} {effect.value:+.2f} "
            f"({effect.lower:+.2f} – {effect.upper:+.2f})"
            for effect in board.style or ()
        ],
    )


def _render(template: str, locale: str, **figures: Any) -> str:
    def translate(key: str, **named: Any) -> str:
        return text(locale, f"leaderboard.{key}", **named)

    return _templates.get_template(template).render(t=translate, **figures)


def _facts(row: RowFacts) -> dict[str, str]:
    """What is known of a model, as cells by the names of `FACTS`."""
    cells = {
        "licence": row.licence,
        "size": " · ".join(filter(None, (size_text(row.parameters), size_text(row.bytes_on_disk, "B")))),
        "quantisation": row.quantisation,
        "parent": row.parent,
        "cost": None if row.cost_per_1000 is None else f"{row.cost_per_1000:.3g} {row.currency}",
        "speed": None if row.tokens_per_second is None else f"{row.tokens_per_second:.1f}",
        "first_token": None if row.first_token is None else f"{row.first_token:.2f} s",
    }
    return {name: cell for name, cell in cells.items() if cell}


def _reason(reason: str, locale: str) -> str:
    return text(locale, f"excluded.{reason.split(':')[0]}")


def _pairs(rated: Rated, shown: Shown) -> dict[str, Any]:
    matrix = pair_matrix(rated, MOST_IN_MATRIX)

    def cell(i: int, j: int) -> dict[str, Any] | None:
        if not matrix.count[i, j]:
            return None
        share = float(matrix.share[i, j])
        return {
            "share": share,
            "count": int(matrix.count[i, j]),
            "strength": round(min(abs(share - 0.5) * 130, 65)),
            "link": shown.link(view="duel", a=matrix.names[i], b=matrix.names[j]),
        }

    size = len(matrix.names)
    return {
        "names": matrix.names,
        "cells": [[cell(i, j) for j in range(size)] for i in range(size)],
        "hidden": len(rated.board.models) - size,
    }


def _duel(store: Store, rated: Rated, shown: Shown) -> dict[str, Any]:
    if shown.first is None or shown.second is None or shown.first == shown.second:
        return {"pair": None}
    return {
        "pair": head_to_head(rated, shown.first, shown.second),
        "decision": decide(rated, shown.first, shown.second),
        "battles": battles_of_pair(store, rated, shown.first, shown.second, limit=BATTLES),
        "with_prompts": shown.with_prompts,
    }


def _judges(store: Store, rated: Rated) -> dict[str, Any]:
    query = rated.query
    if query.method == "elo":
        return {"rows": [], "elo": True}
    people, judges = (
        rated if query.source == source else rate(store, query.model_copy(update={"source": source}))
        for source in ("human", "judge")
    )
    rows = difference(people, judges)
    reach = max((max(abs(row.lower), abs(row.upper)) for row in rows), default=1.0)
    return {"rows": rows, "elo": False, "place": lambda points: f"{50 + 48 * points / reach:.2f}"}


def _changes(store: Store, rated: Rated, shown: Shown) -> dict[str, Any]:
    time = now() - timedelta(days=int(shown.since))
    try:
        later, earlier, rows = changes_since(store, rated.query, time)
    except ValueError:  # Elo, style control, tie models: nothing gives their change an interval
        return {"rows": [], "plain": False}
    known = {row.model for row in rows}
    reach = max((max(abs(row.lower), abs(row.upper)) for row in rows), default=1.0)
    return {
        "rows": rows,
        "plain": True,
        "time": time,
        "votes": (earlier.board.votes, later.board.votes),
        "new": [row.model for row in later.board.models if row.rating is not None and row.model not in known],
        "place": lambda points: f"{50 + 48 * points / max(reach, 1e-9):.2f}",
    }


def _time(store: Store, rated: Rated) -> dict[str, Any]:
    tracks = rating_history(store, rated.query, POINTS)
    drawn = tracks[:MOST_LINES]
    points = [point for track in drawn for point in track.points]
    if not points:
        return {"drawn": [], "tracks": []}
    scale = _Scale.over(points)
    return {
        "drawn": [
            {
                "model": track.model,
                "points": [(scale.x(point), scale.y(point.rating)) for point in track.points],
                "last": track.points[-1],
            }
            for track in drawn
        ],
        "hidden": len(tracks) - len(drawn),
        "tracks": tracks,
        "times": sorted({point.time for point in points}),
        "ticks": [(scale.y(rating), rating) for rating in scale.ticks()],
        "scale": scale,
    }


@dataclass(frozen=True)
class _Scale:
    """Times and ratings on a drawing of 720 x 320 with room for figures at the left and below."""

    begin: float
    end: float
    low: float
    high: float

    LEFT, RIGHT, TOP, BOTTOM = 48, 690, 12, 290

    @classmethod
    def over(cls, points: list[RatingPoint]) -> _Scale:
        times, ratings = [point.time.timestamp() for point in points], [point.rating for point in points]
        margin = max((max(ratings) - min(ratings)) * 0.05, 5)
        return cls(min(times), max(max(times), min(times) + 1), min(ratings) - margin, max(ratings) + margin)

    def x(self, point: RatingPoint) -> float:
        share = (point.time.timestamp() - self.begin) / (self.end - self.begin)
        return round(self.LEFT + share * (self.RIGHT - self.LEFT), 1)

    def y(self, rating: float) -> float:
        return round(self.BOTTOM - (rating - self.low) / (self.high - self.low) * (self.BOTTOM - self.TOP), 1)

    def ticks(self) -> list[int]:
        """Round ratings, three to eight of them."""
        rough = (self.high - self.low) / 7
        unit = 10.0 ** math.floor(math.log10(rough))
        step = max(1, round(unit * next(k for k in (1, 2, 5, 10) if k * unit >= rough)))
        return list(range(math.ceil(self.low / step) * step, math.floor(self.high) + 1, step))
