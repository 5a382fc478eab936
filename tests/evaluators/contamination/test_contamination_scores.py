"""Scores on items that a model was trained on lie apart from those on clean ones; checks are made once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evaluators.contamination.apart import exposures, scores_apart
from evaluators.contamination.checking import NGRAM, CheckedRow, check_overlap
from evaluators.suites.definition import Suite
from evaluators.suites.reading import find_run, run_summary
from results.ids import new_id
from results.records import ModelVersionRecord
from results.store import Store, open_store
from results.store.contamination import known_checks
from results.store.jobs import Claim, Ending, JobRecord, add_job, claim_job, end_job
from results.store.suites import (
    SampleRecord,
    SuiteResultRecord,
    SuiteRunRecord,
    begin_run,
    record_results,
    record_samples,
    sample_id,
)


def version(store: Store, name: str, **spec: Any) -> int:
    record = ModelVersionRecord(model=name, digest=f"digest of {name}", spec={"name": name, **spec})
    return store.upsert_model_versions([record])[0].version_key


def trained(store: Store, key: int, base: str, digest: str, told: dict[str, Any]) -> None:
    """A finished training, as the store keeps it."""
    recipe = {"base": {"digest": f"digest of {base}"}, "dataset": {"digest": digest, "label": f"{digest}@1"}}
    job = add_job(store, JobRecord(id=new_id(), name=digest, recipe=recipe))
    assert claim_job(store, Claim(id=job.id, pid=1, process_start=0.0))
    result = {"version_key": key, "artifact": f"/jobs/{key}", "contamination": told}
    end_job(store, Ending(id=job.id, pid=1, state="done", result=result))


def rows_of(quiz: Suite, *numbers: int) -> list[CheckedRow]:
    return [
        CheckedRow(
            f"row {number}", "held_out" if number == 7 else "train", [quiz.items[number].values["input"]]
        )
        for number in numbers
    ]


def test_what_a_model_was_trained_on_follows_it(quiz: Suite, tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        base = version(store, "base")
        student, copy = version(store, "student"), version(store, "copy", adapter="/jobs/2", source="base")
        child, careful = version(store, "child", parent="student@1"), version(store, "careful")
        assert (base, student) == (1, 2)
        checks = {
            name: check_overlap(store, name, lambda rows=rows: rows_of(quiz, *rows), [quiz])
            for name, rows in {"d1": (0, 1, 7), "d2": (4,)}.items()
        }  # fmt: skip
        assert checks["d1"]["quiz"].flagged_rows == 3
        trained(store, student, "base", "d1", {"allowed": True, "checks": []})
        kept_out = [str(check) for check in known_checks(store, "d2")]
        trained(store, careful, "student", "d2", {"allowed": False, "checks": kept_out})
        hashes = [item.digest for item in quiz.items]
        want = {"quiz": {hashes[0]: {"trained on d1@1"}, hashes[1]: {"trained on d1@1"}}}
        assert exposures(store, base) == {}
        for key in (student, copy, child, careful):
            assert exposures(store, key) == want, "held-out rows and rows left out do not count"

        run = begin_run(store, SuiteRunRecord(id=new_id(), plan={}, plan_hash="p"))
        for key in (base, student):
            record_samples(store, [sample(run.id, key, quiz, n, float(n < 3)) for n in range(8)])
            record_results(store, [result(run.id, key)])
        (apart,) = scores_apart(store, run.id)
        assert (apart["model"], apart["why"]) == ("student@1", {"trained on d1@1": 2})
        assert (apart["contaminated"]["value"], apart["contaminated"]["items"]) == (1.0, 2)
        assert (apart["clean"]["value"], apart["clean"]["items"]) == (1 / 6, 6)
        assert run_summary(store, find_run(store, "last"))["apart"] == [apart]


def sample(run: Any, key: int, quiz: Suite, number: int, score: float) -> SampleRecord:
    item = quiz.items[number]
    return SampleRecord(
        id=sample_id(run, key, "quiz", item.id, 0), run_id=run, version_key=key, suite="quiz", suite_version="1",
        item=item.id, item_hash=item.digest, language=item.language, score=score, metrics={"acc_norm": score},
    )  # fmt: skip


def result(run: Any, key: int) -> SuiteResultRecord:
    return SuiteResultRecord(
        run_id=run, version_key=key, suite="quiz", suite_version="1", language="", metric="acc_norm", value=0.4,
        stderr=0.1, items=8, samples=8, errors=0, is_score=True,
    )  # fmt: skip


def test_a_check_is_not_made_twice(quiz: Suite, tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        asked = []

        def rows() -> list[CheckedRow]:
            asked.append(1)
            return rows_of(quiz, 0)

        first = check_overlap(store, "d", rows, [quiz])
        assert check_overlap(store, "d", rows, [quiz]).keys() == first.keys()
        assert (len(asked), first["quiz"].settings) == (1, NGRAM)
        fewer = Suite(quiz.definition, quiz.items[1:], quiz.folder)
        assert check_overlap(store, "d", rows, [fewer])["quiz"].flagged_rows == 0
        assert len(asked) == 2
