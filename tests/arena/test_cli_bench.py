"""`arena bench` as a user types it: lists, own suites, comparisons and the gate's exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from arena.web.pages.benchmarks_views import results_html
from evaluators.suites.catalogue import find_suite
from evaluators.suites.results_of import suite_result_records
from results.ids import new_id
from results.records import ModelVersionRecord
from results.store import open_store
from results.store.suites import (
    SampleRecord,
    SuiteRunRecord,
    begin_run,
    end_run,
    record_results,
    record_samples,
    sample_id,
)
from tests.arena.conftest import Arena

ITEMS = 40


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two models on one suite: `strong` solves all but 4 of 40 items, `weak` 16 fewer, `equal` one fewer."""
    with open_store(tmp_path) as store:
        versions = store.upsert_model_versions(
            [ModelVersionRecord(model=name, digest=name) for name in ("strong", "weak", "equal")]
        )
        run = SuiteRunRecord(id=new_id(), name="first", plan={"limit": None}, plan_hash="p")
        begin_run(store, run)
        samples = [
            SampleRecord(
                id=sample_id(run.id, version.version_key, "s", str(n), 0), run_id=run.id,
                version_key=version.version_key, suite="s", suite_version="1", item=str(n), item_hash=f"h{n}",
                score=float(n >= misses), metrics={"exact": float(n >= misses)}, detail={"read": "서울"},
            )
            for version, misses in zip(versions, (4, 20, 5), strict=True)
            for n in range(ITEMS)
        ]  # fmt: skip
        record_samples(store, samples)
        end_run(store, run.id, "done")
    return tmp_path


def test_starter_suites_are_listed(arena: Arena, tmp_path: Path) -> None:
    done = arena("bench", "list", "--data", tmp_path, "--json")
    rows = {row["suite"]: row for row in json.loads(done.stdout)}
    assert rows["classification"]["languages"].keys() == {"en", "ko"}
    assert min(rows["classification"]["languages"].values()) >= 50
    assert rows["classification"]["licence"] == "CC0-1.0"
    assert "classification" in arena("bench", "list", "--data", tmp_path).stdout


def test_a_file_of_own_cases_becomes_a_suite(arena: Arena, tmp_path: Path) -> None:
    (tmp_path / "faq.csv").write_text("질문,정답\n수도는?,서울\n", encoding="utf-8")
    done = arena("bench", "add-suite", tmp_path / "faq.csv", "--data", tmp_path)
    assert (done.returncode, "faq: 1 items (ko)" in done.stdout) == (0, True)
    again = arena("bench", "add-suite", tmp_path / "faq.csv", "--data", tmp_path)
    assert (again.returncode, "there is a suite 'faq' already" in again.stderr) == (2, True)
    rows = json.loads(arena("bench", "list", "--data", tmp_path, "--json").stdout)
    assert [row["origin"] for row in rows if row["suite"] == "faq"] == ["own"]
    bad = arena("bench", "add-suite", tmp_path / "faq.csv", "--column", "input", "--data", tmp_path)
    assert (bad.returncode, "FIELD=COLUMN" in bad.stderr) == (2, True)


@pytest.mark.parametrize(
    ("a", "b", "bound", "code", "verdict"),
    [
        ("strong", "weak", "0.02", 3, "worse"),
        ("strong", "weak", "0.9", 0, "worse"),
        ("strong", "equal", "0.02", 0, "inconclusive"),
        ("weak", "strong", "0.02", 0, "better"),
    ],
)
def test_the_gate_says_no_only_to_what_is_shown(
    arena: Arena, data: Path, a: str, b: str, bound: str, code: int, verdict: str
) -> None:
    done = arena("bench", "compare", a, b, "--fail-if-worse", bound, "--data", data, "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["suites"][0]["verdict"], found["gate"]) == (
        code,
        verdict,
        "no" if code == 3 else "yes",
    )
    shown = arena("bench", "compare", a, b, "--data", data)
    assert (shown.returncode, verdict in shown.stdout) == (0, True)


def test_what_cannot_be_compared_or_shown_is_bad_input(arena: Arena, data: Path) -> None:
    for words, told in (
        (("compare", "strong", "nobody"), "no model, version or alias, and no run"),
        (("compare", "strong", "weak", "--suite", "t"), "has no scored samples of t"),
        (("show", "nothing"), "there is no run 'nothing'"),
        (("show", "first", "--suite", "t"), "no samples of 't'"),
        (("run",), "at least one --model"),
        (("run", "--model", "strong", "--suite", "clasification"), "there is no suite"),
    ):
        done = arena("bench", *words, "--data", data)
        assert (done.returncode, told in done.stderr) == (2, True), done.stderr


