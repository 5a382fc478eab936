"""Datasets: added whole or not at all, immutable, split by prompt, and previewed as the model is trained."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from prompt_formats import ChatTokenizer, Resolution, load_tokenizer, resolve
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
from results.store.datasets import dataset_versions, remove_dataset
from results.store.model_facts import ModelFacts, record_facts
from trainers.datasets import (
    BadRows,
    MissingRows,
    NothingToBuild,
    UnknownDataset,
    VoteFilter,
    add_dataset,
    dataset_from_votes,
    find_dataset,
    preview,
    read_rows,
    token_statistics,
)
from trainers.datasets.files import rows_path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "data") as opened:
        yield opened


def write(path: Path, rows: list[object]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def pairs(count: int) -> list[object]:
    return [{"prompt": f"{n}번 질문 …\u2028둘째 줄", "response": f"{n}번 답"} for n in range(count)]


def test_the_same_rows_are_one_version_and_other_rows_the_next(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", pairs(50))
    first = add_dataset(store, path, "대화", licence="mit")
    again = add_dataset(store, path, "대화")
    assert (first.known, again.known) == (False, True)
    assert again.dataset.label == first.dataset.label == "대화@1"
    assert again.dataset.licence == "mit"
    more = add_dataset(store, write(path, pairs(51)), "대화")
    assert more.dataset.label == "대화@2"
    assert find_dataset(store, "대화").number == 2
    assert find_dataset(store, "대화@1").row_count == 50
    assert [row.texts()[1] for row, _ in read_rows(store.data_dir, more.dataset.digest, "chat")][
        -1
    ] == "50번 답"


def test_nothing_is_added_where_a_row_is_bad(store: Store, tmp_path: Path) -> None:
    rows = [*pairs(3), {"prompt": "", "response": "x"}, {"prompt": "only"}, *pairs(3)]
    path = write(tmp_path / "rows.jsonl", rows)
    with pytest.raises(BadRows) as caught:
        add_dataset(store, path, "d")
    assert [reject.line for reject in caught.value.rejects] == [4, 5]
    assert "response" in caught.value.rejects[1].reason
    assert dataset_versions(store) == []
    assert list((store.data_dir / "datasets").iterdir()) == []
    added = add_dataset(store, path, "d", skip_bad=True)
    assert (added.dataset.row_count, added.duplicates_left_out, len(added.rejects)) == (3, 3, 2)


def test_equal_prompts_stay_on_one_side_of_the_split(store: Store, tmp_path: Path) -> None:
    rows: list[object] = [{"prompt": f"q{n % 100}", "response": f"a{n}"} for n in range(400)]
    added = add_dataset(store, write(tmp_path / "r.jsonl", rows), "d", held_out_share=0.3)
    sides: dict[str, set[str]] = {}
    for row, split in read_rows(store.data_dir, added.dataset.digest, "chat"):
        sides.setdefault(row.texts()[0], set()).add(split)
    assert all(len(side) == 1 for side in sides.values())
    assert 60 < added.dataset.held_out_count < 180
    held = list(read_rows(store.data_dir, added.dataset.digest, "chat", split="held_out"))
    assert len(held) == added.dataset.held_out_count


def test_csv_columns_can_be_named_and_text_files_are_blocks(store: Store, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text('Q,A,label\n"안녕, 너",반가워,0\n뭐해,공부해,1\n', encoding="utf-8")
    added = add_dataset(store, table, "t", columns={"prompt": "Q", "response": "A"})
    assert (added.shape, added.dataset.row_count) == ("pairs", 2)
    text = tmp_path / "book.txt"
    text.write_text("첫 문단.\n이어서.\n\n\n둘째 문단.\n", encoding="utf-8")
    rows = [
        row.texts()[0]
        for row, _ in read_rows(store.data_dir, add_dataset(store, text, "b").dataset.digest, "text")
    ]
    assert rows == ["첫 문단.\n이어서.", "둘째 문단."]


def test_missing_datasets_and_files_are_told(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UnknownDataset, match="arena data add"):
        find_dataset(store, "x")
    added = add_dataset(store, write(tmp_path / "r.jsonl", pairs(2)), "songys")
    with pytest.raises(UnknownDataset, match="did you mean 'songys'"):
        find_dataset(store, "songy")
    rows_path(store.data_dir, added.dataset.digest).unlink()
    with pytest.raises(MissingRows, match="add its file again"):
        list(read_rows(store.data_dir, added.dataset.digest, "chat"))
    assert remove_dataset(store, "songys") == 1
    assert dataset_versions(store) == []


def vote(store: Store, prompt: str, answers: tuple[str, str], verdicts: list[str]) -> None:
    a, b = store.upsert_model_versions(
        [ModelVersionRecord(model="alpha", digest="1"), ModelVersionRecord(model="beta", digest="2")]
    )
    battle = BattleRecord(
        id=new_id(),
        version_a=a.version_key,
        version_b=b.version_key,
        prompt=prompt,
        category="일상",
        language="ko",
    )
    store.create_battle(battle, TurnRecord(battle_id=battle.id, number=1, message=prompt))
    for side, text, version in (("a", answers[0], a), ("b", answers[1], b)):
        store.record_generation(
            GenerationRecord(
                id=new_id(),
                battle_id=battle.id,
                turn=1,
                side=side,
                version_key=version.version_key,
                text=text,
                finish_reason="stop",
            )
        )
    for verdict in verdicts:
        voter = VoterRecord(id=new_id())
        store.register_voter(voter)
        store.record_vote(
            VoteRecord(battle_id=battle.id, voter_id=voter.id, request_id=new_id(), verdict=verdict)
        )


def test_votes_become_rows_with_margin_and_provenance(store: Store) -> None:
    vote(store, "점심 뭐 먹지?", ("김치찌개!", "몰라"), ["a", "a", "a", "b"])
    vote(store, "저녁은?", ("굶어", "비빔밥"), ["b"])
    vote(store, "둘 다 별로", ("x", "y"), ["both_bad"])
    vote(store, "비김", ("x", "y"), ["tie"])
    built = dataset_from_votes(store, "prefs", "preference", held_out_share=0)
    rows = {row.texts()[0]: row for row, _ in read_rows(store.data_dir, built.dataset.digest, "preference")}
    assert set(rows) == {"점심 뭐 먹지?", "저녁은?"}
    first = rows["점심 뭐 먹지?"].model_dump()
    assert (first["chosen"][0]["content"], first["margin"]) == ("김치찌개!", 0.5)
    assert first["provenance"]["model"] == "alpha@1"
    assert built.left_out["no winner"] == 2
    kto = dataset_from_votes(store, "kto", "kto", held_out_share=0)
    labels = [row.model_dump()["label"] for row, _ in read_rows(store.data_dir, kto.dataset.digest, "kto")]
    assert (labels.count(True), labels.count(False)) == (2, 4)


def test_verdicts_that_do_not_count_are_told(store: Store) -> None:
    vote(store, "점심 뭐 먹지?", ("김치찌개!", "몰라"), ["a"])
    vote(store, "저녁은?", ("굶어", "비빔밥"), ["b"])
    (battle, voter), _ = (
        (row["battle_id"], row["voter_id"])
        for row in store.query("SELECT battle_id, voter_id FROM votes ORDER BY seq").to_pylist()
    )
    store.withdraw_vote(UUID(str(battle)), UUID(str(voter)), new_id())
    built = dataset_from_votes(store, "d", "chat")
    assert built.dataset.row_count == 1
    assert built.left_out == {"verdicts that do not count (withdrawn)": 1}


def test_filters_licences_and_suite_items_keep_rows_out(store: Store) -> None:
    vote(store, "점심 뭐 먹지?", ("김치찌개!", "몰라"), ["a"])
    for where in (
        VoteFilter(least_verdicts=2),
        VoteFilter(categories=frozenset({"코딩"})),
        VoteFilter(languages=frozenset({"en"})),
        VoteFilter(models=frozenset({"beta"})),
        VoteFilter(source="judge"),
    ):
        with pytest.raises(NothingToBuild, match="kind chat"):
            dataset_from_votes(store, "d", "chat", where)
    commercial = VoteFilter(commercial=True)
    with pytest.raises(NothingToBuild, match="1 a licence that does not allow commercial use"):
        dataset_from_votes(store, "d", "chat", commercial)  # nothing is known of the models' licences
    keys = {version.model: version.version_key for version in store.model_versions()}
    record_facts(store, keys["alpha"], ModelFacts(licence="apache-2.0"))
    assert (
        dataset_from_votes(store, "free", "chat", commercial).dataset.origin["filter"]["commercial"] is True
    )
    with pytest.raises(NothingToBuild, match="1 a licence"):
        dataset_from_votes(store, "d", "preference", commercial)  # beta wrote the other answer
    with pytest.raises(NothingToBuild, match="1 an item of a suite"):
        dataset_from_votes(store, "d", "chat", never=["점심 뭐 먹지?"])
    with pytest.raises(NothingToBuild, match="1 overlaps a suite"):
        dataset_from_votes(store, "d", "chat", contaminated=lambda row: True)
    assert dataset_from_votes(store, "d", "chat").dataset.row_count == 1


@pytest.fixture(scope="module")
def smollm2_format(smollm2_dir: Path) -> tuple[Resolution, ChatTokenizer]:
    tokenizer = load_tokenizer(smollm2_dir)
    return resolve("SmolLM2-135M-Instruct", tokenizer=tokenizer), tokenizer


@pytest.mark.model
def test_the_preview_shows_what_is_trained_on(
    store: Store, tmp_path: Path, smollm2_format: tuple[Resolution, ChatTokenizer]
) -> None:
    resolution, tokenizer = smollm2_format
    added = add_dataset(store, write(tmp_path / "r.jsonl", pairs(5)), "d")
    (row, _), *_ = read_rows(store.data_dir, added.dataset.digest, "chat")
    (part,) = preview(row, resolution, tokenizer)
    trained = "".join(piece.text for piece in part.pieces if piece.trained)
    assert trained == "0번 답<|im_end|>"
    assert 0 < part.trained_tokens < part.tokens
    rows = (row for row, _ in read_rows(store.data_dir, added.dataset.digest, "chat"))
    counted = token_statistics(rows, resolution, tokenizer)
    assert counted.tokens is not None
    assert counted.tokens.largest >= part.tokens
    assert counted.refused == {}
