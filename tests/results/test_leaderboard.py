"""Leaderboards of a real store, on Palaestra's own votes and on published ones."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from results.ids import new_id
from results.interchange import import_votes
from results.leaderboard import Leaderboard, known_values, leaderboard
from results.records import BattleRecord, ModelVersionRecord, VoteRecord, VoterRecord
from results.store import Store, open_store

DATA = Path(__file__).parents[1] / "data" / "votes"
SHARED = Path(__file__).parents[3] / "shared" / "data"
LLMFAO = {"id": "id", "prompt": "prompt", "model_a": "left", "model_b": "right", "verdict": "winner"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "data") as opened:
        yield opened


@pytest.fixture
def korean(store: Store) -> Store:
    import_votes(store, DATA / "korean_votes.csv")
    import_votes(store, DATA / "judge_verdicts.jsonl", source="judge", fixed={"judge": "심판"})
    return store


def by_name(board: Leaderboard) -> dict[str, tuple[int | None, str]]:
    return {row.model: (row.rank, row.status) for row in board.models}


def test_the_board_ranks_what_can_be_rated_and_gives_reasons_for_the_rest(korean: Store) -> None:
    board = leaderboard(korean)
    assert board.votes == 22
    assert by_name(board) == {
        "한빛-7B": (1, "rated"),
        "Orca Mini": (2, "rated"),
        "누리-3B": (3, "rated"),
        "무패-1B": (None, "undefeated"),
        "섬-가": (None, "apart"),
        "섬-나": (None, "apart"),
    }
    assert [row.model for row in board.models][:4] == ["한빛-7B", "Orca Mini", "누리-3B", "무패-1B"]
    undefeated = board.models[3]
    assert undefeated.rating is None
    assert undefeated.lower is not None
    assert undefeated.upper is None
    assert "no upper limit" in (undefeated.reason or "")
    first = board.models[0]
    assert (first.votes, first.wins, first.losses, first.ties) == (13, 6, 4, 3)
    assert (first.lower or 0) < (first.rating or 0) < (first.upper or 0)
    assert first.rank_best == 1


def test_json_has_the_promised_keys(korean: Store) -> None:
    data = json.loads(leaderboard(korean).model_dump_json())
    assert list(data)[:4] == ["method", "votes", "excluded", "models"]
    assert list(data["models"][0])[:9] == [
        "rank", "model", "rating", "lower", "upper", "votes", "wins", "losses", "ties",
    ]  # fmt: skip


def test_elo_rates_everyone_without_intervals(korean: Store) -> None:
    board = leaderboard(korean, "elo")
    assert board.votes == 22
    assert [row.rank for row in board.models] == [1, 2, 3, 4, 5, 6]
    assert all(row.lower is row.upper is None and row.rating is not None for row in board.models)
    # Ratings only move between models.
    assert sum(row.rating or 0 for row in board.models) == pytest.approx(6000)


def test_elo_follows_time_not_the_order_of_import(store: Store, tmp_path: Path) -> None:
    rows = [(1, "b"), (3, "a"), (2, "tie"), (0, "b")]
    file = tmp_path / "v.csv"
    file.write_text("model_a,model_b,winner,timestamp\n" + "".join(f"x,y,{w},{t}\n" for t, w in rows))
    import_votes(store, file)
    ratings = {row.model: row.rating for row in leaderboard(store, "elo").models}
    x, y = 1000.0, 1000.0
    for _, word in sorted(rows):
        change = 4 * ({"a": 1, "tie": 0.5, "b": 0}[word] - 1 / (1 + 10 ** ((y - x) / 400)))
        x, y = x + change, y - change
    assert ratings == {"x": pytest.approx(x), "y": pytest.approx(y)}


def test_filters(korean: Store) -> None:
    assert leaderboard(korean, language="ko").votes == 12
    assert leaderboard(korean, category="코딩", language="en").votes == 3
    assert leaderboard(korean, source="judge").votes == 5
    assert leaderboard(korean, source="all").votes == 27
    assert leaderboard(korean, source="all", judge="심판").votes == 5
    nothing = leaderboard(korean, category="없음")
    assert (nothing.votes, nothing.models, nothing.excluded) == (0, (), {})
    for method in ("bt", "elo"):
        assert leaderboard(korean, method, language="ko").votes == 12  # type: ignore[arg-type]
    assert known_values(korean, "language") == ["ko", "en"]
    assert known_values(korean, "judge") == ["심판"]


def test_an_empty_store_gives_an_empty_board(store: Store) -> None:
    for method in ("bt", "elo"):
        board = leaderboard(store, method)  # type: ignore[arg-type]
        assert (board.votes, board.models) == (0, ())


def _battle(store: Store, a: int, b: int, verdict: str) -> tuple[BattleRecord, VoterRecord]:
    battle, voter = BattleRecord(id=new_id(), version_a=a, version_b=b), VoterRecord(id=new_id())
    store.create_battle(battle)
    store.register_voter(voter)
    vote = VoteRecord(battle_id=battle.id, voter_id=voter.id, request_id=new_id(), verdict=verdict)  # type: ignore[arg-type]
    store.record_vote(vote)
    return battle, voter


def test_versions_are_rows_or_are_merged(store: Store) -> None:
    old, new, rival = store.upsert_model_versions(
        [
            ModelVersionRecord(model="한빛", digest="1"),
            ModelVersionRecord(model="한빛", digest="2"),
            ModelVersionRecord(model="누리", digest="1"),
        ]
    )
    for a, b, verdict in ((old, rival, "a"), (rival, old, "a"), (new, rival, "tie"), (new, old, "a")):
        _battle(store, a.version_key, b.version_key, verdict)
    by_version = leaderboard(store)
    assert {row.model for row in by_version.models} == {"한빛@1", "한빛@2", "누리"}
    assert (by_version.votes, by_version.excluded) == (4, {})
    merged = leaderboard(store, by="model")
    assert {row.model: row.votes for row in merged.models} == {"한빛": 3, "누리": 3}
    assert (merged.votes, merged.excluded) == (3, {"same_model": 1})
    assert leaderboard(store, "elo", by="model").votes == 3


def test_votes_that_do_not_count_are_told(store: Store) -> None:
    a, b = store.upsert_model_versions(
        [ModelVersionRecord(model="가", digest="1"), ModelVersionRecord(model="나", digest="1")]
    )
    _battle(store, a.version_key, b.version_key, "tie")
    battle, voter = _battle(store, a.version_key, b.version_key, "a")
    store.withdraw_vote(battle.id, voter.id, new_id())
    for method in ("bt", "elo"):
        board = leaderboard(store, method)  # type: ignore[arg-type]
        assert (board.votes, board.excluded) == (1, {"withdrawn": 1})
    assert [row.rank for row in leaderboard(store).models] == [1, 1]


def _golden(algorithm: str) -> dict[str, float]:
    with (SHARED / "evalica_golden" / "llmfao-golden.csv").open(encoding="utf-8") as file:
        return {
            row["item"]: float(row["score"]) for row in csv.DictReader(file) if row["algorithm"] == algorithm
        }


@pytest.mark.shared
@pytest.mark.skipif(
    not SHARED.is_dir(), reason="the reference data (../shared/data) is not beside this checkout"
)
def test_published_votes_give_published_ratings(store: Store) -> None:
    votes = SHARED / "llmfao_crowd_votes"
    mapping = {**LLMFAO, "voter": "worker"}
    first = import_votes(store, votes / "crowd-comparisons.csv", mapping=mapping)
    again = import_votes(store, votes / "crowd-comparisons.csv", mapping=mapping)
    assert (first.added, again.added, again.known) == (8931, 0, 8931)

    elo, golden = leaderboard(store, "elo"), _golden("elo")
    assert (elo.votes, len(elo.models)) == (8931, 59)
    assert max(abs((row.rating or math.nan) - golden[row.model]) for row in elo.models) < 1e-6
    bt, golden = leaderboard(store, "bt"), _golden("bradley_terry")
    assert (bt.votes, len(bt.models)) == (8931, 59)
    assert [row.model for row in bt.models] == sorted(golden, key=lambda model: -golden[model])
    # evalica stops at 1e-6 of its own scale; on the scale of ratings that is well under a point.
    log = {model: 400 * math.log10(score) for model, score in golden.items()}
    mean = sum(log.values()) / len(log)
    for row in bt.models:
        assert row.rating == pytest.approx(1000 + log[row.model] - mean, abs=0.05)

    judged = import_votes(
        store, votes / "gpt4-crowd-comparisons.csv", mapping=LLMFAO, source="judge", fixed={"judge": "gpt-4"}
    )
    assert judged.added == 2139
    battles = store.query("SELECT count(*) AS n FROM battles")["n"].to_pylist()
    assert battles == [2139]
    assert leaderboard(store, source="all").votes == 8931 + 2139
    assert store.check() == []
