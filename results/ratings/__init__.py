"""Ratings on arrays: which model beats which, how surely, and what the votes cannot tell. Pure NumPy and
SciPy.

A dataset (`PairCounts`) is apart from the models that are fitted to it: `elo`, `bradley_terry`,
`rate_with_ties` (ties of their own, position bias) and `rate_with_style` (covariates).
"""

from results.ratings._newton import Unidentified
from results.ratings.bradley_terry import BradleyTerry, Prediction, bradley_terry, predict
from results.ratings.counts import A_WON, B_WON, OUTCOME, TIE, PairCounts
from results.ratings.elo import elo, elo_predict
from results.ratings.ranks import rank_bounds
from results.ratings.rateability import REASONS, Rateability, Status, rateability
from results.ratings.resampling import Bootstrap, bootstrap
from results.ratings.style import StyleFit, normalised_difference, rate_with_style
from results.ratings.ties import Estimate, TieFit, TieModel, rate_with_ties
from results.ratings.weights import (
    capped_weights,
    decay_weights,
    inverse_probability_weights,
    window_weights,
)

__all__ = [
    "A_WON",
    "B_WON",
    "OUTCOME",
    "REASONS",
    "TIE",
    "Bootstrap",
    "BradleyTerry",
    "Estimate",
    "PairCounts",
    "Prediction",
    "Rateability",
    "Status",
    "StyleFit",
    "TieFit",
    "TieModel",
    "Unidentified",
    "bootstrap",
    "bradley_terry",
    "capped_weights",
    "decay_weights",
    "elo",
    "elo_predict",
    "inverse_probability_weights",
    "normalised_difference",
    "predict",
    "rank_bounds",
    "rate_with_style",
    "rate_with_ties",
    "rateability",
    "window_weights",
]
