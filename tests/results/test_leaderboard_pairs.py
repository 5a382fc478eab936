"""Two models, and two leaderboards, beside each other."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from results.ids import new_id
from results.interchange import import_votes
from results.leaderboard import BoardQuery, UnknownModel, rate
from results.leaderboard_pairs import against, battles_of_pair, difference, head_to_head, pair_matrix
from results.records import BattleRecord, ModelVersionRecord, VoteRecord, VoterRecord, now
from results.store import Store, open_store

DATA = Path(__file__).parents[1] / "data" / "votes"


@pytest.fixture
def korean(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "data") as store:
        import_votes(store, DATA / "korean_votes.csv")
        yield store


def counted(store: Store, model: str, opponent: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = store.query(
        "SELECT ma.name AS a, mb.name AS b, verdict FROM comparisons c "
        "JOIN model_versions va ON va.version_key = version_a JOIN models ma ON ma.model_key = va.model_key "
        "JOIN model_versions vb ON vb.version_key = version_b JOIN models mb ON mb.model_key = vb.model_key "
        "WHERE excluded IS NULL AND list_sort([a, b]) = list_sort(?)",
        [[model, opponent]],
    ).to_pylist()
    return rows


def test_head_to_head_counts_and_predicts(korean: Store) -> None:
    rated = rate(korean, BoardQuery())
    pair = head_to_head(rated, "한빛-7B", "누리-3B")
    rows = counted(korean, "한빛-7B", "누리-3B")
    wins = sum(row["verdict"] in "ab" and row[str(row["verdict"])] == "한빛-7B" for row in rows)
    assert (pair.votes, pair.wins) == (len(rows), wins)
    assert pair.share == (pair.wins + pair.ties / 2) / pair.votes
    assert (pair.share_lower or 1) < pair.share < (pair.share_upper or 0)
    gap = (rated.board.models[0].rating or 0) - (rated.board.models[2].rating or 0)
    assert pair.probability == pytest.approx(1 / (1 + 10 ** (-gap / 400)))
    other = head_to_head(rated, "누리-3B", "한빛-7B")
    assert (other.wins, other.losses) == (pair.losses, pair.wins)
    assert other.probability == pytest.approx(1 - (pair.probability or 0))
    assert other.lower == pytest.approx(1 - (pair.upper or 0))

    unrated = head_to_head(rated, "한빛-7B", "섬-가")
    assert (unrated.votes, unrated.share, unrated.probability) == (0, None, None)
    elo = rate(korean, BoardQuery(method="elo"))
    assert head_to_head(elo, "한빛-7B", "누리-3B").probability is None
    assert [row.model for row in against(rated, "누리-3B")] == [
        row.model for row in rated.board.models if row.model != "누리-3B"
    ]
    with pytest.raises(ValueError, match="itself"):
        head_to_head(rated, "누리-3B", "누리-3B")
    with pytest.raises(UnknownModel):
        head_to_head(rated, "누리-3B", "없는 모델")


def test_a_tie_counts_half_in_every_tie_model(korean: Store) -> None:
    for ties in ("davidson", "rao_kupper"):
        rated = rate(korean, BoardQuery.model_validate({"ties": ties}))
        pair = head_to_head(rated, "한빛-7B", "누리-3B")
        assert rated.ties is not None
        won, tied, lost = rated.ties.outcomes(rated.index("한빛-7B"), rated.index("누리-3B"))
        assert won + tied + lost == pytest.approx(1)
        assert pair.probability == pytest.approx(won + tied / 2)
        assert (pair.lower or 1) < (pair.probability or 0) < (pair.upper or 0)


def test_the_battles_behind_a_number(korean: Store) -> None:
    rated = rate(korean, BoardQuery())
    pair = head_to_head(rated, "한빛-7B", "누리-3B")
    battles = battles_of_pair(korean, rated, "한빛-7B", "누리-3B", limit=100)
    assert len(battles) == pair.votes
    assert sum(battle.winner == "한빛-7B" for battle in battles) == pair.wins
    assert sum(battle.winner == "누리-3B" for battle in battles) == pair.losses
    assert [battle.time for battle in battles] == sorted((b.time for b in battles), reverse=True)
    assert any("수도" in (battle.prompt or "") for battle in battles)
    assert len(battles_of_pair(korean, rated, "한빛-7B", "누리-3B", limit=2)) == 2
    korean_only = rate(korean, BoardQuery(language="ko"))
    found = battles_of_pair(korean, korean_only, "한빛-7B", "누리-3B", limit=100)
    assert len(found) == head_to_head(korean_only, "한빛-7B", "누리-3B").votes
    assert {battle.language for battle in found} == {"ko"}


def test_versions_are_merged_in_head_to_head_and_open_votes_are_not_listed(korean: Store) -> None:
    one, two, rival = korean.upsert_model_versions(
        [
            ModelVersionRecord(model="새벽", digest="1"),
            ModelVersionRecord(model="새벽", digest="2"),
            ModelVersionRecord(model="노을", digest="1"),
        ]
    )
    for version, age in ((one, 60), (two, 60), (two, 1)):
        battle, voter = (
            BattleRecord(
                id=new_id(), version_a=rival.version_key, version_b=version.version_key, prompt="어때?"
            ),
            VoterRecord(id=new_id()),
        )
        korean.create_battle(battle)
        korean.register_voter(voter)
        korean.record_vote(
            VoteRecord(
                battle_id=battle.id, voter_id=voter.id, request_id=new_id(), verdict="b",
                time=now() - timedelta(seconds=age),
            )
        )  # fmt: skip
    merged = rate(korean, BoardQuery(by="model"))
    assert head_to_head(merged, "새벽", "노을").wins == 3
    listed = battles_of_pair(korean, merged, "새벽", "노을")
    assert [(battle.side, battle.winner) for battle in listed] == [("b", "새벽")] * 2
    split = rate(korean, BoardQuery())
    assert head_to_head(split, "새벽@2", "노을").wins == 2
    with pytest.raises(UnknownModel, match="2 versions"):
        head_to_head(split, "새벽", "노을")


def test_the_matrix_follows_the_leaderboard(korean: Store) -> None:
    rated = rate(korean, BoardQuery())
    matrix = pair_matrix(rated)
    assert matrix.names == tuple(row.model for row in rated.board.models)
    assert matrix.count.sum() == 2 * rated.board.votes
    met = matrix.count > 0
    assert np.allclose((matrix.share + matrix.share.T)[met], 1)
    assert np.isnan(matrix.share[~met]).all()
    assert pair_matrix(rated, most=2).share.shape == (2, 2)


def test_people_against_judges(korean: Store, tmp_path: Path) -> None:
    assert difference(rate(korean, BoardQuery()), rate(korean, BoardQuery(source="judge"))) == []
    file = tmp_path / "judged.csv"
    names = ("한빛-7B", "누리-3B", "Orca Mini")
    rows = ["model_a,model_b,winner,id"]
    for k in range(300):
        a, b = names[k % 3], names[(k + 1) % 3]
        loved = "누리-3B" if "누리-3B" in (a, b) else a
        winner = "ab"[loved == b] if k % 10 < 8 else "ba"[loved == b]
        rows.append(f"{a},{b},{winner},{k}")
    file.write_text("\n".join(rows), encoding="utf-8")
    import_votes(korean, file, source="judge", fixed={"judge": "심판"})
    people, judges = rate(korean, BoardQuery()), rate(korean, BoardQuery(source="judge"))
    found = {row.model: row for row in difference(people, judges)}
    assert set(found) == set(names)
    assert sum(row.difference for row in found.values()) == pytest.approx(0)
    assert sum(row.first for row in found.values()) == pytest.approx(3000)
    assert found["누리-3B"].difference < 0
    assert found["누리-3B"].clear
    for row in found.values():
        assert row.lower < row.difference < row.upper
    same = difference(people, people)
    assert all(row.difference == 0 and not row.clear for row in same)
    with pytest.raises(ValueError, match="Bradley-Terry"):
        difference(people, rate(korean, BoardQuery(method="elo")))
