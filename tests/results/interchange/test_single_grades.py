"""Single grades of FastChat's judges: stored as grades, told as means, and given back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evaluators.judge import known_judges, summarise_judge
from results.grade_means import all_grades, judge_grades
from results.interchange import BadFile, export_grades, import_votes
from results.leaderboard import leaderboard
from results.store import Store, open_store
from results.store.judging import JudgeProfile, JudgeRun, begin_judge_run

SHARED = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "data") as opened:
        yield opened


def row(model: str, question: Any, turn: int, score: Any, **more: Any) -> dict[str, Any]:
    """A line as FastChat's gen_judgment.py writes it."""
    return {
        "question_id": question, "model": model, "judge": ["gpt-4", "single-v1"],
        "user_prompt": f"[Question]\n질문 {question}", "judgment": f"설명 … Rating: [[{score}]]", "score": score,
        "turn": turn, "tstamp": 1687222801.9284308 + turn, **more,
    }  # fmt: skip


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in rows), "utf-8")
    return path


def mt_bench(path: Path) -> Path:
    """25 questions of two turns, two models; 가람's second turns of the last five could not be read."""
    rows = []
    for question in range(81, 106):
        rows += [row("가람", question, 1, 8 if question % 2 else 9), row("나래", question, 1, 6.5)]
        rows += [row("가람", question, 2, -1 if question > 100 else 7), row("나래", question, 2, 5)]
    return written(path, rows)


def test_means_of_each_model_by_turn_without_the_unparsed(store: Store, tmp_path: Path) -> None:
    file = mt_bench(tmp_path / "gpt-4_single.jsonl")
    done = import_votes(store, file)
    assert (done.grades, done.grades_added, done.unparsed, done.rejected) == (100, 100, 5, 0)
    assert done.added == 45, "two models on 25 questions and two turns, less five without a grade"
    first, second = judge_grades(store, "gpt-4")
    assert (first.model, first.answers, first.unparsed) == ("가람", 45, 5)
    assert first.by_turn == {1: (13 * 8 + 12 * 9) / 25, 2: 7.0}
    assert first.mean is not None
    assert first.mean.value == pytest.approx((13 * 8 + 12 * 9 + 20 * 7) / 45)
    assert first.mean.lower is not None
    assert 0 < first.mean.value - first.mean.lower < 0.5
    assert second.mean is not None
    assert (second.model, second.mean.value, second.unparsed) == ("나래", 5.75, 0)
    whole = all_grades([first, second])
    assert (whole.answers, whole.unparsed) == (45 + second.answers, 5)
    assert whole.mean == pytest.approx((first.mean.value * 45 + 5.75 * second.answers) / whole.answers)
    assert all_grades([]).mean is None
    again = import_votes(store, file)
    assert (again.added, again.grades_added) == (0, 0)
    assert judge_grades(store, "gpt-4") == [first, second]
    assert store.check() == []
    unread = store.query(
        "SELECT DISTINCT reading, score FROM answer_grades WHERE reading <> 'parsed'"
    ).to_pylist()
    assert unread == [{"reading": "unparsed", "score": None}], "never a zero"


def test_one_model_alone_has_grades_and_no_comparison(store: Store, tmp_path: Path) -> None:
    done = import_votes(store, written(tmp_path / "g.jsonl", [row("가람", 81, 1, 8), row("가람", 81, 2, -1)]))
    assert (done.added, done.grades, done.unparsed) == (0, 2, 1)
    (judge,) = known_judges(store)
    assert (judge.name, judge.judgments, judge.grades) == ("gpt-4", 0, 2)
    (told,) = summarise_judge(store).grades
    assert told.mean is not None
    assert (told.mean.value, told.mean.lower, told.answers, told.unparsed) == (8.0, None, 1, 1)


def test_what_is_no_grade(store: Store, tmp_path: Path) -> None:
    rows = [
        row("가람", 81, 1, 0), row("가람", 82, 1, 11), row("가람", 83, 1, None), row("가람", 84, 1, "N/A"),
        row("", 85, 1, 5), row("가람", None, 1, 5), {**row("가람", 86, 1, 5), "turn": "둘"}, row("가람", 87, 1, 5),
        {**row("가람", 88, 1, 5), "judge": []},
    ]  # fmt: skip
    done = import_votes(store, written(tmp_path / "g.jsonl", rows))
    assert (done.grades, done.unparsed, done.rejected) == (4, 3, 5)
    assert [reject.reason for reject in done.rejects] == [
        "score 'N/A' is no number", "model is empty", "question_id is empty", "turn '둘' is no number from 1 on",
        "judge is empty",
    ]  # fmt: skip


