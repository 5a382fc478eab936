"""`arena leaderboard` with facts of the models, for commercial use, and against another time."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from results.ids import new_id
from results.records import (
    BattleRecord,
    GenerationRecord,
    ModelVersionRecord,
    TurnRecord,
    VoteRecord,
    VoterRecord,
)
from results.store import Store, open_store
from results.store.model_facts import ModelFacts, record_facts
from tests.arena.conftest import Arena

START = datetime(2026, 11, 1, 12, tzinfo=UTC)


def furnish(store: Store) -> None:
    """Three models: one Apache with figures and prices, one non-commercial, one of which nothing is known."""
    refs = store.upsert_model_versions(
        [ModelVersionRecord(model=name, digest="1") for name in ("가람", "나래", "다온")]
    )
    record_facts(
        store,
        refs[0].version_key,
        ModelFacts(
            parameters=135_000_000, bytes_on_disk=93_000_000, licence="apache-2.0", quantisation="Q4_1",
            parent="가람-원본",
        ),
    )  # fmt: skip
    record_facts(store, refs[1].version_key, ModelFacts(licence="cc-by-nc-4.0"))
    voter = VoterRecord(id=new_id())
    store.register_voter(voter)
    rng = np.random.default_rng(0)
    for n in range(60):
        first, second = rng.choice(3, 2, replace=False)
        keys = refs[first].version_key, refs[second].version_key
        battle = BattleRecord(id=new_id(), version_a=keys[0], version_b=keys[1])
        store.create_battle(battle, TurnRecord(battle_id=battle.id, number=1, message=f"질문 {n}"))
        for side, key in zip("ab", keys, strict=True):
            priced = {"cost": {"amount": 0.002, "currency": "USD"}} if key == refs[0].version_key else {}
            store.record_generation(
                GenerationRecord(
                    id=new_id(),
                    battle_id=battle.id,
                    turn=1,
                    side=side,
                    version_key=key,
                    text="답",
                    finish_reason="stop",
                    completion_tokens=21,
                    time_to_first_token=0.5,
                    duration=1.5,
                    prompt_log=priced,
                )
            )
        wins = rng.random() < (0.8 if n < 30 else 0.5)
        store.record_vote(
            VoteRecord(
                battle_id=battle.id,
                voter_id=voter.id,
                request_id=new_id(),
                verdict="a" if (first < second) == wins else "b",
                time=START + timedelta(hours=n),
            )
        )
        store.set_battle_state(battle.id, "done" if n < 59 else "open")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    with open_store(tmp_path / "자료") as store:
        furnish(store)
    return tmp_path / "자료"


def test_facts_in_every_format_and_blank_where_unknown(arena: Arena, data: Path, tmp_path: Path) -> None:
    done = arena("leaderboard", "--columns", "all", "--json", "--data", data)
    assert done.returncode == 0, done.stderr
    rows = {row["model"]: row for row in json.loads(done.stdout)["models"]}
    known = rows["가람"]
    assert (known["licence"], known["parameters"], known["quantisation"], known["parent"]) == (
        "apache-2.0", 135_000_000, "Q4_1", "가람-원본",
    )  # fmt: skip
    assert known["cost_per_1000"] == pytest.approx(2.0)
    assert known["tokens_per_second"] == pytest.approx(20.0)
    assert known["first_token"] == pytest.approx(0.5)
    assert rows["다온"]["licence"] is None
    assert rows["다온"]["cost_per_1000"] is None
    assert known["win_rate"] == pytest.approx((known["wins"] + known["ties"] / 2) / known["votes"])

    table = arena(
        "leaderboard", "--columns", "licence,size", "--columns", "cost,speed", "--data", data
    ).stdout
    (line,) = (line for line in table.splitlines() if "가람" in line)
    for cell in ("apache-2.0", "135M", "93.0 MB", "2 USD", "20.0", "0.50 s"):
        assert cell in line
    (parsed,) = (
        row
        for row in csv.DictReader(
            io.StringIO(
                arena("leaderboard", "--columns", "cost,licence", "--format", "csv", "--data", data).stdout
            )
        )
        if row["model"] == "다온"
    )
    assert (parsed["cost_per_1000"], parsed["licence"]) == ("", "")
    out = tmp_path / "board.parquet"
    assert arena("leaderboard", "--columns", "size", "--out", out, "--data", data).returncode == 0
    assert "bytes_on_disk" in pq.read_table(out).column_names
    markdown = arena("leaderboard", "--columns", "parent", "--format", "markdown", "--data", data).stdout
    assert "가람-원본" in markdown


def test_answers_of_battles_that_go_on_are_not_measured(data: Path) -> None:
    from results.leaderboard import BoardQuery, rate
    from results.leaderboard_facts import row_facts

    with open_store(data) as store:
        facts = row_facts(store, rate(store, BoardQuery()))
    assert sum(row.answers for row in facts.values()) == 2 * 59


def test_only_what_may_be_used_commercially(arena: Arena, data: Path) -> None:
    done = arena("leaderboard", "--commercial", "--json", "--data", data)
    rows = json.loads(done.stdout)["models"]
    everybody = json.loads(arena("leaderboard", "--json", "--data", data).stdout)["models"]
    told = arena("leaderboard", "--commercial", "--data", data)
    # 가람's parent is not on the roster: unknown is not allowed.
    assert [row["model"] for row in rows] == []
    assert len(everybody) == 3
    assert "3 of 3 models are not shown" in told.stderr


def test_since_another_time(arena: Arena, data: Path) -> None:
    done = arena("leaderboard", "--against-time", "2026-11-02T18:00", "--json", "--data", data)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["votes_then"], told["votes_now"], told["new"]) == (30, 60, [])
    assert len(told["models"]) == 3
    for row in told["models"]:
        assert row["lower"] < row["change"] < row["upper"]
        assert row["after"] - row["before"] == pytest.approx(row["change"])
    assert sum(row["change"] for row in told["models"]) == pytest.approx(0, abs=1e-6)
    table = arena("leaderboard", "--against-time", "2026-11-02T18:00", "--data", data)
    assert "Since 2026-11-02 18:00 (UTC)" in table.stdout
    assert "30 comparisons then, 60 now" in table.stderr
    early = arena("leaderboard", "--against-time", "2020-01-01", "--data", data)
    assert "Fewer than two models were rated before" in early.stderr
    for words in (
        ["--against-time", "soon"], ["--against-time", "2026-11-02", "--method", "elo"],
        ["--against-time", "2026-11-02", "--over-time", "3"], ["--columns", "colour"],
        ["--columns", "all", "--against", "가람"], ["--against-time", "2026-11-02", "--half-life", "3"],
    ):  # fmt: skip
        assert arena("leaderboard", *words, "--data", data).returncode == 2, words