def test_samples_of_a_run_are_shown(arena: Arena, data: Path) -> None:
    done = arena("bench", "show", "first", "--suite", "s", "--data", data, "--json")
    detail = json.loads(done.stdout)
    assert detail["models"][0]["samples"][0]["score"] == 0
    shown = arena("bench", "show", "first", "--suite", "s", "--samples", "1", "--data", data)
    assert "서울" in shown.stdout
    assert "first" in arena("bench", "runs", "--data", data).stdout


def test_scores_by_difficulty_and_labels_taken_for_others(arena: Arena, tmp_path: Path) -> None:
    suite = find_suite("classification")
    with open_store(tmp_path) as store:
        (version,) = store.upsert_model_versions([ModelVersionRecord(model="m", digest="m")])
        run = SuiteRunRecord(
            id=new_id(), name="", plan={"limit": None, "samples": 1, "seed": 0}, plan_hash="p"
        )
        begin_run(store, run)
        samples = []
        for item in suite.items:
            target = item.values["target"]
            read = target if item.difficulty == "easy" else None
            score = float(read is not None)
            samples.append(
                SampleRecord(
                    id=sample_id(run.id, version.version_key, suite.name, item.id, 0), run_id=run.id,
                    version_key=version.version_key, suite=suite.name, suite_version=suite.task_version, item=item.id,
                    item_hash=item.digest, language=item.language, category=item.category, score=score,
                    metrics={"accuracy": score}, detail={"read": read, "target": target},
                )
            )  # fmt: skip
        record_samples(store, samples)
        record_results(store, suite_result_records(store, run.id, suite))
        end_run(store, run.id, "done")
    told = json.loads(arena("bench", "show", "--data", tmp_path, "--json").stdout)
    by = {(row["difficulty"], row["language"]): row["value"] for row in told["difficulties"]}
    assert by == {
        (d, lang): float(d == "easy") for d in ("easy", "medium", "hard") for lang in ("", "en", "ko")
    }
    (topics,) = (
        each for each in told["confusions"] if (each["category"], each["language"]) == ("topic", "ko")
    )
    easy = sum(
        item.difficulty == "easy" and item.language == "ko" and item.values["target"] == "배송"
        for item in suite.items
    )
    assert topics["matrix"]["배송"]["배송"] == easy
    assert topics["matrix"]["배송"]["(none)"] > 0
    assert 0 < topics["f1"]["배송"] < 1
    shown = arena("bench", "show", "--data", tmp_path)
    assert "by difficulty" in shown.stdout
    detail = arena("bench", "show", "--suite", "classification", "--samples", "0", "--data", tmp_path).stdout
    assert "confusion (topic" in detail
    assert "easy" in detail
    page = results_html("ko", told)
    assert "쉬움" in page
    assert "이름표 없음" in page
    assert f"<td>{topics['f1']['배송']:.2f}</td>" in page


def test_a_runs_file_is_checked(arena: Arena, tmp_path: Path) -> None:
    path = tmp_path / "nightly.yaml"
    path.write_text("name: n\nmodels: [m]\nsuits: [s]\n", encoding="utf-8")
    done = arena("bench", "run", path, "--data", tmp_path)
    assert (done.returncode, "suits: Extra inputs" in done.stderr) == (2, True)
    both = arena("bench", "run", path, "--limit", "3", "--language", "ko", "--data", tmp_path)
    assert (both.returncode, "limit, languages: options of a run from a file" in both.stderr) == (2, True)


def test_a_run_refuses_what_is_not_what_it_was_pinned_to(arena: Arena, tmp_path: Path) -> None:
    path = tmp_path / "nightly.yaml"
    text = "name: n\nmodels: [m]\nsuites: [{suite: safety, digest: 00000000}, arithmetic]\n"
    path.write_text(text, encoding="utf-8")
    unquoted = arena("bench", "run", path, "--data", tmp_path)
    assert (unquoted.returncode, "write the digest in quotes" in unquoted.stderr) == (2, True)
    path.write_text(text.replace("00000000", "'00000000'"), encoding="utf-8")
    done = arena("bench", "run", path, "--data", tmp_path)
    assert (done.returncode, "safety is pinned to 00000000, but is " in done.stderr) == (2, True), done.stderr
    digest = find_suite("safety").digest
    path.write_text(
        f"name: n\nmodels: [nobody]\nsuites: [{{suite: safety, digest: '{digest[:12]}'}}]\n", encoding="utf-8"
    )
    held = arena("bench", "run", path, "--data", tmp_path)
    assert (held.returncode, "pinned" in held.stderr, "nobody" in held.stderr) == (2, False, True)
