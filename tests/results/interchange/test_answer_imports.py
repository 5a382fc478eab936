"""Files of answers become battles, once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from results.ids import new_id
from results.interchange import BadFile, export_answers, import_answers, import_votes
from results.leaderboard import leaderboard
from results.records import ModelVersionRecord, VoteRecord, VoterRecord
from results.store import Store, open_store

PROMPTS = ["수도가 어디야?", "Name a prime.", "한 문장으로\u2028소개해 줘."]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "data") as opened:
        yield opened


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        path.write_text(json.dumps(rows, ensure_ascii=False), "utf-8")
    else:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def outputs(folder: Path, model: str, prompts: list[str] = PROMPTS) -> Path:
    rows = [{"instruction": p, "output": f"{model}의 답: {p}", "generator": model} for p in prompts]
    return write(folder / f"{model}.json", rows)


def battles(store: Store) -> list[dict[str, Any]]:
    return store.query(
        "SELECT b.*, i.text AS prompt FROM battles b JOIN items i ON i.id = b.item_id ORDER BY b.id"
    ).to_pylist()


def test_all_pairs_once_and_votes_on_them(store: Store, tmp_path: Path) -> None:
    files = [outputs(tmp_path / "in", model) for model in ("가람", "나래", "다온")]
    first = import_answers(store, files, language="ko", category="일반")
    assert (first.added, first.known, first.answers, first.prompts) == (9, 0, 9, 3)
    assert first.models == ("가람", "나래", "다온")
    again = import_answers(store, [tmp_path / "in"], language="ko")
    assert (again.added, again.known) == (0, 9)
    found = battles(store)
    assert len(found) == 9
    assert {row["prompt"] for row in found} == set(PROMPTS)
    assert {(row["mode"], row["state"], row["language"], row["category"]) for row in found} == {
        ("import", "done", "ko", "일반")
    }
    assert store.check() == []

    stored = store.battle(found[0]["id"])
    assert stored is not None
    assert stored.conversation_a is not None
    assert [m["role"] for m in stored.conversation_a] == ["user", "assistant"]
    voter = VoterRecord(id=new_id())
    store.register_voter(voter)
    for row in found:
        store.record_vote(
            VoteRecord(battle_id=row["id"], voter_id=voter.id, request_id=new_id(), verdict="a")
        )
    assert leaderboard(store).votes == 9
    sides = Counter(row["version_a"] < row["version_b"] for row in found)
    assert 0 < sides[True] < 9, "nobody always stands on side a"


def test_a_sample_is_part_of_all_and_tells_its_probability(store: Store, tmp_path: Path) -> None:
    files = [outputs(tmp_path, model) for model in ("가", "나", "다", "라")]
    sampled = import_answers(store, files, pairs="sampled", per_prompt=2, seed=7)
    assert sampled.added == 6
    assert {(row["selection_policy"], row["selection_probability"]) for row in battles(store)} == {
        ("sampled", 2 / 6 / 2)
    }
    assert import_answers(store, files, pairs="sampled", per_prompt=2, seed=7).added == 0
    other = import_answers(store, files, pairs="sampled", per_prompt=2, seed=8)
    assert other.added > 0, "another seed draws others"
    assert import_answers(store, files).added == 18 - 6 - other.added


def test_fastchat_answers_with_their_questions(store: Store, tmp_path: Path) -> None:
    questions = [
        {"question_id": 81, "category": "writing", "turns": ["글을 써 줘.", "더 짧게."]},
        {"question_id": 82, "category": "math", "turns": ["1+1?"]},
    ]
    for model in ("vicuna", "알파카"):
        rows = [
            {
                "question_id": 81,
                "model_id": model,
                "choices": [{"index": 0, "turns": [f"{model} 1", "짧음"]}],
            },
            {"question_id": 82, "model_id": model, "choices": [{"index": 0, "turns": ["$ERROR$"]}]},
            {"question_id": 99, "model_id": model, "choices": [{"index": 0, "turns": ["?"]}]},
        ]
        write(tmp_path / "bench" / "model_answer" / f"{model}.jsonl", rows)
    with pytest.raises(BadFile, match="--questions"):
        import_answers(store, [tmp_path / "bench" / "model_answer"])
    write(tmp_path / "bench" / "question.jsonl", questions)
    done = import_answers(
        store, [tmp_path / "bench" / "model_answer"], rejects=tmp_path / "rejects" / "bad.jsonl"
    )
    assert (done.added, done.rejected, done.left_out) == (1, 2, {"no answer": 2})
    assert "no question has the id '99'" in done.rejects[0].reason
    assert done.rejects_file
    assert len(Path(done.rejects_file).read_text("utf-8").splitlines()) == 2
    (battle,) = battles(store)
    assert (battle["category"], battle["prompt"]) == ("writing", "글을 써 줘.")
    assert [m["content"] for m in json.loads(battle["conversation_a"])][::2] == ["글을 써 줘.", "더 짧게."]


def test_arena_hard_and_openai_chat(store: Store, tmp_path: Path) -> None:
    hard = [
        {"uid": "u1", "model": "큰모델", "messages": [
            {"role": "user", "content": "안녕?"}, {"role": "assistant", "content": {"answer": "네."}}]},
    ]  # fmt: skip
    chat = [
        {"messages": [{"role": "user", "content": "안녕?"}, {"role": "assistant", "content": "반가워요."}]},
        {"messages": [{"role": "user", "content": "안녕?"}, {"role": "assistant", "content": "둘째 표본"}]},
        {"messages": [{"role": "robot", "content": "?"}]},
        {"messages": [{"role": "user", "content": "끝없는 질문"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "혼자"}]},
                      {"role": "assistant", "content": "답"}]},
    ]  # fmt: skip
    done = import_answers(
        store, [write(tmp_path / "hard.jsonl", hard), write(tmp_path / "작은모델.jsonl", chat)]
    )
    assert (done.added, done.rejected, done.named_by_file) == (1, 1, ("작은모델",))
    assert done.left_out == {
        "the model answered before": 1, "no answer": 1, "answered by one model alone": 1,
    }  # fmt: skip


def test_own_exports_come_back_as_the_same_versions_and_battles(store: Store, tmp_path: Path) -> None:
    refs = store.upsert_model_versions(
        [ModelVersionRecord(model="가람", digest="1"), ModelVersionRecord(model="나래", digest="1")]
    )
    files = [outputs(tmp_path, f"{ref.label}") for ref in refs]
    assert import_answers(store, files).added == 3
    for format in ("alpaca-outputs", "arena-hard-answers"):
        back = tmp_path / f"{format}.jsonl"
        export_answers(store, back, format)
        again = import_answers(store, [back])
        assert (again.added, again.known) == (0, 3), format
    assert {v.label for v in store.model_versions()} == {"가람@1", "나래@1"}


def test_a_vote_on_the_same_answers_is_a_vote_on_the_battle(store: Store, tmp_path: Path) -> None:
    import_answers(store, [outputs(tmp_path, "가람"), outputs(tmp_path, "나래")])
    battle = battles(store)[0]
    names = {v.version_key: v.model for v in store.model_versions()}
    vote = {
        "model_a": names[battle["version_a"]], "model_b": names[battle["version_b"]], "winner": "model_a",
        "conversation_a": battle["conversation_a"], "conversation_b": battle["conversation_b"], "voter": "나",
    }  # fmt: skip
    import_votes(store, write(tmp_path / "vote.jsonl", [vote]))
    (row,) = store.query("SELECT battle_id FROM comparisons").to_pylist()
    assert UUID(str(row["battle_id"])) == UUID(str(battle["id"]))


def test_files_that_give_nothing(store: Store, tmp_path: Path) -> None:
    one = outputs(tmp_path, "홀로")
    with pytest.raises(BadFile, match="no two models answer the same prompt"):
        import_answers(store, [one])
    with pytest.raises(BadFile, match="holds questions and no answers"):
        import_answers(store, [write(tmp_path / "q.jsonl", [{"question_id": 1, "turns": ["?"]}])])
    with pytest.raises(BadFile, match="no answers that are known here"):
        import_answers(store, [write(tmp_path / "x.jsonl", [{"a": 1}])])
    bad = tmp_path / "half.jsonl"
    bad.write_text('{"instruction": "\\ud800", "output": "x", "generator": "m"}\n', "utf-8")
    with pytest.raises(BadFile, match="half a character"):
        import_answers(store, [bad])
    assert battles(store) == []
