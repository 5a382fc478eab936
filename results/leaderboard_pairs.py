"""Two models, or two leaderboards, beside each other: head to head with the battles behind the number, win
shares of all pairs, and people against judges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from scipy.special import ndtri

from results.leaderboard import Rated
from results.leaderboard_data import Filter
from results.ratings import BradleyTerry, predict
from results.records import Side, Source, UtcTime, now
from results.store import CHANGE_WINDOW

if TYPE_CHECKING:
    from results.store import Store

Floats = npt.NDArray[np.float64]


class HeadToHead(BaseModel):
    """How a model does against another. `wins`, `losses` and `ties` are of `model` in their direct
    comparisons, `share` is the share of points it won (a tie is half) with a Wilson interval; null where they
    never met. `probability` is P(model beats opponent), a tie counting half, by the ratings of all comparisons,
    with its interval; null where one of them is not rated."""

    model_config = ConfigDict(frozen=True)

    model: str
    opponent: str
    votes: int
    wins: int
    losses: int
    ties: int
    share: float | None
    share_lower: float | None
    share_upper: float | None
    probability: float | None
    lower: float | None
    upper: float | None


class PairBattle(BaseModel):
    """One comparison of a pair: `winner` is the name of the model that won, null for `tie` and `both_bad`;
    `side` is where `model` sat. `judge` is null for a person's vote."""

    model_config = ConfigDict(frozen=True)

    battle_id: str
    time: UtcTime
    source: Source
    judge: str | None
    side: Side
    verdict: Literal["a", "b", "tie", "both_bad"]
    winner: str | None
    category: str
    language: str
    prompt: str | None


@dataclass(frozen=True, eq=False)
class PairMatrix:
    """All pairs of `names`, best first: `share[i, j]` is the share of points i won against j (a tie is half),
    NaN where they never met; `count[i, j]` how often they met. Shape (n, n) each."""

    names: tuple[str, ...]
    share: Floats
    count: Floats


class Difference(BaseModel):
    """A model's rating by two leaderboards, both moved to mean 1000 over the models that both rate, and by how
    much the first is higher, with its interval (for comparisons that they do not share)."""

    model_config = ConfigDict(frozen=True)

    model: str
    first: float
    second: float
    difference: float
    lower: float
    upper: float
    clear: bool


def head_to_head(rated: Rated, model: str, opponent: str) -> HeadToHead:
    """Two models of a leaderboard. Raises UnknownModel, and ValueError for one model against itself."""
    i, j = rated.index(model), rated.index(opponent)
    if i == j:
        raise ValueError(f"{rated.names[i]} cannot meet itself: name another model")
    wins, losses, ties = (
        int(x) for x in (rated.counts.wins[i, j], rated.counts.wins[j, i], rated.counts.ties[i, j])
    )
    votes = wins + losses + ties
    share = _wilson((wins + ties / 2), votes, rated.query.level) if votes else (None, None, None)
    expected = _expected(rated, i, j) or (None, None, None)
    return HeadToHead(
        model=rated.names[i],
        opponent=rated.names[j],
        votes=votes,
        wins=wins,
        losses=losses,
        ties=ties,
        share=share[0],
        share_lower=share[1],
        share_upper=share[2],
        probability=expected[0],
        lower=expected[1],
        upper=expected[2],
    )


def against(rated: Rated, opponent: str) -> list[HeadToHead]:
    """Every shown model of a leaderboard against one, in the leaderboard's order. Raises UnknownModel."""
    name = rated.names[rated.index(opponent)]
    return [head_to_head(rated, row.model, name) for row in rated.board.models if row.model != name]


def battles_of_pair(
    store: Store, rated: Rated, model: str, opponent: str, *, limit: int = 20, before: datetime | None = None
) -> list[PairBattle]:
    """The newest comparisons of two models that the leaderboard counts, newest first.

    Votes that can still be changed are left out: a voter must not find the names of a battle that is not
    settled. Raises UnknownModel, StoreError.
    """
    i, j = rated.index(model), rated.index(opponent)
    present, groups = rated.selected.present, rated.selected.groups.of_version
    ours, theirs = (np.flatnonzero(groups == present[x]).tolist() for x in (i, j))
    chosen = Filter.of(rated.query)
    table = store.query(
        "SELECT c.*, text FROM (SELECT id, battle_id, version_a, verdict, source, judge, category, language, "  # noqa: S608
        "time, seq FROM comparisons WHERE excluded IS NULL AND ((list_contains(?, version_a) AND "
        "list_contains(?, version_b)) OR (list_contains(?, version_b) AND list_contains(?, version_a))) "
        f"AND time < ?{chosen.sql} ORDER BY time DESC, seq DESC LIMIT ?) c "
        "LEFT JOIN battles b ON b.id = c.battle_id LEFT JOIN items i ON i.id = b.item_id "
        "ORDER BY c.time DESC, c.seq DESC",
        (ours, theirs, ours, theirs, before or now() - CHANGE_WINDOW, *chosen.params, limit),
    )
    names = rated.names[i], rated.names[j]
    found = []
    for row in table.to_pylist():
        side: Side = "a" if row["version_a"] in ours else "b"
        verdict = row["verdict"]
        winner = None if verdict not in ("a", "b") else names[0] if verdict == side else names[1]
        found.append(
            PairBattle(
                battle_id=str(row["battle_id"]),
                time=row["time"],
                source=row["source"],
                judge=row["judge"] or None,
                side=side,
                verdict=verdict,
                winner=winner,
                category=row["category"],
                language=row["language"],
                prompt=row["text"],
            )
        )
    return found


