"""Ties of their own, position, style, bootstrap, ranks and weights: against likelihoods and designs written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from results.ratings import (
    PairCounts,
    TieModel,
    Unidentified,
    bootstrap,
    bradley_terry,
    capped_weights,
    decay_weights,
    inverse_probability_weights,
    normalised_difference,
    rank_bounds,
    rate_with_style,
    rate_with_ties,
    window_weights,
)
from results.ratings.resampling import resample

UNIT = 400 / math.log(10)
Votes = tuple[np.ndarray, np.ndarray, np.ndarray, int]


def arena(
    seed: int, votes: int, models: int = 6, *, tie: float = 0.7, side: float = 0.0, top: float = 1.0
) -> Votes:
    """Votes drawn from Davidson's model; `side` is the advantage of side a in natural units."""
    rng = np.random.default_rng(seed)
    strength = np.linspace(-top, top, models)
    a = rng.integers(0, models, votes)
    b = (a + rng.integers(1, models, votes)) % models
    gap = strength[a] - strength[b] + side
    win, lose = np.exp(gap / 2), np.exp(-gap / 2)
    u = rng.random(votes) * (win + lose + tie)
    return a, b, np.where(u < win, 0, np.where(u < win + tie, 1, 2)), models


@st.composite
def mixed_votes(draw: st.DrawFn) -> Votes:
    """Small data in which every model won, lost and tied, on either side."""
    models = draw(st.integers(2, 5))
    index = st.integers(0, models - 1)
    rows = draw(st.lists(st.tuples(index, index, st.integers(0, 2)), max_size=40))
    ring = [(i, (i + 1) % models, code) for i in range(models) for code in (0, 1, 2)]
    rows = [row for row in rows if row[0] != row[1]] + ring
    a, b, outcome = (np.array([row[k] for row in rows], dtype=np.int64) for k in range(3))
    return a, b, outcome, models


def log_likelihood(model: TieModel, data: Votes, t: np.ndarray, ties: float, side: float) -> float:
    """Straight from the definitions, one comparison at a time."""
    total = 0.0
    for a, b, outcome in zip(*(column.tolist() for column in data[:3]), strict=True):
        d = t[a] - t[b] + side
        if model == "davidson":
            weights = [math.exp(d / 2), math.exp(ties), math.exp(-d / 2)]
            total += math.log(weights[outcome] / sum(weights))
        elif model == "rao_kupper":
            theta = math.exp(ties)
            won, lost = 1 / (1 + theta * math.exp(-d)), 1 / (1 + theta * math.exp(d))
            total += math.log([won, 1 - won - lost, lost][outcome])
        else:
            total += (1 - outcome / 2) * math.log(expit(d)) + outcome / 2 * math.log(expit(-d))
    return total


@pytest.mark.parametrize("model", ["davidson", "rao_kupper", "half"])
@pytest.mark.parametrize("position", [False, True])
@given(mixed_votes())
@settings(max_examples=15, deadline=None)
def test_no_small_change_makes_the_votes_likelier(model: TieModel, position: bool, data: Votes) -> None:
    fit = rate_with_ties(PairCounts.of(*data), model, position=position)
    t = (fit.base.ratings - 1000) / UNIT
    ties = math.log(fit.ties) if fit.ties else 0.0
    side = fit.position.value / UNIT if fit.position else 0.0
    step = 1e-4
    best = log_likelihood(model, data, t, ties, side)
    changes = [(step * np.eye(data[3])[i], 0.0, 0.0) for i in range(data[3])]
    changes += [(np.zeros(data[3]), step, 0.0)] if model != "half" else []
    changes += [(np.zeros(data[3]), 0.0, step)] if position else []
    for dt, dtie, dside in changes:
        for sign in (-1, 1):
            assert log_likelihood(
                model, data, t + sign * dt, ties + sign * dtie, side + sign * dside
            ) <= best + 1e-9 * abs(best)


