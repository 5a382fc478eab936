"""Screening a store: marked votes stay, leave the counts in the same transaction, and come back."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pytest

from arena.cli.main import main
from results.ids import named_id, new_id
from results.leaderboard import leaderboard
from results.records import (
    BattleRecord,
    GenerationRecord,
    ImportRecord,
    ModelVersionRecord,
    TurnRecord,
    VoteRecord,
    VoterRecord,
)
from results.store import BadWrite, Store, open_store
from results.vote_screening import Rules, UnknownReason, screen, undo_screening

START = datetime(2026, 11, 1, tzinfo=UTC)
MODELS = 6


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "data") as opened:
        yield opened


def crowd(store: Store, kinds: dict[str, str], count: int = 80, seed: int = 1) -> None:
    """Import `count` votes of each voter, an hour apart; `kinds` says how each voter votes."""
    rng = np.random.default_rng(seed)
    versions = store.upsert_model_versions(
        [ModelVersionRecord(model=f"모델{n}", digest="1") for n in range(MODELS)]
    )
    keys = [version.version_key for version in versions]
    true = np.linspace(-1.5, 1.5, MODELS)
    rows: dict[str, list[Any]] = {
        name: []
        for name in (
            "id",
            "battle_id",
            "prompt",
            "version_a",
            "version_b",
            "voter_id",
            "verdict",
            "time",
            "category",
            "language",
        )
    }
    for voter, kind in kinds.items():
        for n in range(count):
            a, b = (int(each) for each in rng.choice(MODELS, 2, replace=False))
            won = rng.random() < 1 / (1 + np.exp(true[b] - true[a]))
            verdict = "tie" if rng.random() < 0.2 else "a" if won else "b"
            if kind == "left":
                verdict = "a"
            if kind == "against":
                verdict = {"a": "b", "b": "a", "tie": "tie"}[verdict]
            values = (
                str(named_id("row", voter, str(n))),
                str(named_id("battle", voter, str(n))),
                f"{voter}의 질문 {n}",
                keys[a],
                keys[b],
                str(named_id("voter", voter)),
                verdict,
                START.replace(tzinfo=None) + timedelta(hours=n),
                "",
                "ko",
            )
            for column, value in zip(rows.values(), values, strict=True):
                column.append(value)
    record = ImportRecord(id=named_id("import", str(seed), str(kinds)), path="crowd", source="human")
    store.import_comparisons(record, [pa.table(rows)])


HONEST = {f"시민{n}": "honest" for n in range(30)}


def test_bad_voters_are_found_left_out_and_brought_back(store: Store) -> None:
    crowd(store, {**HONEST, "왼쪽": "left", "반대": "against"})
    before = leaderboard(store)
    dry = screen(store, dry_run=True)
    assert dry.changed is None
    assert leaderboard(store) == before
    found = screen(store)
    assert {voter.voter: voter.reason for voter in found.flagged_voters} == {
        named_id("voter", "왼쪽"): "position", named_id("voter", "반대"): "contrarian",
    }  # fmt: skip
    assert found.flagged == {"position": 80, "contrarian": 80}
    assert (found.voters, found.voters_tested) == (32, 32)
    board = leaderboard(store)
    assert board.votes == before.votes - 160
    assert board.excluded == {"screened:contrarian": 80, "screened:position": 80}
    assert store.check() == []
    again = screen(store)
    assert again.changed is not None
    assert (again.changed.newly, again.changed.released) == (0, 0), "a second run changes nothing"
    assert again.flagged == found.flagged
    actions = store.query("SELECT action FROM audit")["action"].to_pylist()
    assert actions == ["screen votes"]
    with pytest.raises(UnknownReason, match="contrarian, position"):
        undo_screening(store, ["burst"])
    part = undo_screening(store, ["position"])
    assert (part.released, part.screened) == (80, {"contrarian": 80})
    assert leaderboard(store).excluded == {"screened:contrarian": 80}
    back = undo_screening(store)
    assert (back.released, back.screened) == (80, {})
    assert leaderboard(store) == before
    assert store.check() == []


def test_an_honest_crowd_is_left_alone(store: Store) -> None:
    crowd(store, {f"시민{n}": "honest" for n in range(60)}, seed=5)
    assert screen(store).flagged == {}


def small(store: Store) -> tuple[int, int, UUID]:
    first, second = store.upsert_model_versions(
        [ModelVersionRecord(model=name, digest="1") for name in ("가람-7B", "나래-3B")]
    )
    voter = VoterRecord(id=new_id())
    store.register_voter(voter)
    return first.version_key, second.version_key, voter.id


def battle(store: Store, arena: tuple[int, int, UUID], prompt: str, answer: str, seconds: float) -> UUID:
    a, b, voter = arena
    record = BattleRecord(id=new_id(), version_a=a, version_b=b, voter_id=voter)
    store.create_battle(record, TurnRecord(battle_id=record.id, number=1, message=prompt))
    for side, version, text in (("a", a, answer), ("b", b, "서울입니다.")):
        store.record_generation(
            GenerationRecord(
                id=new_id(), battle_id=record.id, turn=1, side=side, version_key=version, text=text,  # type: ignore[arg-type]
                finish_reason="stop",
            )
        )  # fmt: skip
    store.record_vote(
        VoteRecord(battle_id=record.id, voter_id=voter, request_id=new_id(), verdict="a",
                   time=START + timedelta(seconds=seconds))
    )  # fmt: skip
    return record.id


def test_leaks_bursts_and_duplicates(store: Store) -> None:
    arena = small(store)
    for n in range(6):
        battle(store, arena, f"질문 {n}", "부산입니다.", n * 3600)
    leaked = battle(store, arena, "너는 누구니?", "저는 가람입니다.", 30_000)
    battle(store, arena, "가람이 뭐야?", "저는 가람입니다라고 말하는 모델입니다.", 40_000)
    for n in range(4):
        battle(store, arena, "같은 질문", "네.", 50_000 + n * 3600)
    for n in range(5):
        battle(store, arena, f"빠른 질문 {n}", "네.", 90_000 + n)
    found = screen(store, Rules(burst_votes=4, burst_seconds=60))
    assert found.flagged == {"burst": 5, "duplicate_prompt": 2, "identity_leak": 1}
    assert [(leak.battle, leak.names) for leak in found.leaks] == [(leaked, ("가람",))]
    assert leaderboard(store).excluded == {
        "screened:burst": 5, "screened:duplicate_prompt": 2, "screened:identity_leak": 1,
    }  # fmt: skip
    assert store.check() == []


def test_imported_conversations_are_searched_and_files_without_times_are_no_burst(store: Store) -> None:
    crowd(store, {"은지": "honest"}, count=5)
    record = ImportRecord(id=new_id(), path="x", source="human")
    a, b, voter = small(store)
    conversation = json.dumps(
        [{"role": "user", "content": "누구세요?"}, {"role": "assistant", "content": "저는 나래입니다."}]
    )
    rows = pa.table(
        {
            "id": [str(new_id()) for _ in range(50)],
            "battle_id": [str(new_id()) for _ in range(50)],
            "prompt": [f"질문 {n}" for n in range(50)],
            "version_a": [a] * 50, "version_b": [b] * 50, "voter_id": [str(voter)] * 50,
            "verdict": ["a", "b"] * 25, "time": [record.created_at.replace(tzinfo=None)] * 50,
            "category": [""] * 50, "language": [""] * 50,
            "conversation_b": [conversation] + [None] * 49,
        }
    )  # fmt: skip
    store.import_comparisons(record, [rows])
    assert screen(store).flagged == {"identity_leak": 1}


def test_a_vote_whose_battle_failed_meanwhile_does_not_come_back(store: Store) -> None:
    arena = small(store)
    leaked = battle(store, arena, "누구?", "저는 가람입니다.", 0)
    screen(store)
    store.record_generation(
        GenerationRecord(
            id=new_id(), battle_id=leaked, turn=2, side="b", version_key=arena[1], text="", finish_reason="error",
            error_kind="EngineTimedOut", error="too slow",
        )
    )  # fmt: skip
    assert undo_screening(store).released == 1
    assert leaderboard(store).excluded == {"failed_side": 1}
    assert store.check() == []


def test_findings_must_be_of_a_screening(store: Store) -> None:
    with pytest.raises(BadWrite, match="no reason of a screening"):
        store.apply_screening(pa.table({"seq": [1], "reason": ["withdrawn"]}))
    with pytest.raises(BadWrite, match="columns"):
        store.apply_screening(pa.table({"vote": [1]}))


def test_the_command(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    crowd(store, {**HONEST, "왼쪽": "left"})

    def arena(*words: str) -> tuple[int, Any, str]:
        monkeypatch.setattr(sys, "argv", ["arena", *words, "--data", str(store.data_dir)])
        with pytest.raises(SystemExit) as stop:
            main()
        told = capsys.readouterr()
        return (
            int(stop.value.code or 0),
            json.loads(told.out) if told.out else None,
            " ".join(told.err.split()),
        )

    code, dry, told = arena("votes", "screen", "--dry-run", "--json")
    assert (code, dry["flagged"], dry["changed"]) == (0, {"position": 80}, None)
    assert "Nothing was changed" in told
    code, done, told = arena("votes", "screen", "--json")
    assert (code, done["changed"]["newly"]) == (0, 80)
    assert "--undo" in told
    code, board, told = arena("leaderboard", "--json")
    assert board["excluded"] == {"screened:position": 80}
    code, back, _ = arena("votes", "screen", "--undo", "--json")
    assert (code, back["released"]) == (0, 80)
    assert arena("votes", "screen", "--undo", "--dry-run")[0] == 2
    assert arena("votes", "screen", "--reason", "burst")[0] == 2
    assert arena("votes", "screen", "--undo", "--reason", "nothing")[0] == 2
