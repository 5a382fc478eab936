"""Ratings on arrays: which model beats which, how surely, and what the votes cannot tell. Pure NumPy and
SciPy.

A dataset (`PairCounts`) is apart from the models that are fitted to it (`elo`, `bradley_terry`).
"""

from results.ratings.bradley_terry import BradleyTerry, Prediction, bradley_terry, predict, rank_bounds
from results.ratings.counts import A_WON, B_WON, OUTCOME, TIE, PairCounts
from results.ratings.elo import elo, elo_predict
from results.ratings.rateability import REASONS, Rateability, Status, rateability

__all__ = [
    "A_WON",
    "B_WON",
    "OUTCOME",
    "REASONS",
    "TIE",
    "BradleyTerry",
    "PairCounts",
    "Prediction",
    "Rateability",
    "Status",
    "bradley_terry",
    "elo",
    "elo_predict",
    "predict",
    "rank_bounds",
    "rateability",
]
