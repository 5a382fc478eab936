"""A store as owner and as client, and a small arena in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest

from results.ids import named_id, new_id
from results.records import (
    BattleRecord,
    GenerationRecord,
    ModelVersionRecord,
    TurnRecord,
    Verdict,
    VoteOutcome,
    VoteRecord,
    VoterRecord,
)
from results.store import Store, open_store

START = datetime(2026, 11, 1, 12, tzinfo=UTC)


@dataclass
class SmallArena:
    """Two models, one voter, and short ways to write battles and votes."""

    store: Store
    versions: tuple[int, int]
    voter: UUID

    def battle(self, **fields: Any) -> UUID:
        version_a, version_b = self.versions
        battle = BattleRecord(**{"id": new_id(), "version_a": version_a, "version_b": version_b, **fields})
        self.store.create_battle(battle, TurnRecord(battle_id=battle.id, number=1, message="수도가 어디야?"))
        return battle.id

    def generation(self, battle: UUID, side: str = "a", **fields: Any) -> GenerationRecord:
        return GenerationRecord(
            **{
                "id": new_id(),
                "battle_id": battle,
                "turn": 1,
                "side": side,
                "version_key": self.versions[side == "b"],
                "text": "서울입니다.",
                "finish_reason": "stop",
                **fields,
            }
        )

    def vote(
        self, battle: UUID, verdict: Verdict = "a", seconds: float = 0, request: UUID | None = None
    ) -> VoteOutcome:
        return self.store.record_vote(
            VoteRecord(
                battle_id=battle,
                voter_id=self.voter,
                request_id=request or new_id(),
                verdict=verdict,
                time=START + timedelta(seconds=seconds),
            )
        )

    def counts(self) -> dict[tuple[str, str], int]:
        rows = self.store.query(
            "SELECT source, verdict, sum(n)::INT AS n FROM pair_counts GROUP BY ALL HAVING n > 0"
        )
        return {(row["source"], row["verdict"]): row["n"] for row in rows.to_pylist()}

    def rows(self, count: int, start: int = 0, **columns: Any) -> pa.Table:
        """`count` import rows: two votes on each battle, by ten voters."""
        numbers = range(start, start + count)
        return pa.table(
            {
                "id": [str(named_id("row", str(n))) for n in numbers],
                "battle_id": [str(named_id("battle", str(n // 2))) for n in numbers],
                "prompt": [f"질문 {n // 2}" for n in numbers],
                "version_a": [self.versions[0]] * count,
                "version_b": [self.versions[1]] * count,
                "voter_id": [str(named_id("voter", str(n % 10))) for n in numbers],
                "verdict": [("a", "b", "tie", "both_bad")[n % 4] for n in numbers],
                "time": pa.array([START.replace(tzinfo=None) + timedelta(seconds=n) for n in numbers]),
                "category": ["지리"] * count,
                "language": ["ko"] * count,
                **columns,
            }
        )


def furnish(store: Store) -> SmallArena:
    first, second = store.upsert_model_versions(
        [ModelVersionRecord(model="가람", digest="1"), ModelVersionRecord(model="나래", digest="1")]
    )
    voter = VoterRecord(id=new_id())
    store.register_voter(voter)
    return SmallArena(store, (first.version_key, second.version_key), voter.id)


@pytest.fixture(params=["owner", "client"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store on an empty data directory, once as its owner and once as a client over the loopback."""
    with open_store(tmp_path / "data") as owner:
        if request.param == "owner":
            yield owner
            return
        with open_store(tmp_path / "data") as client:
            assert not client.is_owner
            yield client


@pytest.fixture
def arena(store: Store) -> SmallArena:
    return furnish(store)


@pytest.fixture
def own_arena(tmp_path: Path) -> Iterator[SmallArena]:
    """A small arena in a store owned by the test's process, for what does not depend on who owns it."""
    with open_store(tmp_path / "data") as owner:
        yield furnish(owner)
