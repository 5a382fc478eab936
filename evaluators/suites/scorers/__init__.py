"""Scorers by name: pure functions from an answer and a case to metrics."""

from __future__ import annotations

import difflib

from evaluators.suites.errors import SuiteError
from evaluators.suites.scorers import (
    abstention,
    calls,
    choice,
    code,
    constraints,
    judged,
    numeric,
    overlap,
    structured,
    text,
)
from evaluators.suites.scorers.base import Answer, Case, Fields, Grade, Options, Scored, ScoredItem, Scorer

SCORERS: dict[str, Scorer] = {
    scorer.name: scorer
    for module in (text, numeric, choice, structured, overlap, abstention, constraints, calls, judged, code)
    for scorer in module.SCORERS
}


def scorer_named(name: str) -> Scorer:
    """The scorer of that name. Raises SuiteError naming the nearest."""
    if name not in SCORERS:
        close = difflib.get_close_matches(name, SCORERS, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(SCORERS)}"
        raise SuiteError(f"there is no scorer '{name}': {hint}")
    return SCORERS[name]


__all__ = [
    "SCORERS",
    "Answer",
    "Case",
    "Fields",
    "Grade",
    "Options",
    "Scored",
    "ScoredItem",
    "Scorer",
    "scorer_named",
]