@given(mixed_votes())
@settings(max_examples=25, deadline=None)
def test_half_wins_are_plain_bradley_terry(data: Votes) -> None:
    counts = PairCounts.of(*data)
    plain, fit = bradley_terry(counts, prior=0), rate_with_ties(counts, "half")
    assert fit.ties is None
    assert fit.base.ratings == pytest.approx(plain.ratings, abs=1e-6)
    assert fit.base.covariance == pytest.approx(plain.covariance, rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("model", ["davidson", "rao_kupper"])
def test_outcomes_are_those_that_were_seen(model: TieModel) -> None:
    data = arena(3, 4000)
    fit = rate_with_ties(PairCounts.of(*data), model)
    a, b, outcome, _ = data
    expected = np.array([fit.outcomes(x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True)])
    assert expected.sum(axis=1) == pytest.approx(1)
    # Both models reproduce the number of ties exactly or nearly so.
    assert expected[:, 1].mean() == pytest.approx((outcome == 1).mean(), abs=0.01)
    if model == "davidson":
        assert fit.ties == pytest.approx(0.7, abs=0.08)


@pytest.mark.parametrize("model", ["davidson", "rao_kupper"])
def test_position_bias_is_found_and_turns_with_the_sides(model: TieModel) -> None:
    a, b, outcome, models = arena(5, 6000, side=0.5)
    fit = rate_with_ties(PairCounts.of(a, b, outcome, models), model, position=True)
    turned = rate_with_ties(PairCounts.of(b, a, 2 - outcome, models), model, position=True)
    assert fit.position is not None
    assert turned.position is not None
    assert turned.position.value == pytest.approx(-fit.position.value, abs=1e-5)
    assert turned.base.ratings == pytest.approx(fit.base.ratings, abs=1e-5)
    if model == "davidson":
        assert fit.position.lower < 0.5 * UNIT < fit.position.upper
    assert fit.position.p_value < 1e-6
    fair = rate_with_ties(PairCounts.of(*arena(6, 6000)), model, position=True)
    assert fair.position is not None
    assert fair.position.lower < 0 < fair.position.upper


def test_davidson_intervals_cover() -> None:
    truth, hits, rounds = 1000 + UNIT * np.linspace(-1, 1, 6), 0, 400
    for seed in range(rounds):
        fit = rate_with_ties(PairCounts.of(*arena(seed, 600))).base
        hits += int(((fit.lower <= truth) & (truth <= fit.upper)).sum())
    assert 0.935 <= hits / (rounds * 6) <= 0.965


def test_tie_models_without_ties_or_with_nothing_else() -> None:
    a, b, outcome, models = arena(7, 500, tie=0.0)
    decisive = PairCounts.of(a, b, outcome, models)
    for model, absent in (("davidson", 0.0), ("rao_kupper", 1.0)):
        fit = rate_with_ties(decisive, model)  # type: ignore[arg-type]
        assert fit.ties == absent
        assert fit.base.ratings == pytest.approx(bradley_terry(decisive).ratings, abs=1e-6)
        assert fit.outcomes(0, 1)[1] == pytest.approx(0)
        even = rate_with_ties(PairCounts.of([0, 1], [1, 2], [1, 1], 3), model)  # type: ignore[arg-type]
        assert even.base.status == ("unplaced",) * 3
    assert rate_with_ties(PairCounts.of([], [], [], 2)).base.status == ("no_votes",) * 2


def test_position_that_cannot_be_told_is_refused() -> None:
    counts = PairCounts.of([0, 0, 0], [1, 1, 1], [0, 1, 2], 2)
    with pytest.raises(Unidentified):
        rate_with_ties(counts, position=True)


# Style


def style_votes(seed: int, votes: int) -> tuple[Votes, np.ndarray]:
    rng = np.random.default_rng(seed)
    models = 5
    strength, taste = np.linspace(-0.8, 0.8, models), np.array([0.6, -0.3])
    a = rng.integers(0, models, votes)
    b = (a + rng.integers(1, models, votes)) % models
    # Better models also write more: what style control must not credit to style.
    x = rng.normal(0, 1, (votes, 2))
    x[:, 0] += strength[a] - strength[b]
    p = expit(strength[a] - strength[b] + x @ taste)
    outcome = np.where(rng.random(votes) < p, 0, 2)
    outcome[rng.random(votes) < 0.15] = 1
    return (a, b, outcome, models), x


def by_rows(data: Votes, x: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted logistic regression on the full design matrix, and its sandwich covariance."""
    a, b, outcome, models = data
    z = np.zeros((len(a), models + x.shape[1]))
    z[np.arange(len(a)), a] += 1
    z[np.arange(len(a)), b] -= 1
    z[:, models:] = x
    theta = np.zeros(z.shape[1])
    for _ in range(50):
        p = expit(z @ theta)
        bread = np.linalg.pinv((z * (weight * p * (1 - p))[:, None]).T @ z)
        theta = theta + bread @ (z.T @ (weight * (1 - outcome / 2 - p)))
    p = expit(z @ theta)
    meat = (z * ((weight * (1 - outcome / 2 - p)) ** 2)[:, None]).T @ z
    return theta, np.asarray(bread @ meat @ bread)


@pytest.mark.parametrize("weighted", [False, True])
def test_style_control_equals_regression_on_the_full_design(weighted: bool) -> None:
    data, x = style_votes(1, 3000)
    weight = np.random.default_rng(0).uniform(0.2, 3, 3000) if weighted else None
    fit = rate_with_style(*data[:3], x, data[3], names=["length", "bold"], weight=weight)
    theta, cov = by_rows(data, x, np.ones(3000) if weight is None else weight)
    strength = theta[:5] - theta[:5].mean()
    assert fit.base.ratings == pytest.approx(1000 + UNIT * strength, abs=1e-6)
    assert fit.base.covariance == pytest.approx(cov[:5, :5] * UNIT**2, rel=1e-6, abs=1e-6)
    for k, name in enumerate(("length", "bold")):
        assert fit.coefficients[name].value == pytest.approx(theta[5 + k], abs=1e-8)
        assert fit.coefficients[name].error == pytest.approx(math.sqrt(cov[5 + k, 5 + k]), rel=1e-6)


def test_style_control_takes_style_out_of_the_ratings() -> None:
    data, x = style_votes(2, 20_000)
    outcome = data[2]
    decisive = outcome != 1
    a, b, o = (column[decisive] for column in data[:3])
    fit = rate_with_style(a, b, o, x[decisive], data[3], names=["length", "bold"])
    assert fit.coefficients["length"].lower < 0.6 < fit.coefficients["length"].upper
    assert fit.coefficients["bold"].lower < -0.3 < fit.coefficients["bold"].upper
    truth = 1000 + UNIT * np.linspace(-0.8, 0.8, 5)
    assert fit.base.ratings == pytest.approx(truth, abs=20)
    plain = bradley_terry(PairCounts.of(a, b, o, data[3]))
    assert plain.ratings[4] - plain.ratings[0] > fit.base.ratings[4] - fit.base.ratings[0] + 20


def test_style_of_models_that_cannot_be_rated_and_of_no_votes() -> None:
    data, x = style_votes(3, 400)
    a = np.append(data[0], [5, 5])
    b, outcome = np.append(data[1], [0, 1]), np.append(data[2], [0, 0])
    both = np.vstack([x, [[9.0, 9.0], [9.0, 9.0]]])
    fit = rate_with_style(a, b, outcome, both, 7, names=["length", "bold"])
    assert fit.base.status == ("rated",) * 5 + ("undefeated", "no_votes")
    alone = rate_with_style(*data[:3], x, 5, names=["length", "bold"])
    assert fit.base.ratings[:5] == pytest.approx(alone.base.ratings)
    assert rate_with_style([], [], [], np.empty((0, 1)), 2, names=["x"]).coefficients == {}


def test_covariates_that_say_nothing_or_everything_are_refused() -> None:
    data, x = style_votes(4, 300)
    with pytest.raises(Unidentified):
        rate_with_style(*data[:3], np.column_stack([x[:, 0], 2 * x[:, 0]]), 5, names=["one", "twice"])
    with pytest.raises(Unidentified):
        rate_with_style(*data[:3], (1 - data[2])[:, None] * 1.0, 5, names=["the verdict itself"])
    with pytest.raises(ValueError, match="one row per comparison"):
        rate_with_style(*data[:3], x[:10], 5, names=["length", "bold"])


def test_normalised_differences() -> None:
    d = normalised_difference([10, 0, 30], [10, 0, 10])
    assert d[:2].tolist() == [0, 0]
    assert d.std() == pytest.approx(1)
    assert normalised_difference([10, 0, 10], [10, 0, 30]) == pytest.approx(-d)
    with pytest.raises(ValueError, match="negative"):
        normalised_difference([-1], [1])


# Bootstrap and ranks


def test_bootstrap_agrees_with_the_sandwich_and_with_itself() -> None:
    counts = PairCounts.of(*arena(8, 3000))
    fit, drawn = bradley_terry(counts), bootstrap(counts, 400, seed=1)
    assert drawn.failed == 0
    assert drawn.ratings.std(axis=0) == pytest.approx(np.sqrt(np.diag(fit.covariance)), rel=0.15)
    assert drawn.lower == pytest.approx(fit.lower, abs=8)
    assert (bootstrap(counts, 5, seed=2).ratings == bootstrap(counts, 5, seed=2).ratings).all()


def test_bootstrap_says_when_draws_fall_apart() -> None:
    thin = PairCounts.of([0, 1, 1, 2], [1, 0, 2, 1], [0, 0, 0, 0], 3)
    drawn = bootstrap(thin, 100)
    assert 0 < drawn.failed < 100
    assert np.isnan(drawn.ratings).all(axis=1).sum() == drawn.failed
    assert bootstrap(thin.subset([0, 1]), 20).ratings.shape == (20, 2)
    nobody = bootstrap(PairCounts.of([0], [1], [0], 2), 10)
    assert np.isnan(nobody.lower).all()
    with pytest.raises(ValueError, match="plain counts"):
        bootstrap(PairCounts.of([0, 1], [1, 0], [0, 0], 2, weight=[1.0, 0.5]), 10)


def test_simultaneous_ranks_hold_for_the_whole_table() -> None:
    rng = np.random.default_rng(9)
    true_rank, wrong, wrong_pairwise, rounds = np.arange(6, 0, -1), 0, 0, 250
    for _ in range(rounds):
        fit = bradley_terry(PairCounts.of(*arena(int(rng.integers(1 << 30)), 400, top=0.1)))
        best, worst = rank_bounds(fit, simultaneous=True, draws=1000)
        narrow_best, narrow_worst = rank_bounds(fit)
        assert (best <= narrow_best).all()
        assert (worst >= narrow_worst).all()
        wrong += bool(((true_rank < best) | (true_rank > worst)).any())
        wrong_pairwise += bool(((true_rank < narrow_best) | (true_rank > narrow_worst)).any())
    assert wrong / rounds <= 0.05 + 0.03
    assert wrong < wrong_pairwise


# Weights


@given(
    st.lists(st.tuples(st.integers(-1, 4), st.floats(0.01, 5)), min_size=1, max_size=50),
    st.floats(0.5, 10),
)
@settings(deadline=None)
def test_capped_groups_weigh_at_most_the_cap(rows: list[tuple[int, float]], cap: float) -> None:
    group, before = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    after = capped_weights(group, cap, before)
    for voter in set(group.tolist()):
        mine = group == voter
        total = before[mine].sum()
        assert after[mine].sum() == pytest.approx(total if voter == -1 else min(total, cap))
        assert after[mine] / after[mine].sum() == pytest.approx(before[mine] / total)


def test_one_voter_cannot_dominate() -> None:
    a, b, outcome, models = arena(10, 1000)
    # One voter adds a thousand votes for the weakest model against the strongest.
    a, b = np.append(a, np.zeros(1000, int)), np.append(b, np.full(1000, 5))
    outcome, voter = np.append(outcome, np.zeros(1000, int)), np.append(np.arange(1000), np.full(1000, 1000))
    swayed = bradley_terry(PairCounts.of(a, b, outcome, models))
    capped = bradley_terry(PairCounts.of(a, b, outcome, models, weight=capped_weights(voter, 5)))
    assert swayed.ratings[0] > swayed.ratings[5]
    assert capped.ratings[0] < capped.ratings[5] - 200


def test_decay_and_windows() -> None:
    assert decay_weights([0, 5, 10, 11], now=10, half_life=5) == pytest.approx([0.25, 0.5, 1, 1])
    assert window_weights([1, 2, 3], start=2, end=3).tolist() == [0, 1, 0]
    with pytest.raises(ValueError, match="positive"):
        decay_weights([0], now=1, half_life=0)


def test_selection_probabilities_are_undone() -> None:
    """Models are not transitive here, so how often pairs were drawn shapes plain ratings; weights undo it."""
    rng = np.random.default_rng(11)
    win = np.array([[0.5, 0.9, 0.3], [0.1, 0.5, 0.7], [0.7, 0.3, 0.5]])  # win[i, j]: i beats j
    pairs = [(i, j) for i in range(3) for j in range(3) if i != j]

    def votes(probability: np.ndarray, n: int) -> tuple[np.ndarray, ...]:
        drawn = rng.choice(6, n, p=probability)
        a, b = np.array(pairs)[drawn].T
        return a, b, np.where(rng.random(n) < win[a, b], 0, 2), probability[drawn]

    a, b, outcome, _ = votes(np.full(6, 1 / 6), 200_000)
    even = bradley_terry(PairCounts.of(a, b, outcome, 3)).ratings
    a, b, outcome, p = votes(np.array([0.3, 0.05, 0.3, 0.15, 0.05, 0.15]), 200_000)
    uneven = bradley_terry(PairCounts.of(a, b, outcome, 3))
    undone = bradley_terry(PairCounts.of(a, b, outcome, 3, weight=inverse_probability_weights(p)))
    assert undone.ratings == pytest.approx(even, abs=5)
    assert abs(uneven.ratings - even).max() > 20
    with pytest.raises(ValueError, match="selection probabilities"):
        inverse_probability_weights([0.5, 0.0])
    assert inverse_probability_weights([]).tolist() == []


def test_resampled_counts_are_multinomial() -> None:
    """Each draw has as many comparisons as there are; means, variances and covariances are those of a multinomial."""
    counts = np.array([[0, 1, 40], [200, 3, 59]])
    rng = np.random.default_rng(0)
    draws = np.array([resample(counts, rng).ravel() for _ in range(20_000)])
    total, p = counts.sum(), counts.ravel() / counts.sum()
    assert (draws.sum(axis=1) == total).all()
    assert draws.min() >= 0
    spread = total * (np.diag(p) - np.outer(p, p))
    assert draws.mean(axis=0) == pytest.approx(counts.ravel(), abs=5 * math.sqrt(spread.max() / len(draws)))
    assert np.cov(draws.T) == pytest.approx(spread, abs=0.05 * spread.max())
