"""The tests of voters: honest ones are left alone at the promised rate, others are found and named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.screening import REASONS, Reason, VoterVotes, bursts, e_bh, score_voter

MODELS = 8
TRUE = np.linspace(-1.5, 1.5, MODELS)


def voter(kind: str, count: int, rng: np.random.Generator) -> VoterVotes:
    """A voter of a kind; the honest differ in sharpness, liking of a side, of length and of ties."""
    a = rng.integers(0, MODELS, count)
    b = (a + rng.integers(1, MODELS, count)) % MODELS
    gap = TRUE[a] - TRUE[b]
    longer = rng.choice([-1, 1], count).astype(np.int8)
    wins = rng.uniform(0.6, 2.0) * gap + rng.uniform(-0.4, 0.4) + rng.uniform(0, 0.4) * longer
    verdict = np.where(rng.random(count) < 1 / (1 + np.exp(-wins)), 1, -1)
    verdict = np.where(rng.random(count) < rng.uniform(0, 0.5), 0, verdict)
    sure = rng.random(count) < 0.97
    if kind == "random":
        verdict = rng.choice([-1, 0, 1], count)
    elif kind == "contrarian":
        verdict = -verdict
    elif kind == "position":
        verdict = np.where(sure, 1, verdict)
    elif kind == "length":
        verdict = np.where(sure, -longer, longer)
    elif kind == "partisan":
        verdict = np.where(sure & (a == 3), 1, np.where(sure & (b == 3), -1, verdict))
    elif kind == "constant":
        verdict = np.where(sure, 0, verdict)
    noise = rng.normal(0, 0.1, MODELS)
    return VoterVotes(gap + noise[a] - noise[b], verdict.astype(np.int8), longer, a, b)


@pytest.mark.parametrize("count", [15, 60, 250])
def test_honest_voters_are_left_alone(count: int) -> None:
    """A p-value under 0.05 at any moment may come once in twenty voters; the hypothesis is wide, so it is rarer."""
    rng = np.random.default_rng(7)
    scores = [score_voter(voter("honest", count, rng)) for _ in range(400)]
    assert np.mean([score.p_value <= 0.05 for score in scores]) <= 0.05
    assert not e_bh(np.array([score.log_e for score in scores]), 0.01).any()


def test_at_the_edge_of_honesty_the_expectation_stays_below_one() -> None:
    """The least sharp voter, with the strongest honest liking of a side: e-values average at most 1."""
    rng = np.random.default_rng(8)
    count, values = 40, []
    for _ in range(2000):
        a = rng.integers(0, MODELS, count)
        b = (a + rng.integers(1, MODELS, count)) % MODELS
        gap = TRUE[a] - TRUE[b]
        agree = 0.9 / (1 + np.exp(-(0.5 * gap + 0.5))) + 0.05
        verdict = np.where(rng.random(count) < agree, 1, -1).astype(np.int8)
        values.append(np.exp(score_voter(VoterVotes(gap, verdict, np.zeros(count, np.int8), a, b)).log_e))
    assert np.mean(values) <= 1.0


@pytest.mark.parametrize(
    ("kind", "count", "found"),
    [
        ("random", 1000, 0.9), ("contrarian", 120, 0.9), ("position", 60, 0.95), ("length", 60, 0.95),
        ("partisan", 300, 0.95), ("constant", 150, 0.95),
    ],
)  # fmt: skip
def test_other_voters_are_found_among_honest_ones_and_named(kind: Reason, count: int, found: float) -> None:
    rng = np.random.default_rng(9)
    bad = [score_voter(voter(kind, count, rng)) for _ in range(20)]
    good = [score_voter(voter("honest", count, rng)) for _ in range(180)]
    rejected = e_bh(np.array([score.log_e for score in bad + good]), 0.01)
    assert rejected[:20].mean() >= found
    assert not rejected[20:].any()
    assert (
        np.mean([score.reason == kind for score, out in zip(bad, rejected[:20], strict=True) if out]) >= 0.9
    )


votes = st.lists(
    st.tuples(
        st.integers(0, 3), st.integers(1, 3), st.sampled_from([-1, 0, 1]), st.sampled_from([-1, 0, 1]),
        st.one_of(st.just(np.nan), st.floats(-8, 8)),
    ),
    max_size=60,
)  # fmt: skip


@given(votes)
def test_any_votes_have_a_score(rows: list[tuple[int, int, int, int, float]]) -> None:
    a = np.array([row[0] for row in rows], np.int64)
    b = np.array([(row[0] + row[1]) % 4 for row in rows], np.int64)
    given_votes = VoterVotes(
        np.array([row[4] for row in rows], float), np.array([row[2] for row in rows], np.int8),
        np.array([row[3] for row in rows], np.int8), a, b,
    )  # fmt: skip
    score = score_voter(given_votes)
    assert np.isfinite(score.log_e)
    assert 0 <= score.p_value <= 1
    assert score.reason in REASONS
    assert np.log(score.p_value) <= max(0.0, -score.log_e) + 1e-9, "the p-value is that of the worst moment"
    swapped = VoterVotes(
        -given_votes.log_odds,
        -given_votes.verdict,
        -given_votes.longer,
        given_votes.model_b,
        given_votes.model_a,
    )
    assert score_voter(swapped).log_e == pytest.approx(score.log_e, abs=1e-9), "sides are treated alike"


@given(st.lists(st.floats(-20, 20), max_size=40), st.floats(0.001, 0.5))
def test_e_bh_is_the_definition(values: list[float], fdr: float) -> None:
    rejected = e_bh(np.array(values), fdr)
    count = len(values)
    ordered = sorted(values, reverse=True)
    largest = max((k for k in range(1, count + 1) if ordered[k - 1] >= np.log(count / (k * fdr))), default=0)
    assert rejected.sum() == largest
    if largest:
        assert min(np.array(values)[rejected]) >= max(np.array(values)[~rejected], default=-np.inf)


@given(st.lists(st.integers(0, 300), max_size=40), st.integers(1, 6), st.integers(1, 60))
def test_bursts_are_the_definition(times: list[int], most: int, within: int) -> None:
    seconds = np.sort(np.array(times, float))
    expected = [
        any(
            start <= second < start + within
            and sum(start <= other < start + within for other in seconds) > most
            for start in seconds
        )
        for second in seconds
    ]
    assert bursts(seconds, most=most, within=within).tolist() == expected
