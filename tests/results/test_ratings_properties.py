"""Ratings against other libraries and against what must hold for any votes."""

from __future__ import annotations

import math

import choix
import evalica
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from results.ratings import PairCounts, bradley_terry, elo, elo_predict, predict, rank_bounds
from results.ratings.bradley_terry import maximise, sandwich

UNIT = 400 / math.log(10)
Votes = tuple[np.ndarray, np.ndarray, np.ndarray, int]


@st.composite
def votes(draw: st.DrawFn, connected: bool = True) -> Votes:
    """Random votes among 2-7 models; where `connected`, each model also scored against the next in a ring."""
    models = draw(st.integers(2, 7))
    index = st.integers(0, models - 1)
    rows = draw(st.lists(st.tuples(index, index, st.integers(0, 2)), max_size=60))
    rows = [row for row in rows if row[0] != row[1]]
    if connected:
        ring = [(i, (i + 1) % models, 0) for i in range(models)]
        rows = draw(st.permutations(rows + ring))
    a, b, outcome = (np.array([row[k] for row in rows], dtype=np.int64) for k in range(3))
    return a, b, outcome, models


@given(votes())
@settings(max_examples=60, deadline=None)
def test_bradley_terry_equals_a_tight_choix(data: Votes) -> None:
    a, b, outcome, models = data
    fit = bradley_terry(PairCounts.of(a, b, outcome, models))
    # choix knows no ties: a tie is one win each way, and a win counts twice.
    pairs = [
        pair
        for x, y, o in zip(a.tolist(), b.tolist(), outcome.tolist(), strict=True)
        for pair in {0: [(x, y)] * 2, 1: [(x, y), (y, x)], 2: [(y, x)] * 2}[o]
    ]
    oracle = choix.ilsr_pairwise(models, pairs, max_iter=10_000, tol=1e-13)
    assert fit.ratings == pytest.approx(1000 + UNIT * (oracle - oracle.mean()), abs=1e-6)


@given(votes(connected=False))
@settings(max_examples=60, deadline=None)
def test_elo_equals_evalica(data: Votes) -> None:
    a, b, outcome, models = data
    winners = [(evalica.Winner.X, evalica.Winner.Draw, evalica.Winner.Y)[o] for o in outcome.tolist()]
    assume(winners)
    ours = elo([(a, b, outcome)], models)
    oracle = evalica.elo(a.tolist(), b.tolist(), winners).scores
    assert np.isnan(ours).sum() == models - len(oracle)
    for model, score in oracle.items():
        assert ours[model] == pytest.approx(score, abs=1e-9)


@given(votes(connected=False), st.randoms())
@settings(max_examples=60, deadline=None)
def test_renaming_models_renames_ratings(data: Votes, random: object) -> None:
    a, b, outcome, models = data
    order = np.arange(models)
    random.shuffle(order)  # type: ignore[attr-defined]
    plain = bradley_terry(PairCounts.of(a, b, outcome, models))
    renamed = bradley_terry(PairCounts.of(order[a], order[b], outcome, models))
    # Where two groups of one size and volume could be the rated one, either choice is right.
    assume(len(plain.rated) == 0 or len(plain.rated) * 2 > models)
    assert tuple(renamed.status[order[i]] for i in range(models)) == plain.status
    for ours, theirs in ((plain.ratings, renamed.ratings), (plain.lower, renamed.lower)):
        assert theirs[order] == pytest.approx(ours, abs=1e-7, nan_ok=True)


@given(votes(connected=False))
@settings(max_examples=60, deadline=None)
def test_swapping_sides_changes_nothing(data: Votes) -> None:
    a, b, outcome, models = data
    plain = bradley_terry(PairCounts.of(a, b, outcome, models))
    swapped = bradley_terry(PairCounts.of(b, a, 2 - outcome, models))
    assert swapped.status == plain.status
    assert swapped.ratings == pytest.approx(plain.ratings, abs=1e-7, nan_ok=True)
    assert swapped.covariance == pytest.approx(plain.covariance, abs=1e-5, nan_ok=True)


