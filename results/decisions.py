"""Whether one model is better than another: by how much, how sure that is, and how many votes would decide it."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict
from scipy.special import betaincinv, expit, ndtri

from results.leaderboard import Rated
from results.leaderboard_pairs import head_to_head
from results.ratings import BradleyTerry, PairCounts, predict

POWER = 0.8
"""The chance with which the extra votes would decide, if the gap is what it is now."""
HOPELESS = 50
"""Where more than this many times the votes were needed, no number is given: the two are as good as equal."""

Answer = Literal["better", "worse", "undecided", "as_good", "unknown"]


class Gap(BaseModel):
    """A model above another, by the ratings of all comparisons. `probability` is P(it beats the other), a tie
    counting half. `more_votes` are votes spread over all pairs as so far, `direct_battles` between the two alone; None
    where it is decided, or where more than `HOPELESS` times the votes were needed."""

    model_config = ConfigDict(frozen=True)

    gap: float
    probability: float
    lower: float
    upper: float
    decided: bool
    more_votes: int | None
    direct_battles: int | None


class Decision(BaseModel):
    """Whether `model` is better than `opponent`.

    `probability` is P(model beats opponent), a tie counting half, with its interval at `level`: by the ratings of all
    comparisons (`basis` "ratings"), or where these cannot place one of the two (it won or lost everything, say) by its
    share of the points in their `battles` ("battles"). `more_battles` between the two alone, and `more_votes` spread
    over all pairs as so far, would decide it with 80% chance if the gap is what it is now. "as_good": more than 50
    times the votes were needed; "unknown": nothing compares the two.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    opponent: str
    answer: Answer
    basis: Literal["ratings", "battles"] | None
    level: float
    battles: int
    wins: int
    losses: int
    ties: int
    probability: float | None
    lower: float | None
    upper: float | None
    more_battles: int | None = None
    more_votes: int | None = None


def decide(rated: Rated, model: str, opponent: str) -> Decision:
    """What a leaderboard says about two of its models. Raises UnknownModel, and ValueError for one against itself."""
    pair = head_to_head(rated, model, opponent)
    told = {
        "model": pair.model, "opponent": pair.opponent, "level": rated.query.level, "battles": pair.votes,
        "wins": pair.wins, "losses": pair.losses, "ties": pair.ties,
    }  # fmt: skip
    if pair.probability is not None and pair.lower is not None and pair.upper is not None:
        answer: Answer = "better" if pair.lower > 0.5 else "worse" if pair.upper < 0.5 else "undecided"
        more: dict[str, int | None] = {}
        if answer == "undecided" and rated.fit is not None:
            i, j = rated.index(model), rated.index(opponent)
            first, second = (i, j) if pair.probability >= 0.5 else (j, i)
            gap = gap_between(rated.counts, rated.fit, first, second, dispersion(rated.counts, rated.fit))
            more = {"more_votes": gap.more_votes, "more_battles": gap.direct_battles}
            answer = "undecided" if gap.direct_battles is not None else "as_good"
        return Decision(
            **told, answer=answer, basis="ratings", probability=pair.probability, lower=pair.lower,
            upper=pair.upper, **more,
        )  # fmt: skip
    if not pair.votes:
        return Decision(**told, answer="unknown", basis=None, probability=None, lower=None, upper=None)
    points = pair.wins + pair.ties / 2
    lower, upper = _exact(points, pair.votes, rated.query.level)
    answer = "better" if lower > 0.5 else "worse" if upper < 0.5 else "undecided"
    all_one_way = answer == "undecided" and pair.votes in (pair.wins, pair.losses)
    return Decision(
        **told, answer=answer, basis="battles", probability=points / pair.votes, lower=lower, upper=upper,
        more_battles=_enough_won(rated.query.level) - pair.votes if all_one_way else None,
    )  # fmt: skip


def gap_between(counts: PairCounts, fit: BradleyTerry, first: int, other: int, overdispersion: float) -> Gap:
    """How far `first` is above `other`, and what would decide it. `overdispersion` is `dispersion(counts, fit)`."""
    expected = predict(fit, first, other)
    unit = fit.scale / math.log(10)
    gap = float(fit.ratings[first] - fit.ratings[other]) / unit
    covariance = fit.covariance
    variance = covariance[first, first] + covariance[other, other] - 2 * covariance[first, other]
    error = math.sqrt(max(variance, 0.0)) / unit
    z = float(ndtri(0.5 + fit.level / 2))
    decided = expected.lower > 0.5
    more = direct = None
    target = gap / (z + float(ndtri(POWER)))
    # The error falls with the square root of the votes: (error / target)^2 times as many are needed.
    times = (error / target) ** 2 if target > 0 else math.inf
    if not decided and times <= HOPELESS:
        p = float(expit(gap))
        per_vote = overdispersion / (p * (1 - p))
        more = max(1, math.ceil(counts.total * (times - 1)))
        direct = max(1, math.ceil(per_vote * (1 / target**2 - 1 / error**2)))
    return Gap(
        gap=gap * unit,
        probability=expected.probability,
        lower=expected.lower,
        upper=expected.upper,
        decided=decided,
        more_votes=more,
        direct_battles=direct,
    )


def dispersion(counts: PairCounts, fit: BradleyTerry) -> float:
    """Residual variance of a comparison against that of a coin with the fitted probability (ties make it
    smaller), over the rated models."""
    rated = fit.rated
    inner = counts.subset(rated)
    t = fit.ratings[rated] * math.log(10) / fit.scale
    p = expit(t[:, None] - t[None, :])
    residual = (inner.wins * (1 - p) ** 2 + inner.wins.T * p**2 + inner.ties * (0.5 - p) ** 2).sum()
    return float(residual / (inner.games * p * (1 - p)).sum())


def _exact(points: float, n: int, level: float) -> tuple[float, float]:
    """The Clopper-Pearson (1934) interval of a share of points: where few battles all went one way, Wilson's promises
    too much."""
    tail = (1 - level) / 2
    lower = float(betaincinv(points, n - points + 1, tail)) if points else 0.0
    upper = float(betaincinv(points + 1, n - points, 1 - tail)) if points < n else 1.0
    return lower, upper


def _enough_won(level: float) -> int:
    """Battles that, all won, decide: (tail)^(1/n) > 1/2."""
    return math.floor(math.log2(2 / (1 - level))) + 1
