"""Imports and exports through a real store."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.ids import named_id, new_id
from results.interchange import BadFile, export_votes, import_votes, importing
from results.interchange.occurrences import Occurrences
from results.leaderboard import leaderboard
from results.records import (
    BattleRecord,
    GenerationRecord,
    ModelVersionRecord,
    TurnRecord,
    VoteRecord,
    VoterRecord,
)
from results.store import Store, open_store

DATA = Path(__file__).parents[1] / "data" / "votes"
KOREAN = DATA / "korean_votes.csv"
HEADER = "id,model_a,model_b,winner,voter\n"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "data") as opened:
        yield opened


def ids(store: Store) -> list[tuple[str, str]]:
    table = store.query("SELECT id::VARCHAR AS id, battle_id::VARCHAR AS battle FROM comparisons ORDER BY 1")
    return [tuple(row.values()) for row in table.to_pylist()]


def battles_by_votes(store: Store) -> Counter[int]:
    """How many battles have one vote, two votes ..."""
    return Counter(Counter(battle for _, battle in ids(store)).values())


def test_the_same_file_twice_adds_nothing_under_any_name(store: Store, tmp_path: Path) -> None:
    first = import_votes(store, KOREAN)
    assert (first.added, first.known, first.rejected) == (22, 0, 0)
    again = import_votes(store, KOREAN)
    assert (again.added, again.known) == (0, 22)
    renamed = tmp_path / "other.csv"
    renamed.write_text(KOREAN.read_text("utf-8") + "q10,한빛-7B,누리-3B,tie,새 투표자,,,,\n", "utf-8")
    grown = import_votes(store, renamed)
    assert (grown.added, grown.known) == (1, 22)
    assert store.check() == []


def test_votes_on_one_pair_of_answers_are_votes_on_one_battle(store: Store) -> None:
    import_votes(store, KOREAN)
    assert battles_by_votes(store) == {2: 5, 3: 4}
    judged = import_votes(store, DATA / "judge_verdicts.jsonl", source="judge", fixed={"judge": "심판"})
    assert judged.added == 5
    shared = store.query(
        "SELECT count(DISTINCT battle_id) AS n FROM comparisons WHERE source = 'judge' AND battle_id IN "
        "(SELECT battle_id FROM comparisons WHERE source = 'human')"
    )
    assert shared["n"].to_pylist() == [4]
    assert store.query("SELECT count(*) AS n FROM battles")["n"].to_pylist() == [10]


def test_equal_rows_are_kept_and_a_voter_voting_twice_gets_a_second_battle(
    store: Store, tmp_path: Path
) -> None:
    file = tmp_path / "v.csv"
    rows = [
        "1,가,나,a,은지",
        "1,가,나,a,은지",
        "1,가,나,b,은지",
        "1,가,나,a,민수",
        "1,가,나,a,",
        "1,가,나,a,",
    ]
    file.write_text(HEADER + "\n".join(rows) + "\n", "utf-8")
    assert import_votes(store, file).added == 6
    found = store.query(
        "SELECT battle_id::VARCHAR AS battle, count(*) AS votes, count(DISTINCT voter) AS voters, "
        "count(voter) AS named FROM comparisons GROUP BY 1 ORDER BY 2 DESC"
    ).to_pylist()
    assert [row["votes"] for row in found] == [4, 1, 1]
    assert all(row["voters"] == row["named"] for row in found)
    assert import_votes(store, file).known == 6


def test_a_second_vote_in_another_file_goes_to_a_second_battle(store: Store, tmp_path: Path) -> None:
    files = {
        "one.csv": ["1,가,나,a,은지", "1,가,나,a,민수"],
        "two.csv": ["1,가,나,b,은지", "1,가,나,tie,은지", "1,가,나,b,현우"],
        "three.csv": ["1,가,나,both_bad,은지", "1,가,나,b,은지", "1,가,나,a,민수"],
    }
    for name, rows in files.items():
        (tmp_path / name).write_text(HEADER + "\n".join(rows) + "\n", "utf-8")
        import_votes(store, tmp_path / name)
    before = ids(store)
    assert len(before) == 6
    # 은지 voted four times on one pair of answers: four battles; the others voted on the first.
    assert battles_by_votes(store) == {1: 3, 3: 1}
    twice = store.query("SELECT battle_id, voter FROM comparisons GROUP BY ALL HAVING count(*) > 1")
    assert twice.num_rows == 0
    for name, rows in files.items():
        (tmp_path / name).write_text(HEADER + "\n".join(rows) + "\n\n", "utf-8")
        again = import_votes(store, tmp_path / name)
        assert (again.added, again.known) == (0, len(rows))
    assert ids(store) == before
    assert store.query("SELECT count(*) AS n FROM battles")["n"].to_pylist() == [4]


def test_rows_that_name_only_models_are_battles_of_their_own(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "v.csv"
    file.write_text("model_a,model_b,winner,voter\n" + "가,나,a,은지\n" * 3, "utf-8")
    import_votes(store, file)
    assert battles_by_votes(store) == {1: 3}


def test_ids_are_those_of_results_ids_however_the_file_is_cut(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "v.csv"
    file.write_text(HEADER + "1,가,나,a,은지\n" * 3 + "2,가,나,b,은지\n", "utf-8")
    monkeypatch.setattr(importing, "_CHUNK_ROWS", 2)
    import_votes(store, file)
    row = json.dumps(
        {"id": "1", "model_a": "가", "model_b": "나", "voter": "은지", "winner": "a"},
        ensure_ascii=False,
        sort_keys=True,
    )
    expected = {str(named_id("comparison", "human", row, str(n))) for n in range(3)}
    assert expected < {own for own, _ in ids(store)}
    assert battles_by_votes(store) == {1: 4}
    whole = tmp_path / "whole"
    monkeypatch.undo()
    with open_store(whole) as other:
        import_votes(other, file)
        assert ids(other) == ids(store)


def test_bad_rows_are_reported_and_good_ones_imported(store: Store, tmp_path: Path) -> None:
    file, rejects = tmp_path / "v.csv", tmp_path / "out" / "rejects.jsonl"
    file.write_bytes(
        HEADER.encode()
        + "1,가,나,a,은지\n2,가,가,a,은지\n3,가,나,최고,은지\n".encode()
        + "4,가,나,a,은".encode("cp949")
        + "\n5,가,나,b,민수\n".encode()
    )
    for _ in range(2):  # the second time everything good is known, and bad rows are still bad
        summary = import_votes(store, file, rejects=rejects)
        assert (summary.added + summary.known, summary.rejected, summary.rows) == (2, 3, 5)
        assert [reject.line for reject in summary.rejects] == [3, 4, 5]
        written = [json.loads(line) for line in rejects.read_text("utf-8").splitlines()]
        assert [entry["line"] for entry in written] == [3, 4, 5]
        assert written[1]["row"]["winner"] == "최고"
        assert "UTF-8" in written[2]["reason"]
    assert leaderboard(store).votes == 2


def test_strict_imports_all_or_nothing(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "v.csv"
    file.write_text(HEADER + "1,가,나,a,은지\n2,가,나,,은지\n", "utf-8")
    summary = import_votes(store, file, strict=True)
    assert (summary.refused, summary.added, summary.rejected, summary.rows) == (True, 0, 1, 2)
    assert store.imports() == []
    assert store.model_versions() == []
    file.write_text(HEADER + "1,가,나,a,은지\n", "utf-8")
    assert import_votes(store, file, strict=True).added == 1


def test_half_characters_are_bad_rows(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "v.jsonl"
    row = {"model_a": "a", "model_b": "b", "winner": "a"}
    file.write_text(json.dumps(row) + "\n" + json.dumps({**row, "prompt": "\ud800"}) + "\n")
    summary = import_votes(store, file)
    assert (summary.added, summary.rejected) == (1, 1)
    assert "half a character" in summary.rejects[0].reason


def test_odd_text_is_kept_and_bottomless_json_is_a_bad_row(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "v.jsonl"
    row = {
        "model_a": "a",
        "model_b": "b",
        "winner": "a",
        "prompt": "널\x00 문자, \u2028, 👩‍👩‍👧, \u202e뒤집힘",
    }
    start = json.dumps({**row, "extra": 0})[:-2]
    rows = [json.dumps(row)] + [start + "[" * n + "]" * n + "}" for n in (900, 960, 980, 990, 995, 5000)]
    file.write_text("\n".join(rows) + "\n", "utf-8")
    summary = import_votes(store, file, rejects=tmp_path / "rejects.jsonl")
    assert summary.added >= 1
    assert summary.rejected >= 1
    assert len((tmp_path / "rejects.jsonl").read_text("utf-8").splitlines()) == summary.rejected
    assert summary.added + summary.rejected == len(rows)
    texts = store.query("SELECT text FROM items")["text"].to_pylist()
    assert texts == [row["prompt"]]


def test_the_rejects_file_may_not_be_the_file_itself(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "v.csv"
    file.write_text(HEADER + "1,가,나,,\n", "utf-8")
    with pytest.raises(BadFile, match="is the file to be imported"):
        import_votes(store, file, rejects=file)
    assert file.read_text("utf-8").startswith(HEADER)


def test_an_import_that_breaks_off_leaves_nothing_and_can_be_repeated(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "_CHUNK_ROWS", 5)
    calls = 0

    def interrupt(progress: object) -> None:
        nonlocal calls
        calls += 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_votes(store, KOREAN, progress=interrupt)
    assert calls == 1
    assert leaderboard(store).votes == 0
    assert import_votes(store, KOREAN).added == 22


def _vote_in_the_browser(store: Store) -> None:
    """A battle of two turns between versions of one roster model and an imported one, voted on."""
    one, two = store.upsert_model_versions(
        [
            ModelVersionRecord(model="한빛-7B", digest="d" * 8, spec={"quantisation": "nf4"}),
            ModelVersionRecord(model="누리-3B", digest="imported", owner="import"),
        ]
    )
    battle = BattleRecord(
        id=new_id(), version_a=one.version_key, version_b=two.version_key, prompt="첫 질문", category="대화",
        language="ko",
    )  # fmt: skip
    store.create_battle(battle, TurnRecord(battle_id=battle.id, number=1, message="첫 질문"))
    store.add_turn(TurnRecord(battle_id=battle.id, number=2, message='둘째, "인용"\n질문'))
    for turn in (1, 2):
        for side, version in (("a", one), ("b", two)):
            store.record_generation(
                GenerationRecord(
                    id=new_id(), battle_id=battle.id, turn=turn, side=side, version_key=version.version_key,
                    text=f"{side}의 답 {turn}", finish_reason="stop",
                )
            )  # fmt: skip
    voter = VoterRecord(id=new_id())
    store.register_voter(voter)
    store.record_vote(VoteRecord(battle_id=battle.id, voter_id=voter.id, request_id=new_id(), verdict="tie"))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_an_export_comes_back_exactly(store: Store, tmp_path: Path, suffix: str) -> None:
    import_votes(store, KOREAN)
    import_votes(store, DATA / "judge_verdicts.jsonl", source="judge", fixed={"judge": "심판"})
    _vote_in_the_browser(store)
    humans, judges = tmp_path / f"humans{suffix}", tmp_path / f"judges{suffix}"
    written = export_votes(store, humans)
    assert (written.rows, written.other_source, written.left_out) == (23, 5, {})
    assert export_votes(store, judges, source="judge").rows == 5
    assert import_votes(store, humans).known == 23
    assert import_votes(store, judges, source="judge").known == 5

    with open_store(tmp_path / "empty") as other:
        assert import_votes(other, humans).added == 23
        assert import_votes(other, judges, source="judge").added == 5
        assert ids(other) == ids(store)
        for method in ("bt", "elo"):
            for source in ("human", "judge", "all"):
                for by in ("model", "version"):
                    ours = leaderboard(store, method, source, by=by)  # type: ignore[arg-type]
                    assert leaderboard(other, method, source, by=by) == ours  # type: ignore[arg-type]
        live = store.query("SELECT id FROM battles WHERE mode = 'battle'")["id"].to_pylist()[0]
        copied = other.battle(live if isinstance(live, UUID) else UUID(str(live)))
        assert copied is not None
        assert copied.conversation_b == [
            {"role": "user", "content": "첫 질문"},
            {"role": "assistant", "content": "b의 답 1"},
            {"role": "user", "content": '둘째, "인용"\n질문'},
            {"role": "assistant", "content": "b의 답 2"},
        ]


def test_an_export_leaves_out_what_does_not_count_and_says_so(store: Store, tmp_path: Path) -> None:
    _vote_in_the_browser(store)
    battle, voter = store.query("SELECT battle_id, voter FROM comparisons").to_pylist()[0].values()
    store.withdraw_vote(UUID(str(battle)), UUID(str(voter)), new_id())
    summary = export_votes(store, tmp_path / "v.jsonl")
    assert (summary.rows, summary.left_out) == (0, {"withdrawn": 1})
    assert (tmp_path / "v.jsonl").read_text() == ""


def test_an_export_that_fails_leaves_no_file(store: Store, tmp_path: Path) -> None:
    import_votes(store, KOREAN)

    def fail(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_votes(store, tmp_path / "v.csv", progress=fail)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    with pytest.raises(BadFile, match="cannot tell the format"):
        export_votes(store, tmp_path / "v.txt")


@given(st.lists(st.lists(st.integers(0, 6), max_size=12), max_size=6))
@settings(deadline=None)
def test_occurrences_are_numbered_as_a_dictionary_would(chunks: list[list[int]]) -> None:
    seen, counts = Occurrences(), Counter[int]()
    for chunk in chunks:
        expected = []
        for key in chunk:
            expected.append(counts[key])
            counts[key] += 1
        assert seen.number(np.array(chunk, dtype=np.uint64)).tolist() == expected
