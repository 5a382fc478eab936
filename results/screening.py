"""Voters whose verdicts cannot come from comparing answers, found by tests that may be repeated after every vote.

Each voter is a hypothesis: "decides as the ratings say, more or less sharply, with ties as often as they like and
a slight preference for a side". Against it stand alternatives: verdicts by chance, against the ratings, by side,
by length, for or against one model, or nearly always a tie. The mixture of the alternatives' likelihoods, divided
by the best likelihood that the hypothesis can reach, is an e-value (universal inference: Wasserman, Ramdas,
Balakrishnan 2020, PNAS 117; anytime-valid by Ville's inequality: Ramdas et al. 2023, Statistical Science 38). Over
many voters e-BH bounds the expected share of wrongly flagged ones among the flagged (Wang and Ramdas 2022, JRSS B
84), whatever their dependence. The idea of testing voters sequentially is Chatbot Arena's (Chiang et al. 2024,
arXiv:2403.04132, section 5), which combines p-values of outcomes by Fisher's method instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logsumexp

Reason = Literal["random", "contrarian", "position", "length", "partisan", "constant"]

REASONS: tuple[Reason, ...] = ("random", "contrarian", "position", "length", "partisan", "constant")

# What an honest voter may be: from half to three times as sharp as the ratings say, and inclined to one side by
# up to odds of 1.65; a part of the verdicts is taste that ratings do not know.
_SHARPNESS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
_INCLINATION = (-0.5, -0.25, 0.0, 0.25, 0.5)
_TASTE = 0.1
_SURE = 0.95
_TIES_AT_MOST = tuple(np.linspace(0.02, 0.8, 14))
_NEARLY_ALWAYS = 0.98
# A model that the voter met less often says nothing of a preference for it.
_LEAST_MEETINGS = 8

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class VoterVotes:
    """One voter's n votes in order. `log_odds` of a against b by the ratings (NaN where one is not rated),
    `verdict` +1 for a, -1 for b, 0 for a tie, `longer` +1 where a's answer is longer, -1 where b's is, 0 where
    they are equal or unknown; `model_a` and `model_b` are any integers. All have shape (n,)."""

    log_odds: Floats
    verdict: npt.NDArray[np.int8]
    longer: npt.NDArray[np.int8]
    model_a: npt.NDArray[np.int64]
    model_b: npt.NDArray[np.int64]


@dataclass(frozen=True)
class VoterScore:
    """Evidence against a voter: the logarithm of the e-value of all votes so far, the p-value of the most
    suspicious moment (valid at any time one looks), and the alternative that explains the votes best."""

    log_e: float
    p_value: float
    reason: Reason
    votes: int


def score_voter(votes: VoterVotes) -> VoterScore:
    """Test one voter. Under the hypothesis the e-value has expectation at most 1, and the p-value is at most
    alpha with probability at most alpha, however long one waits."""
    names: list[Reason] = []
    weights: list[float] = []
    paths: list[Floats] = []
    decided = _decided(votes)
    steps = len(votes.verdict)
    if decided.any():
        null = _along_max(_null(votes, decided), decided, steps)
        for group in _alternatives(votes, decided):
            for path in group.likelihoods:
                names.append(group.reason)
                weights.append(1.0 / len(group.likelihoods))
                paths.append(_along(path, decided, steps) - null)
    names.append("constant")
    weights.append(1.0)
    paths.append(_ties(votes))
    log_weights = np.log(np.asarray(weights) / np.sum(weights))
    matrix = np.stack(paths) + log_weights[:, None]
    evidence = np.asarray(logsumexp(matrix, axis=0))
    highest = float(evidence.max(initial=0.0))
    last = matrix[:, -1] if steps else log_weights
    by_reason = {
        reason: float(logsumexp([last[i] for i, name in enumerate(names) if name == reason]))
        for reason in set(names)
    }
    best = max(REASONS, key=lambda reason: by_reason.get(reason, -np.inf))
    return VoterScore(
        log_e=float(evidence[-1]) if steps else 0.0,
        p_value=float(np.exp(min(0.0, -highest))),
        reason=best,
        votes=steps,
    )


def e_bh(log_e: Floats, fdr: float) -> npt.NDArray[np.bool_]:
    """Which of K hypotheses to reject so that the false discovery rate is at most `fdr` under any dependence:
    the k largest e-values where the k-th is at least K / (k fdr), for the largest such k. Shape (K,)."""
    count = len(log_e)
    if not count:
        return np.zeros(0, bool)
    order = np.argsort(-log_e, kind="stable")
    place = np.arange(1, count + 1)
    enough = np.flatnonzero(log_e[order] >= np.log(count) - np.log(place) - np.log(fdr))
    rejected = np.zeros(count, bool)
    if len(enough):
        rejected[order[: enough[-1] + 1]] = True
    return rejected


def bursts(seconds: Floats, *, most: int, within: float) -> npt.NDArray[np.bool_]:
    """Which of a voter's votes lie in a window of `within` seconds that holds more than `most` of them.
    `seconds` in ascending order, shape (n,)."""
    count = len(seconds)
    flagged = np.zeros(count + 1, np.int64)
    end = np.searchsorted(seconds, seconds + within, side="left")
    start = np.arange(count)
    many = end - start > most
    np.add.at(flagged, start[many], 1)
    np.add.at(flagged, end[many], -1)
    return np.asarray(np.cumsum(flagged)[:-1] > 0)


@dataclass(frozen=True)
class _Group:
    """Alternatives of one reason, as log-likelihoods of the decided votes."""

    reason: Reason
    likelihoods: list[Floats]


def _decided(votes: VoterVotes) -> npt.NDArray[np.bool_]:
    return np.asarray((votes.verdict != 0) & np.isfinite(votes.log_odds), bool)


def _null(votes: VoterVotes, decided: npt.NDArray[np.bool_]) -> Floats:
    """Log-likelihoods under each member of the hypothesis; shape (members, decided votes)."""
    odds, sign = votes.log_odds[decided], votes.verdict[decided]
    sharpness, inclination = (grid.ravel() for grid in np.meshgrid(_SHARPNESS, _INCLINATION))
    agree = expit((sharpness[:, None] * odds + inclination[:, None]) * sign)
    return np.asarray(np.log((1 - _TASTE) * agree + _TASTE / 2))


def _alternatives(votes: VoterVotes, decided: npt.NDArray[np.bool_]) -> list[_Group]:
    odds, sign = votes.log_odds[decided], votes.verdict[decided].astype(np.float64)
    longer = votes.longer[decided].astype(np.float64)
    honest = np.log((1 - _TASTE) * expit(odds * sign) + _TASTE / 2)
    groups = [
        _Group("random", [np.full(len(sign), np.log(0.5))]),
        _Group("contrarian", [np.log((1 - _TASTE) * expit(-odds * sign) + _TASTE / 2)]),
        _Group("position", [_leaning(sign), _leaning(-sign)]),
    ]
    if longer.any():
        by_length = [np.where(longer == 0, np.log(0.5), _leaning(sign * longer * way)) for way in (1.0, -1.0)]
        groups.append(_Group("length", by_length))
    sides = votes.model_a[decided], votes.model_b[decided]
    met, meetings = np.unique(np.concatenate(sides), return_counts=True)
    partisan: list[Floats] = []
    for model in met[meetings >= _LEAST_MEETINGS]:
        favour = (sides[0] == model).astype(np.float64) - (sides[1] == model)
        partisan += [np.where(favour == 0, honest, _leaning(sign * favour * way)) for way in (1.0, -1.0)]
    if partisan:
        groups.append(_Group("partisan", partisan))
    return groups


def _leaning(direction: Floats) -> Floats:
    """Log-likelihood of votes by a rule that is nearly always followed: +1 followed, -1 not."""
    return np.where(direction > 0, np.log(_SURE), np.log(1 - _SURE))


def _ties(votes: VoterVotes) -> Floats:
    """Log e-value, after each vote, of nearly always finding a tie, against any smaller inclination to ties."""
    tied = np.cumsum(votes.verdict == 0)
    other = np.arange(1, len(votes.verdict) + 1) - tied
    rates = np.asarray(_TIES_AT_MOST)
    best = (np.log(rates)[:, None] * tied + np.log1p(-rates)[:, None] * other).max(axis=0)
    return np.asarray(np.log(_NEARLY_ALWAYS) * tied + np.log1p(-_NEARLY_ALWAYS) * other - best)


def _along(likelihood: Floats, decided: npt.NDArray[np.bool_], steps: int) -> Floats:
    """The cumulative log-likelihood after each of the `steps` votes; ties add nothing."""
    path = np.zeros(steps)
    path[decided] = likelihood
    return np.asarray(np.cumsum(path))


def _along_max(null: Floats, decided: npt.NDArray[np.bool_], steps: int) -> Floats:
    return np.asarray(np.stack([_along(member, decided, steps) for member in null]).max(axis=0))