@given(votes(), st.integers(2, 50))
@settings(max_examples=40, deadline=None)
def test_repeating_all_votes_keeps_ratings_and_narrows_intervals(data: Votes, times: int) -> None:
    a, b, outcome, models = data
    once = PairCounts.of(a, b, outcome, models)
    many = PairCounts.of(a, b, outcome, models, count=np.full(len(a), times))
    assert many.total == times * once.total
    assert bradley_terry(many).ratings == pytest.approx(bradley_terry(once).ratings, abs=1e-7)
    strength, _ = maximise(once)
    assert sandwich(many, strength) * times == pytest.approx(sandwich(once, strength), rel=1e-6, abs=1e-12)


@given(votes())
@settings(max_examples=40, deadline=None)
def test_ratings_solve_the_likelihood_equations(data: Votes) -> None:
    a, b, outcome, models = data
    counts = PairCounts.of(a, b, outcome, models)
    fit = bradley_terry(counts)
    assert fit.ratings.mean() == pytest.approx(1000)
    expected = 1 / (1 + 10 ** ((fit.ratings[None, :] - fit.ratings[:, None]) / 400))
    points = (counts.wins + counts.ties / 2).sum(axis=1)
    assert (counts.games * expected).sum(axis=1) == pytest.approx(points, abs=1e-7)
    prediction = predict(fit, 0, 1)
    assert prediction.lower <= prediction.probability <= prediction.upper
    assert prediction.probability == pytest.approx(elo_predict(fit.ratings[0], fit.ratings[1]))
    best, worst = rank_bounds(fit)
    by_rating = 1 + (fit.ratings[None, :] > fit.ratings[:, None] + 1e-9).sum(axis=1)
    assert (best <= by_rating).all()
    assert (by_rating <= worst).all()


@given(votes(connected=False))
@settings(max_examples=100, deadline=None)
def test_any_votes_give_finite_ratings_or_a_reason(data: Votes) -> None:
    a, b, outcome, models = data
    fit = bradley_terry(PairCounts.of(a, b, outcome, models))
    for i in range(models):
        if fit.status[i] == "rated":
            assert fit.lower[i] <= fit.ratings[i] <= fit.upper[i]
        else:
            assert math.isnan(fit.ratings[i])
            assert math.isnan(fit.lower[i]) or fit.status[i] == "undefeated"
            assert math.isnan(fit.upper[i]) or fit.status[i] == "winless"


def test_elo_in_chunks_equals_elo_at_once() -> None:
    rng = np.random.default_rng(1)
    a = rng.integers(0, 5, 500)
    b = (a + rng.integers(1, 5, 500)) % 5
    outcome = rng.integers(0, 3, 500)
    chunks = [(a[i : i + 70], b[i : i + 70], outcome[i : i + 70]) for i in range(0, 500, 70)]
    assert (elo(chunks, 5) == elo([(a, b, outcome)], 5)).all()


def _sandwich_by_rows(a: np.ndarray, b: np.ndarray, outcome: np.ndarray, t: np.ndarray) -> np.ndarray:
    """The sandwich written out over single comparisons, with NumPy's general pseudo-inverse."""
    x = np.zeros((len(a), len(t)))
    x[np.arange(len(a)), a] += 1
    x[np.arange(len(a)), b] -= 1
    p = 1 / (1 + np.exp(-(x @ t)))
    bread = np.linalg.pinv((x * (p * (1 - p))[:, None]).T @ x)
    meat = (x * ((1 - outcome / 2 - p) ** 2)[:, None]).T @ x
    return np.asarray(bread @ meat @ bread)


@given(votes())
@settings(max_examples=40, deadline=None)
def test_sandwich_equals_its_definition_over_rows(data: Votes) -> None:
    a, b, outcome, models = data
    counts = PairCounts.of(a, b, outcome, models)
    strength, _ = maximise(counts)
    assert sandwich(counts, strength) == pytest.approx(
        _sandwich_by_rows(a, b, outcome, strength), rel=1e-6, abs=1e-9
    )


