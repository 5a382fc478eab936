"""Prepared battles: people vote on battles of scripts, blind, as they do on live ones."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from uuid import UUID

import pytest

from arena.battle import BattleError, BattleService
from arena.battle._prepared import is_mirrored
from arena.config import BattleSettings
from arena.engines.base import Engine
from arena.engines.spec import ModelSpec
from arena.matchmaking import Uniform
from arena.roster import Contestant, Roster, enrol
from results import ids
from results.leaderboard import rate
from results.leaderboard_query import BoardQuery
from results.records import BattleRecord, GenerationRecord, Side, TurnRecord, Verdict, VoteRecord, VoterRecord
from results.store import Store, open_store
from results.store.scripted import ScriptBattle, record_script_battles

RUN = ids.new_id()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as opened:
        yield opened


@pytest.fixture
def roster(store: Store) -> Roster:
    specs = [ModelSpec(name=name, source=name) for name in ("Ada-7B", "Bob-9B")]
    return enrol(store, specs, lambda spec: f"weights of {spec.name}")


@pytest.fixture
def battles(store: Store, roster: Roster) -> BattleService:
    def no_engine(spec: ModelSpec) -> Engine:
        raise AssertionError("a prepared battle asks no model")

    return BattleService(store, roster, no_engine, Uniform(), BattleSettings(), random.Random(5))


def prepare(store: Store, roster: Roster, *prompts: str) -> list[UUID]:
    """Battles of a script between Ada (side a) and Bob, of two turns each."""
    sides: tuple[tuple[Side, Contestant], ...] = (
        ("a", roster.contestant("Ada-7B")), ("b", roster.contestant("Bob-9B")),
    )  # fmt: skip
    made = []
    for prompt in prompts:
        battle_id = ids.named_id("test battle", prompt)
        turns = tuple(TurnRecord(battle_id=battle_id, number=n, message=f"{prompt} {n}") for n in (1, 2))
        generations = tuple(
            GenerationRecord(
                id=ids.new_id(), battle_id=battle_id, turn=n, side=side, finish_reason="stop",
                version_key=contestant.version.version_key, text=f"{side} says {n}",
            )
            for side, contestant in sides
            for n in (1, 2)
        )  # fmt: skip
        record = BattleRecord(
            id=battle_id, version_a=sides[0][1].version.version_key, version_b=sides[1][1].version.version_key,
            mode="script", selection_policy="script:all", selection_probability=0.5, category="chat",
        )  # fmt: skip
        made.append(
            ScriptBattle(
                run_id=RUN, battle=record, turns=turns, generations=generations, prompt_id=prompt, sample=0
            )
        )
    record_script_battles(store, made)
    return [each.battle.id for each in made]


def voter(mirrored: bool, battle_id: UUID) -> UUID:
    """A voter who sees the battle as it is, or mirrored."""
    return next(each for each in iter(ids.new_id, None) if is_mirrored(battle_id, each) == mirrored)


@pytest.mark.parametrize("mirrored", [False, True])
async def test_the_answer_voted_for_wins_on_whichever_side_it_stood(
    store: Store, roster: Roster, battles: BattleService, mirrored: bool
) -> None:
    (battle_id,) = prepare(store, roster, "인사")
    who = voter(mirrored, battle_id)
    assert await battles.prepared_left(who) == 1
    view = await battles.start_prepared(who)
    assert (view.phase, view.prepared, view.may_continue) == ("voting", True, False)
    assert [turn.prompt for turn in view.turns] == ["인사 1", "인사 2"]
    assert view.turns[1].a.text == ("b says 2" if mirrored else "a says 2")
    shown = json.dumps(asdict(view), default=str)
    assert not any(name in shown for name in ("Ada", "Bob", str(battle_id)))

    left: Verdict = "a"
    voted = await battles.vote(who, view.id, left)
    assert (voted.phase, voted.verdict, voted.names) == ("voted", "a", None)
    revealed = await battles.reveal(who, view.id)
    assert revealed.names == (("Bob-9B", "Ada-7B") if mirrored else ("Ada-7B", "Bob-9B"))
    rows = store.query("SELECT verdict, mirrored, source, excluded, category FROM comparisons").to_pylist()
    assert rows == [
        {
            "verdict": "b" if mirrored else "a", "mirrored": True if mirrored else None, "source": "human",
            "excluded": None, "category": "chat",
        }
    ]  # fmt: skip
    board = rate(store, BoardQuery()).board
    assert {row.model: row.wins for row in board.models} == (
        {"Ada-7B": 0, "Bob-9B": 1} if mirrored else {"Ada-7B": 1, "Bob-9B": 0}
    )
    assert await battles.prepared_left(who) == 0
    with pytest.raises(BattleError, match="none_prepared"):
        await battles.start_prepared(who)
    await battles.close()


async def test_least_voted_first_and_never_one_that_was_voted_on(
    store: Store, roster: Roster, battles: BattleService
) -> None:
    prepared = prepare(store, roster, "one", "two", "three")
    other = ids.new_id()
    store.register_voter(VoterRecord(id=other))
    for battle_id in prepared[:2]:
        store.record_vote(
            VoteRecord(battle_id=battle_id, voter_id=other, request_id=ids.new_id(), verdict="a")
        )
    me = ids.new_id()
    seen = []
    for _ in prepared:
        view = await battles.start_prepared(me)
        seen.append(view.turns[0].prompt.split()[0])
        await battles.vote(me, view.id, "tie")
    assert seen[0] == "three"
    assert sorted(seen) == ["one", "three", "two"]
    assert await battles.prepared_left(me) == 0
    assert await battles.prepared_left(other) == 1
    assert store.query("SELECT count(*) AS n FROM comparisons").to_pylist() == [{"n": 5}]
    await battles.close()


async def test_passing_over_comes_back_last_and_taking_back_frees_the_battle(
    store: Store, roster: Roster, battles: BattleService
) -> None:
    prepare(store, roster, "one", "two")
    me = ids.new_id()
    first, second, third = [await battles.start_prepared(me) for _ in range(3)]
    assert first.id != second.id
    assert third.id == first.id
    await battles.vote(me, third.id, "b")
    assert await battles.prepared_left(me) == 1
    undone = await battles.undo(me, third.id)
    assert (undone.phase, undone.verdict) == ("voting", None)
    assert await battles.prepared_left(me) == 2
    assert store.query("SELECT coalesce(sum(n), 0) AS n FROM pair_counts").to_pylist()[0]["n"] == 0
    again = await battles.vote(me, third.id, "both_bad")
    assert again.counted
    await battles.reveal(me, third.id)
    with pytest.raises(BattleError, match="too_late"):
        await battles.undo(me, third.id)
    with pytest.raises(BattleError, match="closed"):
        await battles.go_on(me, third.id, "and now?")
    await battles.close()


async def test_two_voters_have_one_battle_before_them(
    store: Store, roster: Roster, battles: BattleService
) -> None:
    (battle_id,) = prepare(store, roster, "one")
    plain, mirrored = voter(False, battle_id), voter(True, battle_id)
    first, second = await battles.start_prepared(plain), await battles.start_prepared(mirrored)
    with pytest.raises(BattleError, match="unknown_battle"):
        await battles.vote(plain, second.id, "a")
    await battles.vote(plain, first.id, "a")
    await battles.vote(mirrored, second.id, "b")
    counts = store.query("SELECT verdict, n FROM pair_counts").to_pylist()
    assert counts == [{"verdict": "a", "n": 2}]  # both chose the same answer
    assert store.check() == []
    # Nobody sees in the public leaderboard what a vote does that can still be taken back.
    assert rate(store, BoardQuery(settled=True)).board.votes == 0
    assert rate(store, BoardQuery()).board.votes == 2
    await battles.close()


def test_the_advantage_of_the_left_side_is_that_of_the_side_which_was_seen(
    store: Store, roster: Roster
) -> None:
    """Voters who always take the left answer, half of them in mirrored battles: equal models, a biased crowd."""
    prepared = prepare(store, roster, *map(str, range(40)))
    for number, battle_id in enumerate(prepared):
        mirrored = number % 2 == 1
        left_wins = number % 10 not in (0, 5)
        verdict: Verdict = "a" if left_wins != mirrored else "b"
        who = ids.new_id()
        store.register_voter(VoterRecord(id=who))
        store.record_vote(
            VoteRecord(
                battle_id=battle_id, voter_id=who, request_id=ids.new_id(), verdict=verdict, mirrored=mirrored
            )
        )
    for query in (BoardQuery(position_bias=True), BoardQuery(position_bias=True, max_votes_per_voter=5)):
        board = rate(store, query).board
        assert board.position is not None
        assert board.position.lower > 100
    ratings = [row.rating for row in board.models if row.rating is not None]
    assert max(ratings) - min(ratings) < 50
