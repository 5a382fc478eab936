"""What `arena serve` forgets by itself after `retention_days`."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from arena.cli._serving import keep_forgetting, upkeep_by_schedule
from arena.config import StoreSettings
from results.ids import new_id
from results.records import BattleRecord, ModelVersionRecord, TurnRecord, VoteRecord, VoterRecord, now
from results.store import Store, StoreBusy, open_store


def vote(store: Store, days: float) -> None:
    """A vote given so many days ago."""
    versions = store.upsert_model_versions(
        [ModelVersionRecord(model=name, digest=name) for name in ("가", "나")]
    )
    then, voter = now() - timedelta(days=days), VoterRecord(id=new_id())
    battle = BattleRecord(
        id=new_id(), version_a=versions[0].version_key, version_b=versions[1].version_key, voter_id=voter.id,
        created_at=then,
    )  # fmt: skip
    store.register_voter(voter)
    store.create_battle(battle, TurnRecord(battle_id=battle.id, number=1, message=f"{days}일 전의 비밀"))
    store.record_vote(
        VoteRecord(battle_id=battle.id, voter_id=voter.id, request_id=new_id(), verdict="a", time=then)
    )


@pytest.mark.parametrize(("keeps", "votes"), [(False, 1), (True, 2)])
def test_what_is_too_old_goes_while_the_arena_serves(tmp_path: Path, keeps: bool, votes: int) -> None:
    with open_store(tmp_path / "data") as store:
        vote(store, 40)
        vote(store, 2)
        with upkeep_by_schedule(store, StoreSettings(retention_days=30, retention_keeps_verdicts=keeps)):
            deadline = time.monotonic() + 60
            while store.query("SELECT count(*) AS n FROM audit")["n"][0].as_py() == 0:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert store.query("SELECT message FROM turns")["message"].to_pylist() == ["2일 전의 비밀"]
        assert store.query("SELECT count(*) AS n FROM votes")["n"].to_pylist() == [votes]
        assert store.check() == []


def test_a_time_that_fails_is_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(tmp_path / "data") as store:
        vote(store, 40)
        stop, real, tries = threading.Event(), store.forget_older, []

        def forget(*given: object, **options: object) -> object:
            tries.append(1)
            if len(tries) == 1:
                raise StoreBusy("the disk is full")
            stop.set()
            return real(*given, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(store, "forget_older", forget)
        keep_forgetting(store, stop, 30, False, every=0.01)
        assert len(tries) == 2
        assert store.query("SELECT count(*) AS n FROM votes")["n"].to_pylist() == [0]
