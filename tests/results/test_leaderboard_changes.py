"""Changes of ratings over time have intervals that hold, and votes that may still change are not shown."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from results.leaderboard import BoardQuery, rate
from results.ratings import PairCounts, bradley_terry
from results.ratings.changes import change_of_ratings
from results.records import now
from results.store import CHANGE_WINDOW, open_store
from tests.results.store.conftest import furnish


def test_intervals_of_changes_cover_no_change() -> None:
    inside = []
    for seed in range(120):
        rng = np.random.default_rng(seed)
        n, votes = 8, 1500
        strength = np.linspace(-1, 1, n)
        a = rng.integers(0, n, votes)
        b = (a + rng.integers(1, n, votes)) % n
        win, lose = np.exp((strength[a] - strength[b]) / 2), np.exp((strength[b] - strength[a]) / 2)
        u = rng.random(votes) * (win + lose + 0.7)
        outcome = np.where(u < win, 0, np.where(u < win + 0.7, 1, 2))
        later = PairCounts.of(a, b, outcome, n)
        earlier = PairCounts.of(a[:700], b[:700], outcome[:700], n)
        rise, error = change_of_ratings(
            later, bradley_terry(later), earlier, bradley_terry(earlier), np.arange(n)
        )
        inside.append(np.abs(rise) < 1.96 * error)
    assert 0.93 < np.mean(inside) < 0.98


def test_the_same_comparisons_changed_nothing() -> None:
    rng = np.random.default_rng(1)
    counts = PairCounts.of([0, 1, 2, 0, 1, 2] * 9, [1, 2, 0, 2, 0, 1] * 9, rng.integers(0, 3, 54), 3)
    fit = bradley_terry(counts)
    rise, error = change_of_ratings(counts, fit, counts, fit, [0, 1, 2])
    assert np.abs(rise).max() < 1e-9
    # V + V - 2C: what is left is the prior's share of the variance.
    assert error.max() < 0.3 * np.sqrt(np.diag(fit.covariance)).max()
    with pytest.raises(ValueError, match="rated in both"):
        change_of_ratings(counts, fit, counts, fit, [7])


def test_votes_that_may_still_change_are_not_settled(tmp_path: Path) -> None:
    with open_store(tmp_path / "data") as store:
        arena = furnish(store)
        for verdict in ("a", "b", "tie"):
            arena.vote(arena.battle(), verdict)
        plain, settled = BoardQuery(), BoardQuery(settled=True)
        assert rate(store, settled).board.votes == 3
        from results.ids import new_id
        from results.records import VoteRecord

        vote = VoteRecord(
            battle_id=arena.battle(), voter_id=arena.voter, request_id=new_id(), verdict="a", time=now()
        )
        store.record_vote(vote)
        assert rate(store, plain).board.votes == 4
        before = rate(store, settled)
        assert before.board.votes == 3
        assert before.board.options is None
        for change in ({"since": now() - timedelta(days=9000)}, {"method": "elo", "position_bias": False}):
            assert rate(store, settled.model_copy(update=change)).board.votes == 3
        store.set_battle_state(vote.battle_id, "done")
        for change in ({}, {"since": now() - timedelta(days=9000)}, {"method": "elo"}):
            counted = rate(store, settled.model_copy(update=change)).board.votes
            assert counted == 4, "the voter gave the undo up and has seen the names"
        late = vote.model_copy(
            update={"battle_id": arena.battle(), "request_id": new_id(), "time": now() - 2 * CHANGE_WINDOW}
        )
        store.record_vote(late)
        assert rate(store, settled).board.votes == 5
