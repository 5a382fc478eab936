"""Model versions, battles, turns, generations and voters."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from results.ids import item_id, new_id
from results.records import BattleRecord, ImportRecord, ModelVersionRecord, TurnRecord, VoterRecord, now
from results.store import BadWrite, Store, StoreError


def version(model: str, digest: str, **fields: Any) -> ModelVersionRecord:
    return ModelVersionRecord(model=model, digest=digest, **fields)


def test_versions_are_numbered_per_model_and_immutable(store: Store) -> None:
    first, other, second = store.upsert_model_versions(
        [version("가람-7b", "x", spec={"온도": 0.7}), version("b", "x"), version("가람-7b", "y")]
    )
    assert [ref.label for ref in (first, other, second)] == ["가람-7b@1", "b@1", "가람-7b@2"]
    again = store.upsert_model_versions([version("가람-7b", "x", spec={"온도": 2})])
    assert again == [first]
    listed = store.model_versions()
    assert [each.version_key for each in listed] == [first.version_key, other.version_key, second.version_key]
    # What shapes answers is in the digest; the rest of what is told of a version (licence, tags) may be told better.
    assert listed[0].spec == {"온도": 2}
    assert listed[0].digest == "x"


def test_an_import_does_not_take_over_an_entry(store: Store) -> None:
    store.upsert_model_versions([version("a", "x", owner="import")])
    store.upsert_model_versions([version("a", "x", owner="file")])
    store.upsert_model_versions([version("a", "x", owner="import")])
    assert [each.owner for each in store.model_versions()] == ["file"]


def test_a_battle_comes_back_as_it_was_written(arena: Any) -> None:
    battle = BattleRecord(
        id=new_id(), version_a=arena.versions[0], version_b=arena.versions[1], voter_id=arena.voter,
        selection_policy="uniform", selection_probability=0.25, category="지리", language="ko",
        prompt="대한민국의 수도는?\n두 줄",
    )  # fmt: skip
    turn = TurnRecord(battle_id=battle.id, number=1, message="대한민국의 수도는?\n두 줄")
    arena.store.create_battle(battle, turn)
    arena.store.create_battle(battle, turn)
    second = TurnRecord(battle_id=battle.id, number=2, message="둘째 질문 \x00 \u2028 끝")
    arena.store.add_turn(second)
    answers = [
        arena.generation(battle.id, side, turn=number, thinking="음…", sampling={"seed": 3}, duration=1.5)
        for number in (1, 2)
        for side in ("a", "b")
    ]
    for answer in reversed(answers):
        arena.store.record_generation(answer)
        arena.store.record_generation(answer)
    arena.store.set_battle_state(battle.id, "done")
    stored = arena.store.battle(battle.id)
    assert stored.battle == battle
    assert (stored.state, stored.failed_side) == ("done", None)
    assert stored.turns == (turn, second)
    assert stored.generations == tuple(answers)
    assert arena.store.battle(uuid4()) is None


def test_contradicting_writes_are_refused(arena: Any) -> None:
    battle = arena.battle()
    with pytest.raises(BadWrite, match="another message"):
        arena.store.add_turn(TurnRecord(battle_id=battle, number=1, message="다른 질문"))
    with pytest.raises(BadWrite, match="exists already"):
        arena.store.create_battle(
            BattleRecord(id=battle, version_a=arena.versions[1], version_b=arena.versions[0])
        )
    with pytest.raises(BadWrite, match="no model version 77"):
        arena.battle(version_a=77)
    with pytest.raises(BadWrite, match="belongs to battle"):
        arena.store.create_battle(
            BattleRecord(id=new_id(), version_a=arena.versions[0], version_b=arena.versions[1]),
            TurnRecord(battle_id=battle, number=1, message="x"),
        )
    for write in (
        lambda: arena.store.add_turn(TurnRecord(battle_id=uuid4(), number=1, message="x")),
        lambda: arena.store.record_generation(arena.generation(uuid4())),
        lambda: arena.store.set_battle_state(uuid4(), "done"),
    ):
        with pytest.raises(BadWrite, match="no battle"):
            write()


def test_half_a_character_is_refused_and_nothing_else_breaks(arena: Any) -> None:
    battle = arena.battle()
    with pytest.raises(StoreError, match="half of a character"):
        arena.store.record_generation(arena.generation(battle, text="깨진 \ud83d 글자"))
    assert arena.store.battle(battle).generations == ()
    assert arena.vote(battle).counted


def test_consent_is_added_to_a_known_voter(store: Store) -> None:
    voter = VoterRecord(id=new_id())
    consent = now()
    store.register_voter(voter)
    store.register_voter(voter.model_copy(update={"consent_at": consent}))
    store.register_voter(voter)
    (row,) = store.query("SELECT consent_at FROM voters").to_pylist()
    assert row["consent_at"] == consent.replace(tzinfo=None)


def test_one_item_for_one_prompt(arena: Any) -> None:
    arena.battle()
    arena.battle()
    (item,) = arena.store.query("SELECT id::VARCHAR AS id, text FROM items").to_pylist()
    assert item == {"id": str(item_id("수도가 어디야?")), "text": "수도가 어디야?"}


def test_a_broken_import_does_not_take_the_item_of_a_live_battle(own_arena: Any) -> None:
    def batches() -> Any:
        yield own_arena.rows(20_000, prompt=["수도가 어디야?"] * 20_000)
        battle.append(own_arena.battle())
        raise RuntimeError("the file ended in the middle")

    battle: list[Any] = []
    with pytest.raises(RuntimeError):
        own_arena.store.import_comparisons(ImportRecord(id=new_id(), path="x.csv", source="human"), batches())
    assert own_arena.store.battle(battle[0]).battle.prompt == "수도가 어디야?"
    assert own_arena.store.query("SELECT count(*) AS n FROM votes").to_pylist() == [{"n": 0}]