def test_grades_come_back_with_the_same_ratings_and_means(store: Store, tmp_path: Path) -> None:
    import_votes(store, mt_bench(tmp_path / "gpt-4_single.jsonl"), fixed={"language": "ko"})
    out = tmp_path / "out.jsonl"
    assert export_grades(store, out).rows == 100
    lines = [json.loads(line) for line in out.read_text("utf-8").split("\n") if line]
    assert lines[0] == {
        **row("가람", 81, 1, 8.0), "judgment": "설명 … Rating: [[8]]", "category": None, "language": "ko",
        "digest": None, "grade_uuid": lines[0]["grade_uuid"],
    }  # fmt: skip
    assert [line["score"] for line in lines].count(-1) == 5
    known = import_votes(store, out)
    assert (known.grades_added, known.grades) == (0, 100)
    with open_store(tmp_path / "other") as other:
        import_votes(other, out, fixed={"language": "ko"})
        assert judge_grades(other, "gpt-4") == judge_grades(store, "gpt-4")
        ours, theirs = (leaderboard(each, source="judge").model_dump_json() for each in (store, other))
        assert ours == theirs
    with pytest.raises(BadFile, match="there are those of gpt-4"):
        export_grades(store, out, judge="gpt-5")
    with pytest.raises(BadFile, match=r"ends in \.jsonl"):
        export_grades(store, tmp_path / "out.csv")


def test_public_grades_hold_no_personal_data(store: Store, tmp_path: Path) -> None:
    secret = row(
        "가람", 81, 1, 8, user_prompt="제 번호는 010-1234-5678", judgment="메일 hong@example.com [[8]]"
    )
    import_votes(store, written(tmp_path / "g.jsonl", [secret]))
    done = export_grades(store, tmp_path / "public.jsonl", public=True)
    assert done.screened == {"PHONE": 1, "EMAIL": 1}
    text = (tmp_path / "public.jsonl").read_text("utf-8")
    assert "010-1234" not in text
    assert "hong@" not in text


def test_grades_of_a_judge_of_this_store_are_refused(store: Store, tmp_path: Path) -> None:
    profile = JudgeProfile(name="gpt-4", version_key=None, mode="single", prompts="own", digest="d")
    begin_judge_run(store, profile, JudgeRun(id="00000000-0000-0000-0000-000000000001", config={}))  # type: ignore[arg-type]
    file = mt_bench(tmp_path / "gpt-4_single.jsonl")
    with pytest.raises(BadFile, match="is a judge of this store"):
        import_votes(store, file)
    done = import_votes(store, file, source="judge", fixed={"judge": "gpt-4 (imported)"})
    assert done.grades_added == 100
    assert {judge.name for judge in known_judges(store)} == {"gpt-4", "gpt-4 (imported)"}
    assert judge_grades(store, "gpt-4") == []


@pytest.mark.shared
def test_korean_single_grades_as_published(store: Store) -> None:
    folder = SHARED / "korean_mt_bench" / "ko" / "judgments" / "qwen" / "judge_7B" / "single_grade"
    if not folder.is_dir():
        pytest.skip("the reference data korean_mt_bench is not beside the checkout")
    import_votes(store, folder)
    files = sorted(folder.glob("*.jsonl"))
    rows = [json.loads(line) for file in files for line in file.read_text("utf-8").split("\n") if line]
    assert len(files) == 6
    whole = all_grades(judge_grades(store, "Qwen2.5-7B-Instruct"))
    assert (whole.answers, round(whole.mean or 0, 2)) == (915, 6.60)
    for told in judge_grades(store, "Qwen2.5-7B-Instruct"):
        scores = [
            r[key] for r in rows if r["model_id"] == told.model for key in ("score_turn1", "score_turn2")
        ]
        read = [score for score in scores if score > 0]
        assert told.mean is not None
        assert told.mean.value == pytest.approx(sum(read) / len(read))
        assert (told.answers, told.unparsed) == (len(read), len(scores) - len(read))