def pair_matrix(rated: Rated, most: int | None = None) -> PairMatrix:
    """Win shares and counts of all pairs of the leaderboard's (first `most`) models, in its order."""
    names = tuple(row.model for row in rated.board.models)[:most]
    order = [rated.names.index(name) for name in names]
    counts = rated.counts.subset(order)
    games = counts.games
    share = np.full_like(games, np.nan)
    np.divide(counts.wins + counts.ties / 2, games, out=share, where=games > 0)
    return PairMatrix(names, share, games)


def difference(first: Rated, second: Rated) -> list[Difference]:
    """Two Bradley-Terry leaderboards of different comparisons, model by model, largest difference first; empty
    where they rate fewer than two models in common. Raises ValueError for Elo, which has no intervals."""
    if first.fit is None or second.fit is None:
        raise ValueError("a difference with intervals needs two Bradley-Terry leaderboards")
    common = sorted(_rated_names(first) & _rated_names(second))
    if len(common) < 2:
        return []
    ratings, variances = zip(
        *(_centred(rated.fit, [rated.names.index(name) for name in common])
          for rated in (first, second) if rated.fit is not None),
        strict=True,
    )  # fmt: skip
    gap = ratings[0] - ratings[1]
    half = float(ndtri(0.5 + first.query.level / 2)) * np.sqrt(variances[0] + variances[1])
    rows = [
        Difference(
            model=name,
            first=1000 + float(ratings[0][k]),
            second=1000 + float(ratings[1][k]),
            difference=float(gap[k]),
            lower=float(gap[k] - half[k]),
            upper=float(gap[k] + half[k]),
            clear=bool(abs(gap[k]) > half[k]),
        )
        for k, name in enumerate(common)
    ]
    return sorted(rows, key=lambda row: -abs(row.difference))


def _rated_names(rated: Rated) -> set[str]:
    return set() if rated.fit is None else {rated.names[i] for i in rated.fit.rated}


def _centred(fit: BradleyTerry, indices: Sequence[int]) -> tuple[Floats, Floats]:
    """Ratings of some models around their own mean, and the variances of these."""
    ratings = fit.ratings[indices]
    spread = fit.covariance[np.ix_(indices, indices)]
    centred = spread - spread.mean(axis=0) - spread.mean(axis=1, keepdims=True) + spread.mean()
    return ratings - ratings.mean(), np.maximum(np.diag(centred), 0.0)


def _expected(rated: Rated, i: int, j: int) -> tuple[float, float, float] | None:
    fit = rated.fit
    if fit is None or not (math.isfinite(fit.ratings[i]) and math.isfinite(fit.ratings[j])):
        return None
    if rated.ties is None:
        prediction = predict(fit, i, j)
        return prediction.probability, prediction.lower, prediction.upper
    variance = fit.covariance[i, i] + fit.covariance[j, j] - 2 * fit.covariance[i, j]
    half = float(ndtri(0.5 + fit.level / 2)) * math.sqrt(max(variance, 0.0))
    gap = float(fit.ratings[i] - fit.ratings[j])
    # The expected score grows with the gap, so that the ends of the gap's interval are the ends of its own.
    won, tied, _ = zip(*map(rated.ties.outcomes_at, (gap, gap - half, gap + half)), strict=True)
    score = [w + t / 2 for w, t in zip(won, tied, strict=True)]
    return score[0], score[1], score[2]


def _wilson(points: float, n: int, level: float) -> tuple[float, float, float]:
    """A share of points with its Wilson (1927) score interval; with ties (half points) it is a little wide."""
    z = float(ndtri(0.5 + level / 2))
    p = points / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return p, max(0.0, centre - half), min(1.0, centre + half)
