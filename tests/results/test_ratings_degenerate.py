"""What ratings say where votes cannot tell: no made-up number, a reason, a bound where one exists."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit

from results.ratings import PairCounts, bradley_terry, elo, predict, rank_bounds, rateability

UNIT = 400 / math.log(10)


def counts(models: int, *rows: tuple[int, int, int, int]) -> PairCounts:
    a, b, outcome, n = ([row[k] for row in rows] for k in range(4))
    return PairCounts.of(a, b, outcome, models, count=n)


def test_no_votes_at_all() -> None:
    fit = bradley_terry(counts(3))
    assert fit.status == ("no_votes",) * 3
    assert np.isnan(fit.ratings).all()
    assert rank_bounds(fit)[0].tolist() == [0, 0, 0]
    assert bradley_terry(counts(0)).status == ()
    assert np.isnan(elo([], 3)).all()


def test_an_undefeated_model_has_a_lower_bound_and_no_rating() -> None:
    fit = bradley_terry(counts(3, (0, 1, 0, 10), (1, 2, 0, 5), (2, 1, 0, 5)))
    assert fit.status == ("undefeated", "rated", "rated")
    assert math.isnan(fit.ratings[0])
    assert math.isnan(fit.upper[0])
    # Ten wins of ten: at the bound, they had probability 5 %.
    chance = expit((fit.lower[0] - fit.ratings[1]) / UNIT)
    assert chance**10 == pytest.approx(0.05, rel=1e-9)
    assert fit.ratings[1:].tolist() == pytest.approx([1000, 1000])
    with pytest.raises(ValueError, match="two rated models"):
        predict(fit, 0, 1)


def test_a_winless_model_has_an_upper_bound_against_several_opponents() -> None:
    rows = ((0, 1, 2, 4), (2, 0, 0, 3), (1, 2, 0, 6), (2, 1, 0, 2))
    fit = bradley_terry(counts(3, *rows))
    assert fit.status == ("winless", "rated", "rated")
    losing = [expit((fit.ratings[j] - fit.upper[0]) / UNIT) for j in (1, 2)]
    assert losing[0] ** 4 * losing[1] ** 3 == pytest.approx(0.05, rel=1e-9)


def test_one_tie_makes_a_model_rateable() -> None:
    fit = bradley_terry(counts(3, (0, 1, 0, 10), (0, 1, 1, 1), (1, 2, 0, 5), (2, 1, 0, 5)))
    assert fit.status == ("rated",) * 3
    assert fit.ratings[0] - fit.ratings[1] == pytest.approx(UNIT * math.log(10.5 / 0.5), abs=1e-6)


def test_a_chain_of_winners_rates_nobody() -> None:
    fit = bradley_terry(counts(3, (0, 1, 0, 9), (1, 2, 0, 9)))
    assert fit.status == ("unplaced",) * 3
    assert len(fit.rated) == 0


def test_islands_are_told_apart_and_the_larger_one_is_rated() -> None:
    fit = bradley_terry(
        counts(6, (0, 1, 1, 3), (1, 2, 1, 3), (3, 4, 0, 50), (4, 3, 0, 50))
    )  # fmt: skip
    assert fit.status == ("rated", "rated", "rated", "apart", "apart", "no_votes")
    assert fit.component[0] == fit.component[2] != fit.component[3] == fit.component[4]
    assert fit.component[5] == -1
    island = bradley_terry(counts(6, (3, 4, 0, 50), (4, 3, 0, 50)).subset([3, 4]))
    assert island.ratings.tolist() == pytest.approx([1000, 1000])


def test_undefeated_through_others_has_no_bound_of_its_own() -> None:
    # 0 beat only 1, 1 beat the rated pair {2, 3}; 4 lost to 0 and met nobody else.
    rows = ((0, 1, 0, 5), (1, 2, 0, 5), (2, 3, 0, 5), (3, 2, 0, 5), (0, 4, 0, 1))
    fit = bradley_terry(counts(5, *rows))
    assert fit.status == ("undefeated", "undefeated", "rated", "rated", "unplaced")
    assert math.isnan(fit.lower[0])
    assert math.isfinite(fit.lower[1])


def test_all_ties_give_an_interval_of_some_width() -> None:
    fit = bradley_terry(counts(2, (0, 1, 1, 5)))
    assert fit.ratings.tolist() == pytest.approx([1000, 1000])
    assert fit.upper[0] - fit.lower[0] > 100


def test_lopsided_counts_still_converge() -> None:
    million = 10**6
    rows = [(i, i + 1, 0, million) for i in range(20)] + [(20, 0, 0, 1)]
    fit = bradley_terry(counts(21, *rows))
    assert fit.status == ("rated",) * 21
    assert (np.diff(fit.ratings) < 0).all()
    pair = bradley_terry(counts(2, (0, 1, 0, million), (0, 1, 2, 1)))
    assert pair.ratings[0] - pair.ratings[1] == pytest.approx(UNIT * math.log(million), abs=1e-5)


def test_wrong_input_is_refused() -> None:
    for rows, message in (
        ([(0, 3, 0, 1)], "model indices"),
        ([(0, 1, 5, 1)], "outcome codes"),
        ([(1, 1, 0, 1)], "itself"),
        ([(0, 1, 0, -1)], "not negative"),
    ):
        with pytest.raises(ValueError, match=message):
            counts(3, *rows)
    with pytest.raises(ValueError, match="level"):
        bradley_terry(counts(2), level=1.0)
    with pytest.raises(ValueError, match="k must"):
        elo([], 2, k=1e6)


def test_rateability_prefers_more_models_then_more_comparisons() -> None:
    found = rateability(counts(4, (0, 1, 1, 9), (2, 3, 1, 10)))
    assert found.rated.tolist() == [2, 3]
