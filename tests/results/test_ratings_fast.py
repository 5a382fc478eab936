"""The compiled loop is the same loop."""

from __future__ import annotations

import numpy as np
import pytest

from results.ratings import elo
from results.ratings._fast import WORTH_COMPILING, fastest, walk, walk_lists


def test_both_loops_agree_and_long_histories_take_the_compiled_one() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(0, 9, 5000)
    b = (a + rng.integers(1, 9, 5000)) % 9
    outcome, earned = rng.integers(0, 3, 5000), np.array([0.04, 0.02, 0.0])
    ratings, seen = (np.zeros(11), np.zeros(11)), (np.zeros(11, bool), np.zeros(11, bool))
    walk(ratings[0], seen[0], a, b, outcome, earned, 0.04)
    walk_lists(ratings[1], seen[1], a, b, outcome, earned, 0.04)
    assert np.array_equal(*ratings)
    assert np.array_equal(*seen)
    assert seen[0].tolist() == [True] * 9 + [False] * 2
    assert fastest(10) is walk_lists


def test_compiled_elo_equals_interpreted_elo() -> None:
    pytest.importorskip("numba", reason="not run: numba is not installed (pip install palaestra[fast])")
    rng = np.random.default_rng(1)
    n = WORTH_COMPILING
    a = rng.integers(0, 30, n)
    b = (a + rng.integers(1, 30, n)) % 30
    outcome = rng.integers(0, 3, n)
    assert fastest(n) is not walk_lists
    whole = elo([(a, b, outcome)], 30)
    pieces = elo([(a[k : k + 999], b[k : k + 999], outcome[k : k + 999]) for k in range(0, n, 999)], 30)
    assert np.abs(whole - pieces).max() < 1e-9
    narrow = elo([(a.astype(np.int32), b.astype(np.int32), outcome.astype(np.uint8))], 30)
    assert np.array_equal(whole, narrow)
