"""What the options of a leaderboard do to votes in a real store."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from results.ids import new_id
from results.interchange import import_votes
from results.leaderboard import BoardQuery, Leaderboard, UnknownModel, leaderboard, rate
from results.leaderboard_history import rating_history
from results.ratings import PairCounts, Unidentified, bradley_terry, rate_with_ties
from results.records import BattleRecord, GenerationRecord, ModelVersionRecord, VoteRecord, VoterRecord
from results.store import Store, open_store

DATA = Path(__file__).parents[1] / "data" / "votes"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ("가람", "나래", "다온")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "data") as opened:
        yield opened


def put(store: Store, tmp_path: Path, rows: list[dict[str, object]], **options: object) -> None:
    file = tmp_path / f"{new_id()}.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    outcome = import_votes(store, file, **options)  # type: ignore[arg-type]
    assert outcome.added == len(rows)


def vote(a: str, b: str, winner: str, day: float = 0.0, **more: object) -> dict[str, object]:
    return {
        "id": str(new_id()), "model_a": a, "model_b": b, "winner": winner,
        "timestamp": (BEGIN + timedelta(days=day)).isoformat(), **more,
    }  # fmt: skip


def random_votes(n: int, seed: int = 0) -> list[dict[str, object]]:
    rng = np.random.default_rng(seed)
    rows = []
    for k in range(n):
        a, b = rng.choice(3, 2, replace=False)
        p = 1 / (1 + math.exp(-0.8 * (b - a)))
        winner = "tie" if rng.random() < 0.2 else "model_a" if rng.random() < p else "model_b"
        rows.append(
            vote(NAMES[a], NAMES[b], winner, day=k / 4, voter=f"사람{k % 7}", prompt=f"질문 {k % 11}")
        )
    return rows


def ratings(board: Leaderboard) -> dict[str, float | None]:
    return {row.model: row.rating for row in board.models}


def counts_of(rows: list[dict[str, object]], weights: list[float] | None = None) -> PairCounts:
    a, b = ([NAMES.index(str(row[side])) for row in rows] for side in ("model_a", "model_b"))
    outcome = [("model_a", "tie", "model_b").index(str(row["winner"])) for row in rows]
    return PairCounts.of(a, b, outcome, 3, weight=weights)


def expect_same(board: Leaderboard, counts: PairCounts) -> None:
    fit = bradley_terry(counts)
    found = {row.model: row for row in board.models}
    for i, name in enumerate(NAMES):
        row = found[name]
        assert row.rating == pytest.approx(fit.ratings[i], abs=1e-6)
        assert (row.lower, row.upper) == (pytest.approx(fit.lower[i]), pytest.approx(fit.upper[i]))


def test_a_window_takes_the_votes_inside(store: Store, tmp_path: Path) -> None:
    rows = random_votes(200)
    put(store, tmp_path, rows)
    since, until = BEGIN + timedelta(days=10), BEGIN + timedelta(days=40)
    board = rate(store, BoardQuery(since=since, until=until)).board
    inside = [row for row in rows if since.isoformat() <= str(row["timestamp"]) < until.isoformat()]
    assert board.votes == len(inside) == 120
    expect_same(board, counts_of(inside))
    elo = rate(store, BoardQuery(method="elo", until=until)).board
    assert elo.votes == 160


def test_older_votes_weigh_less(store: Store, tmp_path: Path) -> None:
    rows = random_votes(120)
    put(store, tmp_path, rows)
    board = rate(store, BoardQuery(half_life=7)).board
    ages = [(119 - k) / 4 for k in range(120)]
    expect_same(board, counts_of(rows, [0.5 ** (age / 7) for age in ages]))
    assert board.votes == 120
    assert sum(row.votes for row in board.models) == 240  # counted whole, whatever they weigh


@pytest.mark.parametrize(
    ("option", "column"), [("max_votes_per_voter", "voter"), ("max_votes_per_prompt", "prompt")]
)
def test_one_voter_or_prompt_cannot_dominate(store: Store, tmp_path: Path, option: str, column: str) -> None:
    rows = random_votes(60)
    flood = [vote("다온", "가람", "model_a", voter="열성", prompt="또 이 질문") for _ in range(300)]
    unknown = [vote("나래", "다온", "model_b")]  # by nobody known, on no known prompt: not capped
    put(store, tmp_path, rows + flood + unknown)
    board = rate(store, BoardQuery.model_validate({option: 4})).board
    sizes: dict[object, int] = {}
    for row in rows + flood:
        sizes[row[column]] = sizes.get(row[column], 0) + 1
    weights = [min(1.0, 4 / sizes[row[column]]) for row in rows + flood] + [1.0]
    expect_same(board, counts_of(rows + flood + unknown, weights))
    assert ratings(leaderboard(store))["다온"] > ratings(leaderboard(store))["가람"]  # type: ignore[operator]
    assert ratings(board)["가람"] > 0  # type: ignore[operator]


def test_judges_beside_people_by_weight(store: Store, tmp_path: Path) -> None:
    people, judged = random_votes(80), random_votes(80, seed=1)
    put(store, tmp_path, people)
    put(store, tmp_path, judged, source="judge", fixed={"judge": "심판"})
    board = rate(store, BoardQuery(source="all", judge_weight=0.25)).board
    expect_same(board, counts_of(people + judged, [1.0] * 80 + [0.25] * 80))
    both = rate(store, BoardQuery(source="all", judge_weight=0.25, half_life=1e9)).board  # row by row
    for name, rating in ratings(board).items():
        assert ratings(both)[name] == pytest.approx(rating, abs=1e-3)
    nothing = rate(store, BoardQuery(source="all", judge_weight=0)).board
    assert ratings(nothing) == {
        name: pytest.approx(rating) for name, rating in ratings(leaderboard(store)).items()
    }


@pytest.mark.parametrize("model", ["davidson", "rao_kupper"])
def test_tie_models_and_position(store: Store, tmp_path: Path, model: str) -> None:
    rows = random_votes(150)
    put(store, tmp_path, rows)
    board = rate(store, BoardQuery.model_validate({"ties": model, "position_bias": True})).board
    fit = rate_with_ties(counts_of(rows), model)  # type: ignore[arg-type]
    assert ratings(board) == {name: pytest.approx(fit.base.ratings[i]) for i, name in enumerate(NAMES)}
    assert board.tie_parameter == pytest.approx(fit.ties)
    assert board.position is not None
    assert board.position.lower < 0 < board.position.upper  # votes were made without one


def test_bootstrap_and_simultaneous_ranks(store: Store, tmp_path: Path) -> None:
    put(store, tmp_path, random_votes(150))
    plain = leaderboard(store)
    resampled = rate(store, BoardQuery(bootstrap=300)).board
    assert resampled.failed_draws == 0
    for row, other in zip(plain.models, resampled.models, strict=True):
        assert row.rating == other.rating
        width, beside = ((r.upper or 0) - (r.lower or 0) for r in (row, other))
        assert beside == pytest.approx(width, rel=0.25)
        assert beside != width
    together = rate(store, BoardQuery(simultaneous=True)).board
    for row, other in zip(plain.models, together.models, strict=True):
        assert (other.rank_best or 0) <= (row.rank_best or 0)
        assert (other.rank_worst or 0) >= (row.rank_worst or 0)


def test_models_selects_rows_and_not_votes(store: Store, tmp_path: Path) -> None:
    put(store, tmp_path, random_votes(100))
    board = rate(store, BoardQuery(models=("나래",))).board
    whole = leaderboard(store)
    assert board.models == tuple(row for row in whole.models if row.model == "나래")
    assert board.votes == 100
    with pytest.raises(UnknownModel, match="Did you mean '나래'"):
        rate(store, BoardQuery(models=("나레",)))


def test_plain_json_is_as_it_was_and_options_are_told(store: Store, tmp_path: Path) -> None:
    put(store, tmp_path, random_votes(30))
    assert list(json.loads(leaderboard(store).model_dump_json())) == [
        "method", "votes", "excluded", "models", "source", "judge", "category", "language", "by", "level",
    ]  # fmt: skip
    told = rate(store, BoardQuery(half_life=30, since=BEGIN)).board.model_dump(mode="json")
    assert told["options"] == {"half_life": 30, "since": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"judge_weight": 0.5}, "needs source all"),
        ({"method": "elo", "half_life": 3}, "elo takes no half life"),
        ({"method": "elo", "style_control": True}, "elo takes no style control"),
        ({"style_control": True, "ties": "davidson"}, "ties half"),
        ({"bootstrap": 100, "half_life": 3}, "cannot go with half life"),
        ({"since": BEGIN, "until": BEGIN}, "must lie before"),
        ({"half_life": -1}, "greater than 0"),
    ],
)
def test_options_that_exclude_each_other(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BoardQuery.model_validate(options)


def cast(
    store: Store, pair: tuple[int, int], verdict: str, *, texts: tuple[str, str] | None = None,
    probability: float | None = None,
) -> BattleRecord:  # fmt: skip
    battle = BattleRecord(
        id=new_id(), version_a=pair[0], version_b=pair[1], selection_probability=probability
    )
    voter = VoterRecord(id=new_id())
    store.create_battle(battle)
    store.register_voter(voter)
    for side, text in zip("ab", texts or (), strict=False):
        store.record_generation(
            GenerationRecord(
                id=new_id(), battle_id=battle.id, turn=1, side=side, version_key=pair[side == "b"], text=text,  # type: ignore[arg-type]
                finish_reason="stop",
            )
        )  # fmt: skip
    store.record_vote(
        VoteRecord(battle_id=battle.id, voter_id=voter.id, request_id=new_id(), verdict=verdict)  # type: ignore[arg-type]
    )
    return battle


def enrolled(store: Store) -> list[int]:
    records = [ModelVersionRecord(model=name, digest="1") for name in NAMES]
    return [ref.version_key for ref in store.upsert_model_versions(records)]


def test_sampling_is_corrected_by_selection_probability(store: Store, tmp_path: Path) -> None:
    x, y, z = enrolled(store)
    drawn = [(x, y, "a", 0.4), (y, x, "a", 0.1), (y, z, "tie", 0.1), (z, x, "b", 0.2), (x, z, "b", 0.2)]
    for a, b, verdict, probability in drawn:
        cast(store, (a, b), verdict, probability=probability)
    put(store, tmp_path, [vote("가람", "다온", "model_a")])
    board = rate(store, BoardQuery(correct_sampling=True, by="model")).board
    assert (board.votes, board.excluded) == (5, {"no_probability": 1})
    keys = {x: 0, y: 1, z: 2}
    weights = np.array([1 / p for *_, p in drawn])
    expect_same(
        board,
        PairCounts.of(
            [keys[a] for a, *_ in drawn], [keys[b] for _, b, *_ in drawn],
            [{"a": 0, "tie": 1, "b": 2}[v] for *_, v, _ in drawn], 3, weight=weights / weights.mean(),
        ),
    )  # fmt: skip


def test_style_control_finds_a_taste_for_length(store: Store, tmp_path: Path) -> None:
    """All models are equally good, 다온 writes at length, and voters like length: a plain leaderboard puts 다온
    first, one at equal style does not."""
    rng = np.random.default_rng(3)
    rows = []
    for _ in range(1500):
        i, j = (int(x) for x in rng.choice(3, 2, replace=False))
        words = [int(rng.integers(5, 60)) * (3 if m == 2 else 1) for m in (i, j)]
        taste = 2.5 * (words[0] - words[1]) / sum(words)
        winner = "model_a" if rng.random() < 1 / (1 + math.exp(-taste)) else "model_b"
        sides = [
            [{"role": "user", "content": "소개해 주세요"}, {"role": "assistant", "content": "단어 " * n}]
            for n in words
        ]
        rows.append(vote(NAMES[i], NAMES[j], winner, conversation_a=sides[0], conversation_b=sides[1]))
    put(store, tmp_path, rows)
    plain = leaderboard(store)
    assert plain.models[0].model == "다온"
    assert (plain.models[0].lower or 0) > (plain.models[1].upper or 0)
    board = rate(store, BoardQuery(style_control=True, position_bias=True)).board
    assert board.votes == 1500
    assert board.style is not None
    assert [effect.name for effect in board.style] == ["length"]  # nothing else ever differs
    assert board.style[0].lower > 0.3
    assert (board.style[0].p_value or 0) < 1e-6
    assert board.position is not None
    assert board.position.lower < 0 < board.position.upper
    for row in board.models:
        assert (row.lower or 0) < 1000 < (row.upper or 0)


def test_style_of_web_battles_and_of_imports_is_measured_alike(store: Store, tmp_path: Path) -> None:
    x, y, _ = enrolled(store)
    rich = "# 제목\n- 하나\n1. 둘\n**굵게** 와 __굵게__\n```\n# 주석\n- 아님\n```\n"
    battle = cast(store, (x, y), "a", texts=(rich, "짧게"))
    cast(store, (y, x), "a", texts=("짧게", rich))
    cast(store, (x, y), "tie")  # without texts
    put(
        store, tmp_path,
        [
            vote(
                "가람", "나래", "model_a", conversation_b=[{"role": "assistant", "content": "짧게"}],
                conversation_a=[{"role": "user", "content": "# 질문"}, {"role": "assistant", "content": rich}],
            )
        ],
    )  # fmt: skip
    from results.leaderboard_data import _read_rows

    table = _read_rows(store, BoardQuery(style_control=True)).to_pylist()
    measured = [row for row in table if row["length_a"] is not None]
    assert len(measured) == 3
    for row in measured:
        rich_side = "a" if row["length_a"] > 2 else "b"
        plain_side = "ba"[rich_side == "b"]
        assert [row[f"{name}_{rich_side}"] for name in ("length", "headers", "lists", "bold")] == [
            len(rich),
            1,
            2,
            2,
        ]
        assert [row[f"{name}_{plain_side}"] for name in ("length", "headers", "lists", "bold")] == [
            2,
            0,
            0,
            0,
        ]
    # Whoever wrote more always won: no finite effect of style explains that.
    with pytest.raises(Unidentified):
        rate(store, BoardQuery(style_control=True))
    assert store.battle(battle.id) is not None
    only_tie = rate(store, BoardQuery(style_control=True, language="없음")).board
    assert (only_tie.votes, only_tie.models) == (0, ())


def test_history_ends_with_the_leaderboard_and_intervals_narrow(store: Store, tmp_path: Path) -> None:
    put(store, tmp_path, random_votes(200))
    tracks = rating_history(store, BoardQuery(), points=5)
    board = leaderboard(store)
    assert [track.model for track in tracks] == [row.model for row in board.models]
    for track, row in zip(tracks, board.models, strict=True):
        assert (track.points[-1].rating, track.points[-1].votes) == (row.rating, row.votes)
        widths = [(point.upper or 0) - (point.lower or 0) for point in track.points]
        assert widths[-1] < widths[0]
        assert [point.time for point in track.points] == sorted({point.time for point in track.points})
    half = rate(store, BoardQuery(until=tracks[0].points[2].time)).board
    assert ratings(half)[tracks[0].model] == tracks[0].points[2].rating
    assert rating_history(store, BoardQuery(language="없음"), points=3) == []
    with pytest.raises(ValueError, match="two points"):
        rating_history(store, BoardQuery(), points=1)
