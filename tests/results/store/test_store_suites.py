"""Suite runs, answers, samples and results, written and read as owner and as client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from results.ids import new_id
from results.records import ModelVersionRecord
from results.store import Store, open_store
from results.store.errors import BadWrite
from results.store.suites import (
    AnswerRecord,
    SampleRecord,
    SuiteResultRecord,
    SuiteRunRecord,
    answer_id,
    begin_run,
    end_run,
    item_scores,
    known_answers,
    known_samples,
    record_results,
    record_samples,
    sample_id,
    suite_results,
    suite_runs,
    suite_samples,
)


@pytest.fixture(params=["owner", "client"])
def opened(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
    with open_store(tmp_path) as owner:
        owner.upsert_model_versions([ModelVersionRecord(model="m", digest="d1")])
        if request.param == "owner":
            yield owner
        else:
            # A second store in this process cannot take the lock: it is a client over the loopback.
            with open_store(tmp_path) as client:
                assert not client.is_owner
                yield client


def run_record(plan_hash: str = "p") -> SuiteRunRecord:
    return SuiteRunRecord(id=new_id(), plan={"이름": "검사"}, plan_hash=plan_hash)


def sample(run: SuiteRunRecord, item: str, score: float | None = 1.0, **fields: object) -> SampleRecord:
    return SampleRecord.model_validate(
        {
            "id": sample_id(run.id, 1, "s", item, 0),
            "run_id": run.id,
            "version_key": 1,
            "suite": "s",
            "suite_version": "1",
            "item": item,
            "item_hash": f"hash-{item}",
            "score": score,
            **fields,
        }
    )


def test_an_unfinished_run_of_the_same_plan_is_resumed_and_a_finished_one_is_not(opened: Store) -> None:
    first = begin_run(opened, run_record())
    again = begin_run(opened, run_record())
    assert again.id == first.id
    other = begin_run(opened, run_record("another plan"))
    fresh = begin_run(opened, run_record(), resume=False)
    assert len({first.id, other.id, fresh.id}) == 3
    for run in (first, other, fresh):
        end_run(opened, run.id, "done")
    assert begin_run(opened, run_record()).id not in {first.id, other.id, fresh.id}
    assert [run.state for run in suite_runs(opened)] == ["done", "done", "done", "running"]
    assert suite_runs(opened)[0].plan == {"이름": "검사"}
    with pytest.raises(BadWrite, match="no suite run"):
        end_run(opened, new_id(), "done")


def test_answers_and_samples_come_back_as_they_were_written(opened: Store) -> None:
    run = run_record()
    begin_run(opened, run)
    request = {"text": "수도는?", "sampling": {"temperature": 0}}
    text = AnswerRecord(
        id=answer_id("d1", request),
        version_key=1,
        request=request,
        text="서울\u2028입니다",
        prompt_log={"a": 1},
    )
    choice = AnswerRecord(
        id=answer_id("d1", {"x": 1}),
        version_key=1,
        request={"x": 1},
        choices=((-1.25, 3, True), (-2.5, 2, False)),
    )
    one = sample(run, "가", 0.5, answer_id=text.id, metrics={"f1": 0.5}, detail={"읽음": "서울"}, group="g")
    record_samples(opened, [one, sample(run, "b", answer_id=choice.id)], [text, choice])
    record_samples(opened, [one], [text])  # sent twice: nothing is added

    assert known_answers(opened, [text.id, choice.id, new_id()]) == {text.id: text, choice.id: choice}
    rows = suite_samples(opened, run.id).to_pylist()
    assert [row["item"] for row in rows] == ["b", "가"]
    assert rows[1]["text"] == "서울\u2028입니다"
    assert (rows[1]["item_group"], rows[1]["score"], rows[1]["detail"]) == ("g", 0.5, '{"읽음": "서울"}')
    assert rows[1]["created_at"] == one.created_at.replace(tzinfo=None)


def test_a_failed_sample_is_replaced_and_a_scored_one_stays(opened: Store) -> None:
    run = run_record()
    begin_run(opened, run)
    failed = sample(run, "a", None, error_kind="unavailable", error="down")
    record_samples(opened, [failed])
    assert known_samples(opened, run.id) == {failed.id: "unavailable"}
    record_samples(opened, [sample(run, "a", 0.25)])
    record_samples(opened, [sample(run, "a", 0.75)])
    assert suite_samples(opened, run.id)["score"].to_pylist() == [0.25]
    assert known_samples(opened, run.id) == {failed.id: None}


def test_another_model_or_request_is_another_answer() -> None:
    request = {"text": "a", "sampling": {"temperature": 0}}
    assert answer_id("d1", request) == answer_id("d1", dict(reversed(request.items())))
    assert answer_id("d1", request) != answer_id("d2", request)
    assert answer_id("d1", request) != answer_id("d1", {**request, "seed": 1})


def test_results_are_replaced_and_carry_the_models_label(opened: Store) -> None:
    run = run_record()
    begin_run(opened, run)
    result = SuiteResultRecord(
        run_id=run.id, version_key=1, suite="s", suite_version="1", language="", metric="f1", value=0.5,
        stderr=0.1, items=10, samples=10, errors=0, is_score=True,
    )  # fmt: skip
    record_results(opened, [result])
    record_results(opened, [result.model_copy(update={"value": 0.75})])
    rows = suite_results(opened, run.id).to_pylist()
    assert [(row["model"], row["value"]) for row in rows] == [("m@1", 0.75)]
    assert suite_results(opened, new_id()).num_rows == 0


def test_item_scores_are_those_of_the_newest_run(opened: Store) -> None:
    for score in (0.0, 1.0):
        run = run_record()
        begin_run(opened, run, resume=False)
        record_samples(opened, [sample(run, "a", score), sample(run, "b", None, error_kind="broken")])
        end_run(opened, run.id, "done")
    rows = item_scores(opened, "s").to_pylist()
    assert [(row["item"], row["score"]) for row in rows] == [("a", 1.0)]
