"""What the style of answers is worth, and who would lead at equal style."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from results.leaderboard import Effect, LeaderboardRow, rate
from results.ratings import Unidentified
from results.reports._reading import conditions

if TYPE_CHECKING:
    from results.leaderboard import BoardQuery
    from results.reports._model import ReportQuery
    from results.store import Store

ENOUGH = 100
"""Comparisons with both answers' texts below which style is not looked at."""


@dataclass(frozen=True)
class Style:
    """Coefficients (natural units: one standard deviation more of it on side a multiplies the odds of a by
    exp(value)), and the leaderboard at equal style, from `votes` comparisons whose texts the store has."""

    votes: int
    effects: tuple[Effect, ...]
    rows: tuple[LeaderboardRow, ...]


def style(store: Store, query: ReportQuery, board: BoardQuery) -> Style | None:
    """Rate with style control; None where the store lacks the texts, or where the comparisons do not tell the
    effect of style from that of the models."""
    where, params = conditions(query)
    texts = store.query(
        "SELECT count(*) AS n FROM comparisons c JOIN battles b ON b.id = c.battle_id "  # noqa: S608
        "WHERE c.excluded IS NULL AND (b.conversation_a IS NOT NULL OR b.id IN (SELECT battle_id FROM generations))"
        + where.replace(" AND ", " AND c."),
        params,
    )["n"][0].as_py()
    if texts < ENOUGH:
        return None
    try:
        found = rate(store, board.model_copy(update={"style_control": True, "position_bias": False})).board
    except Unidentified:
        return None
    if not found.style or found.votes < ENOUGH:
        return None
    return Style(found.votes, found.style, tuple(row for row in found.models if row.rating is not None))