def _coverage(rounds: int, votes_each: int, tie: float, seed: int) -> float:
    rng = np.random.default_rng(seed)
    models = 10
    truth = np.linspace(-1.2, 1.2, models)
    hits = 0
    for _ in range(rounds):
        a = rng.integers(0, models, votes_each)
        b = (a + rng.integers(1, models, votes_each)) % models
        # Davidson's ties: what half wins estimate is then still the difference of strengths for each pair
        # up to a common shape, so the truth is the fit to the expected counts.
        outcome = _draw(rng, truth[a] - truth[b], tie)
        fit = bradley_terry(PairCounts.of(a, b, outcome, models))
        target = 1000 + UNIT * _expected_strength(truth, tie)
        hits += int(((fit.lower <= target) & (target <= fit.upper)).sum())
    return hits / (rounds * models)


def _probabilities(gap: np.ndarray, tie: float) -> tuple[np.ndarray, np.ndarray]:
    win, lose, draw = np.exp(gap / 2), np.exp(-gap / 2), np.full_like(gap, tie)
    total = win + lose + draw
    return win / total, draw / total


def _draw(rng: np.random.Generator, gap: np.ndarray, tie: float) -> np.ndarray:
    win, draw = _probabilities(gap, tie)
    u = rng.random(len(gap))
    return np.where(u < win, 0, np.where(u < win + draw, 1, 2))


def _expected_strength(truth: np.ndarray, tie: float) -> np.ndarray:
    i, j = np.nonzero(~np.eye(len(truth), dtype=bool))
    win, draw = _probabilities(truth[i] - truth[j], tie)
    rows = [np.full(len(i), code) for code in (0, 1, 2)]
    counts = PairCounts.of(
        np.tile(i, 3),
        np.tile(j, 3),
        np.concatenate(rows),
        len(truth),
        count=1e4 * np.concatenate([win, draw, 1 - win - draw]),
    )
    return maximise(counts)[0]


@pytest.mark.parametrize(("tie", "seed"), [(0.0, 11), (0.9, 12)])
def test_intervals_cover_as_often_as_they_say(tie: float, seed: int) -> None:
    assert 0.935 <= _coverage(rounds=500, votes_each=1000, tie=tie, seed=seed) <= 0.965


@pytest.mark.long
@pytest.mark.parametrize("tie", [0.0, 0.4, 0.9, 2.0])
@pytest.mark.parametrize("votes_each", [500, 1000, 5000])
def test_intervals_cover_as_often_as_they_say_at_length(tie: float, votes_each: int) -> None:
    assert 0.935 <= _coverage(rounds=4000, votes_each=votes_each, tie=tie, seed=7) <= 0.965


@pytest.mark.long  # JAX compiles for most of a minute
def test_ratings_and_intervals_are_close_to_arena_rank() -> None:
    """arena-rank stops its optimiser early, so this is a check of the same quantities, not of digits."""
    import pandas as pd
    from arena_rank.models.bradley_terry import BradleyTerry as Theirs
    from arena_rank.utils.data_utils import PairDataset

    rng = np.random.default_rng(21)
    truth = np.linspace(-1, 1, 8)
    a = rng.integers(0, 8, 6000)
    b = (a + rng.integers(1, 8, 6000)) % 8
    outcome = _draw(rng, truth[a] - truth[b], 0.8)
    frame = pd.DataFrame(
        {"model_a": a, "model_b": b, "winner": np.array(["model_a", "tie", "model_b"])[outcome]}
    )
    theirs = Theirs(8).compute_ratings_and_cis(PairDataset.from_pandas(frame))
    ours = bradley_terry(PairCounts.of(a, b, outcome, 8))
    assert theirs["competitors"] == list(range(8))
    centred = np.asarray(theirs["ratings"]) - float(np.mean(theirs["ratings"])) + 1000
    assert ours.ratings == pytest.approx(centred, abs=0.2)
    width = np.asarray(theirs["rating_upper"]) - np.asarray(theirs["rating_lower"])
    assert ours.upper - ours.lower == pytest.approx(width, rel=0.01)
