"""Files of other tools: recognised, read as their makers read them, and refused with a reason where they cannot be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from results.interchange import BadFile, ImportSummary, import_votes
from results.leaderboard import leaderboard
from results.store import Store, open_store

SHARED = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "data") as opened:
        yield opened


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".json":
        path.write_text(json.dumps(rows, ensure_ascii=False, indent=1), "utf-8")
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def verdicts(store: Store) -> list[tuple[str, str, str, str]]:
    rows = store.query(
        "SELECT ma.name AS a, mb.name AS b, c.verdict, c.judge FROM comparisons c "
        "JOIN model_versions va ON va.version_key = c.version_a JOIN models ma ON ma.model_key = va.model_key "
        "JOIN model_versions vb ON vb.version_key = c.version_b JOIN models mb ON mb.model_key = vb.model_key "
        "ORDER BY c.seq"
    ).to_pylist()
    return [(row["a"], row["b"], row["verdict"], row["judge"]) for row in rows]


def again(store: Store, path: Path, **options: Any) -> ImportSummary:
    """Import, and see that a second time adds nothing."""
    first = import_votes(store, path, **options)
    assert import_votes(store, path, **options).added == 0
    assert store.check() == []
    return first


def lmsys_row(n: int, winner: str, **more: Any) -> dict[str, Any]:
    return {
        "id": 30192 + n, "model_a": "한빛-7B", "model_b": "gpt-4-1106-preview",
        "prompt": json.dumps(["수도가 어디야?", "인구는?"], ensure_ascii=False),
        "response_a": json.dumps(["서울입니다.", None], ensure_ascii=False), "response_b": '["Seoul", "10M"]',
        **{name: int(name == winner) for name in ("winner_model_a", "winner_model_b", "winner_tie")}, **more,
    }  # fmt: skip


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet"])
def test_lmsys_human_preferences(store: Store, tmp_path: Path, suffix: str) -> None:
    rows = [lmsys_row(n, w) for n, w in enumerate(("winner_model_a", "winner_tie", "winner_model_b", "none"))]
    done = again(store, written(tmp_path / f"train{suffix}", rows))
    assert (done.format, done.added, done.rejected) == ("lmsys", 3, 1)
    assert "not exactly one" in done.rejects[0].reason
    assert [verdict for *_, verdict, _ in verdicts(store)] == ["a", "tie", "b"]
    battle = store.query("SELECT id::VARCHAR AS id FROM battles ORDER BY created_at LIMIT 1")["id"][0].as_py()
    stored = store.query("SELECT conversation_a FROM battles WHERE id = ?::UUID", [battle])["conversation_a"][
        0
    ]
    assert [m["content"] for m in json.loads(stored.as_py())] == [
        "수도가 어디야?",
        "서울입니다.",
        "인구는?",
        "",
    ]


def test_lmsys_arrays_that_are_none(store: Store, tmp_path: Path) -> None:
    rows = [
        lmsys_row(0, "winner_tie", prompt="not json"), lmsys_row(1, "winner_tie", response_a='["one"]'),
        lmsys_row(2, "winner_tie", prompt='[{"a": 1}]'), lmsys_row(3, "winner_tie"),
    ]  # fmt: skip
    done = import_votes(store, written(tmp_path / "x.jsonl", rows))
    assert (done.added, done.rejected) == (1, 3)
    assert "1 answers to 2 prompts" in done.rejects[1].reason


def state(model: str, *texts: str | None) -> dict[str, Any]:
    messages = [[("USER", "ASSISTANT")[n % 2], text] for n, text in enumerate(texts)]
    return {
        "template_name": "vicuna_v1.1", "roles": ["USER", "ASSISTANT"], "offset": 0, "model_name": model,
        "conv_id": f"conv-{model}-{texts[0]}", "messages": messages,
    }  # fmt: skip


def test_fastchat_logs(store: Store, tmp_path: Path) -> None:
    address = "203.0.113.7"
    rows: list[dict[str, Any]] = [
        {"tstamp": 1682351591.1, "type": "chat", "model": "한빛", "state": {}, "ip": address},
        *(
            {"tstamp": 1682351600.5 + n, "type": kind, "models": ["", ""], "ip": address,
             "states": [state("한빛", f"질문 {n}", "답 하나", None), state("누리", f"질문 {n}", "답 둘")]}
            for n, kind in enumerate(("leftvote", "rightvote", "tievote", "bothbad_vote"))
        ),
        {"tstamp": 1.0, "type": "leftvote", "models": ["x", "y"], "states": [state("한빛", "q", "a")]},
        {"tstamp": 2.0, "type": "leftvote", "models": ["둘", "셋"],
         "states": [state("", "q", "a"), state("", "q", "b")]},
    ]  # fmt: skip
    done = again(store, written(tmp_path / "2023-04-24-conv.jsonl", rows))
    assert (done.format, done.added, done.skipped, done.rejected) == ("fastchat", 5, 1, 1)
    assert verdicts(store)[:4] == [("한빛", "누리", verdict, "") for verdict in ("a", "b", "tie", "both_bad")]
    assert verdicts(store)[4][:2] == ("둘", "셋")
    voters = store.query(
        "SELECT voter_id::VARCHAR AS v, count(*) AS n FROM votes GROUP BY 1 ORDER BY 2 DESC"
    ).to_pylist()
    assert voters[0]["n"] == 4
    everything = "".join(
        str(store.query(f"SELECT * FROM {table}").to_pylist()) for table in ("votes", "battles", "voters")
    )
    assert address not in everything
    assert (store.data_dir / "pseudonyms.key").stat().st_mode & 0o777 == 0o600
    with open_store(tmp_path / "other") as other:
        import_votes(other, tmp_path / "2023-04-24-conv.jsonl")
        theirs = other.query("SELECT id FROM voters")["id"].to_pylist()
        assert str(voters[0]["v"]) not in map(str, theirs), "another key, other pseudonyms"


def test_mt_bench_pairs(store: Store, tmp_path: Path) -> None:
    games = [
        ("model_1", "model_1"),
        ("model_2", "model_2"),
        ("model_1", "model_2"),
        ("tie", "model_1"),
        ("error", "tie"),
    ]
    rows = [
        {"question_id": 81 + n, "model_1": "한빛", "model_2": "누리", "g1_winner": one, "g2_winner": two,
         "judge": ["gpt-4", "pair-v2"], "g1_judgment": "[[A]]", "turn": 1, "tstamp": 1687222222.5}
        for n, (one, two) in enumerate(games)
    ]  # fmt: skip
    done = again(store, written(tmp_path / "gpt-4_pair.jsonl", rows))
    assert (done.format, done.added, done.rejected, done.inconsistent) == ("mt-bench-pair", 4, 1, 2)
    assert "no verdict" in done.rejects[0].reason
    assert verdicts(store) == [("한빛", "누리", verdict, "gpt-4") for verdict in ("a", "b", "tie", "tie")]
    assert leaderboard(store, source="judge").votes == 4
    with pytest.raises(BadFile, match="--source judge"):
        import_votes(store, tmp_path / "gpt-4_pair.jsonl", source="human")


def test_mt_bench_grades_become_pairs(store: Store, tmp_path: Path) -> None:
    grades = {"가람": (9, 7), "나래": (7, 7.05), "다솜": (8, -1)}
    rows = [
        {
            "question_id": 81,
            "model": model,
            "judge": ["gpt-4", "single-v1"],
            "score": score,
            "turn": turn,
            "tstamp": 1.0,
        }
        for model, scores in grades.items()
        for turn, score in enumerate(scores, start=1)
    ]
    done = again(store, written(tmp_path / "gpt-4_single.jsonl", rows))
    assert (done.format, done.added, done.rejected) == ("mt-bench-single", 4, 0)
    assert (done.grades, done.grades_added, done.unparsed) == (6, 6, 1)
    assert sorted(verdicts(store)) == [
        ("가람", "나래", "a", "gpt-4"), ("가람", "나래", "tie", "gpt-4"), ("가람", "다솜", "a", "gpt-4"),
        ("나래", "다솜", "b", "gpt-4"),
    ]  # fmt: skip


def test_a_folder_with_a_file_for_each_model(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "single_grade"
    folder.mkdir()
    for model, scores in {"가람": (8.0, 5.0), "나래": (7.0, -1.0)}.items():
        rows = [{"question_id": 81, "model_id": model, "judge_id": "심판", "score_turn1": scores[0],
                 "score_turn2": scores[1], "category": "writing"}]  # fmt: skip
        written(folder / f"{model}.jsonl", rows)
    done = again(store, folder)
    assert (done.added, done.rejected) == (1, 0)
    assert verdicts(store) == [("가람", "나래", "a", "심판")]
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadFile, match="has no file"):
        import_votes(store, tmp_path / "empty")


def test_alpaca_eval_annotations(store: Store, tmp_path: Path) -> None:
    rows = [
        {"instruction": f"시를 써 줘 {n}", "output_1": "하나", "generator_1": "gpt4_turbo", "output_2": "둘",
         "generator_2": "한빛", "annotator": "weighted_alpaca_eval_gpt4_turbo", "preference": preference}
        for n, preference in enumerate((1.0, 2, 1.5, 1.000004, 1.93, 0, None, 7))
    ]  # fmt: skip
    done = again(store, written(tmp_path / "annotations.json", rows))
    assert (done.format, done.added, done.rejected) == ("alpaca-eval", 6, 2)
    assert [verdict for *_, verdict, _ in verdicts(store)] == ["a", "b", "tie", "a", "b", "tie"]


def test_arena_hard_judgments(store: Store, tmp_path: Path) -> None:
    def row(one: str, two: str | None) -> dict[str, Any]:
        return {"question_id": f"q{one}", "model": "한빛", "judge": "gpt-4-1106-preview",
                "games": [{"score": one, "judgment": "..."}, {"score": two}]}  # fmt: skip

    done = again(
        store, written(tmp_path / "한빛.jsonl", [row("A>>B", "B>A"), row("A=B", "A>B"), row("B>A", None)])
    )
    assert (done.format, done.added, done.rejected) == ("arena-hard", 4, 1)
    assert [(a, verdict) for a, _, verdict, _ in verdicts(store)] == [
        ("gpt-4-0314", "a"), ("한빛", "b"), ("gpt-4-0314", "tie"), ("한빛", "a"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"instruction": "x", "output": "y", "generator": "한빛"}], "AlpacaEval outputs"),
        ([{"question_id": 1, "model_id": "한빛", "choices": [{"turns": ["x"]}]}], "model answers"),
        ([{"messages": [{"role": "user", "content": "x"}]}], "OpenAI chat"),
    ],
)
def test_answers_without_verdicts_are_told_from_votes(
    store: Store, tmp_path: Path, rows: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(BadFile, match=message):
        import_votes(store, written(tmp_path / "answers.jsonl", rows))


def test_mistaken_formats(store: Store, tmp_path: Path) -> None:
    votes = written(tmp_path / "v.jsonl", [{"model_a": "가", "model_b": "나", "winner": "a"}])
    with pytest.raises(BadFile, match="there are auto"):
        import_votes(store, votes, format="lmsis")
    with pytest.raises(BadFile, match="is no alpaca-eval file"):
        import_votes(store, votes, format="alpaca-eval")
    pairs = written(tmp_path / "p.jsonl", [lmsys_row(0, "winner_tie")])
    with pytest.raises(BadFile, match="--map is for files in the usual schema"):
        import_votes(store, pairs, format="lmsys", mapping={"model_a": "model_b"})
    assert import_votes(store, votes, format="votes").added == 1
    assert import_votes(store, pairs, fixed={"language": "ko"}).added == 1
    assert store.query("SELECT language FROM votes ORDER BY seq DESC LIMIT 1")["language"][0].as_py() == "ko"
    broken = tmp_path / "b.json"
    for text, reason in (("[1, 2]", "nothing is an object"), ("[{", "is not JSON")):
        broken.write_text(text)
        with pytest.raises(BadFile, match=reason):
            import_votes(store, broken)
    broken.write_text('[{"model_a": "가", "model_b": "나", "winner": "a"}, 5]')
    assert import_votes(store, broken).rejected == 1


@pytest.mark.shared
def test_korean_mt_bench_as_published(store: Store) -> None:
    folder = SHARED / "korean_mt_bench" / "ko" / "judgments" / "qwen" / "judge_7B"
    if not folder.is_dir():
        pytest.skip("the reference data korean_mt_bench is not beside the checkout")
    pairs = import_votes(store, folder / "pairwise")
    expected = [
        json.loads(line)
        for path in (folder / "pairwise").glob("*.jsonl")
        for line in path.read_text("utf-8").split("\n")
        if line
    ]
    errors = sum(row["winner"] == "error" for row in expected)
    assert (pairs.format, pairs.added, pairs.rejected) == ("mt-bench-pair", len(expected) - errors, errors)
    assert (pairs.inconsistent, pairs.added) == (539, 1196)
    won = sum(row["winner"] == row["model_a"] for row in expected)
    assert sum(verdict == "a" for *_, verdict, _ in verdicts(store)) == won
    assert leaderboard(store, source="judge").models[0].rank == 1
    single = import_votes(store, folder / "single_grade")
    assert single.format == "mt-bench-single"
    assert single.added > 1000
    assert store.check() == []


@pytest.mark.shared
def test_fastchat_mt_bench_reference_answers_hold_no_verdicts(store: Store) -> None:
    file = SHARED / "fastchat_mtbench" / "mt_bench" / "reference_answer" / "gpt-4.jsonl"
    if not file.is_file():
        pytest.skip("the reference data fastchat_mtbench is not beside the checkout")
    with pytest.raises(BadFile, match="nobody's verdict"):
        import_votes(store, file)
