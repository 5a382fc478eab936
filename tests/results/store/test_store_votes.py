"""Votes: cast once, changed for a while, withdrawn, excluded; the counts follow in the same transaction."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from results.ids import new_id, vote_id
from results.records import VoteRecord
from results.store import CHANGE_WINDOW, BadWrite, VoteClosed
from results.store import _votes as votes_module

LATE = CHANGE_WINDOW.total_seconds() + 1


def test_a_vote_counts_once_however_often_it_is_sent(arena: Any) -> None:
    battle, request = arena.battle(category="지리", language="ko"), new_id()
    outcomes = [arena.vote(battle, "b", request=request) for _ in range(3)]
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert outcomes[0].vote_id == vote_id(battle, arena.voter)
    assert outcomes[0].counted
    assert arena.counts() == {("human", "b"): 1}
    (row,) = arena.store.query(
        "SELECT category, language, source, verdict, excluded FROM comparisons"
    ).to_pylist()
    assert row == {"category": "지리", "language": "ko", "source": "human", "verdict": "b", "excluded": None}


def test_a_changed_vote_keeps_its_place_and_leaves_a_trace(arena: Any) -> None:
    battle = arena.battle()
    arena.vote(battle, "a")
    before = arena.store.query("SELECT id, seq, time FROM comparisons").to_pylist()
    outcome = arena.vote(battle, "tie", seconds=5)
    assert outcome.verdict == "tie"
    assert arena.counts() == {("human", "tie"): 1}
    assert arena.store.query("SELECT id, seq, time FROM comparisons").to_pylist() == before
    (trace,) = arena.store.query("SELECT action, entity_id, before, after FROM audit").to_pylist()
    assert trace["action"] == "change vote"
    assert '"a"' in trace["before"]
    assert '"tie"' in trace["after"]


def test_a_vote_stands_after_the_window(arena: Any) -> None:
    battle = arena.battle()
    arena.vote(battle, "a")
    with pytest.raises(VoteClosed, match="10 seconds"):
        arena.vote(battle, "b", seconds=LATE)
    assert arena.counts() == {("human", "a"): 1}


def test_the_window_is_not_prolonged_by_changes(arena: Any) -> None:
    battle = arena.battle()
    arena.vote(battle, "a")
    arena.vote(battle, "b", seconds=8)
    with pytest.raises(VoteClosed):
        arena.vote(battle, "a", seconds=16)


def test_an_overtaken_request_changes_nothing(arena: Any) -> None:
    """The first request's answer was lost; it is sent again after the voter had changed the vote."""
    battle, first = arena.battle(), new_id()
    arena.vote(battle, "a", request=first)
    arena.vote(battle, "b", seconds=2)
    assert arena.vote(battle, "a", request=first).verdict == "b"
    assert arena.vote(battle, "tie", seconds=1).verdict == "b", "an older request arrives after a newer one"
    assert arena.counts() == {("human", "b"): 1}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the time at which withdrawals are made."""

    def set_to(time: Any) -> None:
        real = votes_module.Withdrawal
        monkeypatch.setattr(votes_module, "Withdrawal", lambda **fields: real(time=time, **fields))

    return set_to


def _vote_time(arena: Any) -> Any:
    return arena.store.query("SELECT time FROM comparisons").to_pylist()[0]["time"]


def test_withdraw_and_vote_again(arena: Any, clock: Any) -> None:
    battle, first, undo = arena.battle(), new_id(), new_id()
    arena.vote(battle, "a", request=first)
    clock(_vote_time(arena) + timedelta(seconds=3))
    arena.store.withdraw_vote(battle, arena.voter, undo)
    assert arena.counts() == {}
    assert arena.store.vote(battle, arena.voter).excluded == "withdrawn"
    assert not arena.vote(battle, "a", request=first).counted, "the withdrawn request must not come back"
    # The window does not bind a vote that follows a withdrawal, and starts again with it.
    assert arena.vote(battle, "both_bad", seconds=60).counted
    arena.store.withdraw_vote(battle, arena.voter, undo)
    assert arena.counts() == {("human", "both_bad"): 1}, "an old withdrawal must not hit the new vote"
    arena.vote(battle, "tie", seconds=65)
    assert arena.counts() == {("human", "tie"): 1}
    assert arena.store.query("SELECT count(*) AS n FROM votes").to_pylist() == [{"n": 1}]
    assert arena.store.check() == []


def test_a_standing_vote_cannot_be_withdrawn(arena: Any, clock: Any) -> None:
    battle = arena.battle()
    arena.vote(battle, "a")
    clock(_vote_time(arena) + timedelta(seconds=LATE))
    with pytest.raises(VoteClosed):
        arena.store.withdraw_vote(battle, arena.voter, new_id())
    with pytest.raises(BadWrite, match="no vote"):
        arena.store.withdraw_vote(arena.battle(), arena.voter, new_id())
    assert arena.counts() == {("human", "a"): 1}


def test_a_battle_with_a_failed_side_does_not_count(arena: Any) -> None:
    battle = arena.battle()
    arena.store.record_generation(arena.generation(battle, "a"))
    arena.store.record_generation(
        arena.generation(battle, "b", finish_reason="error", error_kind="unavailable", error="worker crashed")
    )
    outcome = arena.vote(battle, "a")
    assert (outcome.counted, outcome.excluded) == (False, "failed_side")
    assert arena.counts() == {}
    assert arena.store.battle(battle).failed_side == "b"
    assert arena.store.query("SELECT excluded FROM comparisons").to_pylist() == [{"excluded": "failed_side"}]


def test_a_failure_that_is_known_late_takes_the_vote_out(arena: Any) -> None:
    battle = arena.battle()
    arena.vote(battle, "a")
    failure = arena.generation(battle, "a", finish_reason="error", error_kind="timed_out")
    arena.store.record_generation(failure)
    arena.store.record_generation(failure)
    assert arena.counts() == {}
    assert arena.vote(battle, "b", seconds=1).excluded == "failed_side"
    assert arena.store.check() == []


def test_votes_need_a_battle_and_a_registered_voter(arena: Any) -> None:
    with pytest.raises(BadWrite, match="no battle"):
        arena.vote(uuid4())
    stranger = VoteRecord(battle_id=arena.battle(), voter_id=uuid4(), request_id=new_id(), verdict="a")
    with pytest.raises(BadWrite, match="not registered"):
        arena.store.record_vote(stranger)
    assert arena.counts() == {}


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["vote", "withdraw", "resend", "fail"]), st.integers(0, 2), st.integers(0, 3)),
    max_size=25,
)


@given(ACTIONS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_counts_follow_any_history(own_arena: Any, actions: list[tuple[str, int, int]]) -> None:
    """Whatever voters do in whatever order: a model in Python and the store agree, and a recount too."""
    store, window = own_arena.store, CHANGE_WINDOW.total_seconds()
    battles = [own_arena.battle() for _ in range(3)]
    expected: dict[int, tuple[str, str | None]] = {}
    failed: set[int] = set()
    sent: list[tuple[int, VoteRecord]] = []
    before = own_arena.counts()
    for step, (action, which, choice) in enumerate(actions):
        battle, verdict = battles[which], ("a", "b", "tie", "both_bad")[choice]
        assert step * 0.01 < window
        if action == "vote":
            vote = VoteRecord(
                battle_id=battle, voter_id=own_arena.voter, request_id=new_id(), verdict=verdict
            )
            store.record_vote(vote)
            sent.append((which, vote))
            expected[which] = (verdict, "failed_side" if which in failed else None)
        elif action == "withdraw" and which in expected:
            store.withdraw_vote(battle, own_arena.voter, new_id())
            expected[which] = (expected[which][0], "withdrawn")
        elif action == "resend" and sent:
            store.record_vote(sent[choice % len(sent)][1])
        elif action == "fail":
            store.record_generation(own_arena.generation(battle, finish_reason="error", error_kind="error"))
            failed.add(which)
            if which in expected and expected[which][1] is None:
                expected[which] = (expected[which][0], "failed_side")
    for which, (verdict, excluded) in expected.items():
        outcome = store.vote(battles[which], own_arena.voter)
        assert (outcome.verdict, outcome.excluded) == (verdict, excluded)
    counted = [verdict for verdict, excluded in expected.values() if excluded is None]
    after = own_arena.counts()
    assert sum(after.values()) - sum(before.values()) == len(counted)
    assert all(
        after.get(("human", v), 0) - before.get(("human", v), 0) == counted.count(v) for v in set(counted)
    )
    assert store.check() == []
