"""Forgetting: nothing of the voter is left, everything else is as it was, and the counts agree."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from results.ids import named_id, new_id
from results.records import ImportRecord, TurnRecord, VoteRecord, VoterRecord, now
from results.store import BadWrite, Forgotten, Store
from results.store.judging import (
    JudgeCall,
    JudgeProfile,
    JudgeRun,
    Outcome,
    begin_judge_run,
    finish_judge_run,
    record_calls,
    record_outcomes,
)

SECRET = "제 이름은 김비밀이고 부산에 삽니다"


def tables(store: Store) -> list[str]:
    rows = store.query(
        "SELECT table_name AS t FROM duckdb_tables() WHERE NOT temporary ORDER BY 1"
    ).to_pylist()
    return [row["t"] for row in rows]


def everything(store: Store, leave: Sequence[str] = ()) -> dict[str, list[Any]]:
    """All rows of all tables, as text."""
    return {
        table: sorted(map(str, store.query(f"SELECT * FROM {table}").to_pylist()))
        for table in tables(store)
        if table not in leave
    }


def mentions(store: Store, *words: object) -> list[str]:
    return [
        f"{table}: {row}"
        for table, rows in everything(store).items()
        for row in rows
        if any(str(word) in row for word in words)
    ]


def begun(arena: Any, voter: UUID, message: str) -> UUID:
    battle: UUID = arena.battle(voter_id=voter, prompt=message)
    arena.store.add_turn(TurnRecord(battle_id=battle, number=2, message=f"{message} 더"))
    for side in ("a", "b"):
        arena.store.record_generation(
            arena.generation(battle, side, text=f"답: {message}", rendered_prompt=message)
        )
    return battle


def another_voter(arena: Any) -> UUID:
    voter = VoterRecord(id=new_id())
    arena.store.register_voter(voter)
    return voter.id


def vote(arena: Any, battle: UUID, voter: UUID, **fields: Any) -> UUID:
    record = VoteRecord(
        **{"battle_id": battle, "voter_id": voter, "request_id": new_id(), "verdict": "a", **fields}
    )
    return arena.store.record_vote(record).vote_id  # type: ignore[no-any-return]


def test_all_that_a_voter_gave_is_gone_and_nothing_else(arena: Any) -> None:
    store = arena.store
    other = another_voter(arena)
    theirs = begun(arena, other, "다른 사람의 질문")
    vote(arena, theirs, other)
    before = everything(store, leave=["pair_counts", "audit"])
    gone_voter = another_voter(arena)
    own = begun(arena, gone_voter, SECRET)
    first = vote(arena, own, gone_voter)
    vote(arena, own, gone_voter, verdict="b")
    second = vote(arena, theirs, gone_voter, verdict="tie")
    assert store.forget_voter(gone_voter, dry_run=True).votes == 2
    assert len(mentions(store, SECRET)) >= 4
    gone = store.forget_voter(gone_voter)
    assert gone == Forgotten(
        voters=1, votes=2, battles=1, emptied_battles=0, turns=2, generations=2, prompts=1, audit_rows=1
    )
    assert mentions(store, SECRET, gone_voter, own, first, second) == []
    assert everything(store, leave=["pair_counts", "audit"]) == before
    assert arena.counts() == {("human", "a"): 1}
    assert store.check() == []
    (row,) = store.query("SELECT * FROM audit").to_pylist()
    assert row["action"] == "forget voter"
    assert store.forget_voter(gone_voter).is_empty, "a second time there is nothing to do"
    assert store.query("SELECT count(*) AS n FROM audit").to_pylist() == [{"n": 1}]
    with pytest.raises(BadWrite, match="not registered"):
        vote(arena, theirs, gone_voter)


def test_a_battle_that_others_judged_loses_its_texts_only(arena: Any) -> None:
    store, voter, other = arena.store, another_voter(arena), another_voter(arena)
    battle = begun(arena, voter, SECRET)
    vote(arena, battle, voter)
    vote(arena, battle, other, verdict="b")
    gone = store.forget_voter(voter)
    assert (gone.battles, gone.emptied_battles, gone.votes) == (0, 1, 1)
    assert mentions(store, SECRET, voter) == []
    assert arena.counts() == {("human", "b"): 1}
    left = store.battle(battle)
    assert left is not None
    assert (left.battle.prompt, left.turns, left.generations) == (None, (), ())
    assert store.check() == []


def quoting_judge(store: Store, battle: UUID, judged: bool) -> None:
    """A judge whose reply quotes what it was shown; with `judged` it also came to a verdict."""
    profile = JudgeProfile(name="심판", version_key=None, mode="pairwise", prompts="own", digest="d")
    run = JudgeRun(id=new_id(), config={})
    begin_judge_run(store, profile, run)
    call = JudgeCall(
        id=new_id(), cache_key="k", battle_id=battle, turn=1, first="a", first_label="A",
        reading="parsed" if judged else "unparsed", verdict="a" if judged else None,
        reply=f"The user says: {SECRET}", logprobs=[(SECRET, -0.1)],
    )  # fmt: skip
    record_calls(store, profile.name, [call])
    outcome = Outcome(
        battle_id=battle, status="verdict" if judged else "unparsed", verdict="a" if judged else None
    )
    record_outcomes(store, profile.name, run.id, [outcome])
    finish_judge_run(store, run.id, "done")


@pytest.mark.parametrize("judged", [True, False])
def test_what_judges_replied_about_a_battle_goes_with_it(arena: Any, judged: bool) -> None:
    store, voter, other = arena.store, another_voter(arena), another_voter(arena)
    battle, kept = begun(arena, voter, SECRET), begun(arena, other, "안녕")
    for each in (battle, kept):
        quoting_judge(store, each, judged)
    assert any(mention.startswith("judge_calls") for mention in mentions(store, SECRET))
    gone = store.forget_voter(voter)
    # A judgment keeps who met whom, and nothing that was said.
    assert (gone.battles, gone.emptied_battles) == ((0, 1) if judged else (1, 0))
    assert [mention for mention in mentions(store, SECRET) if str(kept) not in mention] == []
    assert mentions(store, voter) == []
    calls = store.query("SELECT battle_id::VARCHAR AS battle FROM judge_calls").to_pylist()
    assert calls == [{"battle": str(kept)}]
    outcomes = store.query("SELECT count(*) AS n FROM judge_outcomes").to_pylist()
    assert outcomes == [{"n": 2 if judged else 1}]
    assert store.check() == []


def test_a_prompt_that_others_wrote_too_stays(arena: Any) -> None:
    store, voter, other = arena.store, another_voter(arena), another_voter(arena)
    begun(arena, voter, "안녕")
    kept = begun(arena, other, "안녕")
    assert store.forget_voter(voter).prompts == 0
    stored = store.battle(kept)
    assert stored is not None
    assert stored.battle.prompt == "안녕"


def test_verdicts_can_stay_without_their_voter(arena: Any) -> None:
    store, voter = arena.store, another_voter(arena)
    battle = begun(arena, voter, SECRET)
    first = vote(arena, battle, voter)
    counts = arena.counts()
    gone = store.forget_voter(voter, keep_verdicts=True)
    assert (gone.votes, gone.emptied_battles, gone.voters) == (1, 1, 1)
    assert mentions(store, SECRET, voter, first) == []
    assert arena.counts() == counts == {("human", "a"): 1}
    assert store.check() == []
    assert store.forget_voter(voter, keep_verdicts=True).is_empty


def test_imported_votes_and_conversations_go_too(arena: Any) -> None:
    store = arena.store
    conversation = f'[{{"role": "user", "content": "{SECRET}"}}]'
    rows = arena.rows(
        40, prompt=[f"{SECRET} {n // 2}" for n in range(40)], conversation_a=[conversation] * 40
    )
    store.import_comparisons(ImportRecord(id=new_id(), path="x", source="human"), [rows])
    voter = named_id("voter", "3")
    gone = store.forget_voter(voter)
    assert gone.votes == 4
    assert mentions(store, voter) == []
    assert (gone.battles, gone.prompts) == (0, 0), "the voter of the other vote of these battles stays"
    assert store.forget_voter(named_id("voter", "2")).battles == 4
    assert sum(arena.counts().values()) == 32
    assert store.check() == []


def test_what_is_older_goes_and_what_is_younger_stays(arena: Any) -> None:
    store, old, young = arena.store, another_voter(arena), another_voter(arena)
    cutoff = now() - timedelta(days=30)
    for voter, age in ((old, 40), (young, 40), (young, 2)):
        time = now() - timedelta(days=age)
        battle = arena.battle(voter_id=voter, prompt=f"{SECRET} {age} {voter}", created_at=time)
        vote(arena, battle, voter, time=time)
    store.import_comparisons(ImportRecord(id=new_id(), path="x", source="human"), [arena.rows(10)])
    gone = store.forget_older(cutoff)
    assert (gone.votes, gone.battles, gone.prompts) == (2, 2, 2)
    assert gone.voters == 0, "both were registered today"
    assert mentions(store, f"{SECRET} 40") == []
    assert mentions(store, f"{SECRET} 2")
    assert sum(arena.counts().values()) == 11, "imports stay"
    assert store.check() == []
    assert store.forget_older(cutoff).is_empty
    assert store.forget_older(now() + timedelta(seconds=1)).voters == 3


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["a", "b", "tie", "both_bad"])), max_size=12))
def test_counts_always_agree(own_arena: Any, votes: list[tuple[int, str]]) -> None:
    voters = [another_voter(own_arena) for _ in range(4)]
    base = own_arena.counts()
    for number, verdict in votes:
        vote(own_arena, own_arena.battle(voter_id=voters[number]), voters[number], verdict=verdict)
    for voter in voters:
        own_arena.store.forget_voter(voter)
        assert own_arena.store.check() == []
    assert own_arena.counts() == base
