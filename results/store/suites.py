"""Test suites in the store: runs, the answers that models gave, the samples scored from them, and results.

An answer is addressed by its content: the id is made of the model version's digest and of the whole request. So it
is made once, whatever run asks for it, and never mistaken for another model's. A sample is one item of one run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import pyarrow as pa
from pydantic import Field

from results.ids import named_id
from results.records import Record, UtcTime, now
from results.store._operations import Operation
from results.store._transaction import Transaction
from results.store.errors import BadWrite

if TYPE_CHECKING:
    from results.store._store import Store

RunState = Literal["running", "done", "stopped", "failed"]

ALL_LANGUAGES = ""


class SuiteRunRecord(Record):
    """A run to be begun. `plan` says what it runs; equal `plan_hash`es are the same work."""

    id: UUID
    name: str = ""
    plan: dict[str, Any]
    plan_hash: str
    created_at: UtcTime = Field(default_factory=now)


class StoredSuiteRun(SuiteRunRecord):
    """A run as it lies in the store."""

    state: RunState
    note: str = ""
    finished_at: UtcTime | None = None


class AnswerRecord(Record):
    """What a model version answered to one request (`answer_id`): a text, or scores of continuations.

    `choices` are (log-probability, tokens, whether greedy decoding gives it), in the request's order. Durations
    are seconds, `cost` is in the currency of the prices that were set.
    """

    id: UUID
    version_key: int
    request: dict[str, Any]
    rendered_prompt: str | None = None
    text: str | None = None
    thinking: str | None = None
    finish_reason: str | None = None
    choices: tuple[tuple[float, int, bool], ...] | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    duration: float | None = None
    cost: float | None = None
    prompt_log: dict[str, Any] = Field(default_factory=dict)
    created_at: UtcTime = Field(default_factory=now)


class SampleRecord(Record):
    """One item answered by one model version in one run (`sample_id`).

    `score` is the suite's first metric, `metrics` all of them by name, `detail` what the scorer saw (the extracted
    number, the failed constraints). With `error_kind` there is no score, but for `over_context`: an item that does
    not fit the model's context counts as not solved.
    """

    id: UUID
    run_id: UUID
    version_key: int
    suite: str
    suite_version: str
    item: str
    item_hash: str
    repeat: int = Field(default=0, ge=0)
    language: str = ""
    category: str = ""
    group: str | None = None
    answer_id: UUID | None = None
    score: float | None = None
    metrics: dict[str, float | None] = Field(default_factory=dict)
    detail: dict[str, Any] = Field(default_factory=dict)
    error_kind: str | None = None
    error: str | None = None
    created_at: UtcTime = Field(default_factory=now)


class SuiteResultRecord(Record):
    """One metric of one suite and language ('' for all) in one run, with its standard error.

    `items` are those with a value, `samples` all that were made, `errors` those without an answer. `is_score`
    marks the suite's first metric.
    """

    run_id: UUID
    version_key: int
    suite: str
    suite_version: str
    language: str
    metric: str
    value: float | None
    stderr: float | None
    items: int
    samples: int
    errors: int
    is_score: bool = False


def answer_id(model_digest: str, request: Mapping[str, Any]) -> UUID:
    """The id of an answer: over the model version's digest and everything that the request says."""
    return named_id("suite answer", model_digest, json.dumps(request, sort_keys=True, ensure_ascii=False))


def sample_id(run_id: UUID, version_key: int, suite: str, item: str, repeat: int) -> UUID:
    """The id of a sample."""
    return named_id("suite sample", str(run_id), str(version_key), suite, item, str(repeat))


class _Samples(Record):
    answers: list[AnswerRecord]
    samples: list[SampleRecord]


class _Results(Record):
    results: list[SuiteResultRecord]


class _End(Record):
    run_id: UUID
    state: RunState
    note: str = ""
    time: UtcTime = Field(default_factory=now)


def begin_run(store: Store, run: SuiteRunRecord, *, resume: bool = True) -> StoredSuiteRun:
    """Begin a run; with `resume`, go on with the newest unfinished run of the same plan instead."""
    return store.perform(BEGIN_SUITE_RUN if resume else NEW_SUITE_RUN, run)


def end_run(store: Store, run_id: UUID, state: RunState, note: str = "") -> None:
    """Say how a run ended. Raises BadWrite for an unknown one."""
    store.perform(END_SUITE_RUN, _End(run_id=run_id, state=state, note=note))


def record_samples(
    store: Store, samples: Sequence[SampleRecord], answers: Sequence[AnswerRecord] = ()
) -> None:
    """Store answers and the samples made of them, in one commit. What is there stays as it is, but for samples
    with an error: they are replaced."""
    store.perform(RECORD_SUITE_SAMPLES, _Samples(answers=list(answers), samples=list(samples)))


def record_results(store: Store, results: Sequence[SuiteResultRecord]) -> None:
    """Store results; a result of the same run, version, suite, language and metric is replaced."""
    store.perform(RECORD_SUITE_RESULTS, _Results(results=list(results)))


def suite_runs(store: Store) -> list[StoredSuiteRun]:
    """All runs, oldest first."""
    rows = store.query(
        "SELECT * REPLACE (id::VARCHAR AS id) FROM suite_runs ORDER BY created_at, id"
    ).to_pylist()
    return [StoredSuiteRun.model_validate({**row, "plan": json.loads(row["plan"])}) for row in rows]


def suite_results(store: Store, run_id: UUID | None = None) -> pa.Table:
    """Results (columns of `SuiteResultRecord`, with the model's label as `model`), of one run or of all."""
    return store.query(
        "SELECT m.name || '@' || v.number AS model, r.* REPLACE (r.run_id::VARCHAR AS run_id) "
        "FROM suite_results r JOIN model_versions v USING (version_key) JOIN models m USING (model_key) "
        "WHERE ? IS NULL OR r.run_id::VARCHAR = ? ORDER BY r.suite, r.version_key, r.language, r.metric",
        [_text(run_id), _text(run_id)],
    )


def suite_samples(
    store: Store, run_id: UUID | None = None, suite: str | None = None, version_key: int | None = None
) -> pa.Table:
    """Samples with their answers: one row each, ids as text, `metrics` and `detail` as JSON text.

    Columns: id, run_id, version_key, suite, suite_version, item, item_hash, repeat, language, category,
    item_group, answer_id, score, metrics, detail, error_kind, error, created_at, rendered_prompt, text, thinking,
    finish_reason, choices, prompt_tokens, completion_tokens, duration, cost.
    """
    return store.query(
        "SELECT * REPLACE (id::VARCHAR AS id, run_id::VARCHAR AS run_id, answer_id::VARCHAR AS answer_id) "
        "FROM suite_samples WHERE (? IS NULL OR run_id::VARCHAR = ?) AND (? IS NULL OR suite = ?) "
        "AND (? IS NULL OR version_key = ?) ORDER BY suite, version_key, item, repeat",
        [_text(run_id), _text(run_id), suite, suite, version_key, version_key],
    )


def item_scores(store: Store, suite: str) -> pa.Table:
    """The newest score of every model version on every item of a suite, the mean over its repeats.

    Columns: version_key, item, item_hash, language, category, item_group, score (0 to 1). Samples without a score
    are left out. For the item-response view.
    """
    return store.query(
        "WITH newest AS (SELECT s.*, max_by(s.run_id, s.created_at) OVER "
        "(PARTITION BY s.version_key, s.item_hash) AS last_run FROM samples s "
        "WHERE s.suite = ? AND s.score IS NOT NULL) "
        "SELECT version_key, item, item_hash, any_value(language) AS language, any_value(category) AS category, "
        "any_value(item_group) AS item_group, avg(score) AS score FROM newest WHERE run_id = last_run "
        "GROUP BY version_key, item, item_hash ORDER BY item, version_key",
        [suite],
    )


def known_samples(store: Store, run_id: UUID) -> dict[UUID, str | None]:
    """The samples that a run has already, each with its `error_kind`."""
    rows = store.query(
        "SELECT id::VARCHAR AS id, error_kind FROM samples WHERE run_id::VARCHAR = ?", [str(run_id)]
    )
    return {UUID(row["id"]): row["error_kind"] for row in rows.to_pylist()}


def known_answers(store: Store, ids: Iterable[UUID]) -> dict[UUID, AnswerRecord]:
    """Those of the answers that are in the store."""
    wanted = list(dict.fromkeys(ids))
    found: dict[UUID, AnswerRecord] = {}
    for first in range(0, len(wanted), 2000):
        part = [str(each) for each in wanted[first : first + 2000]]
        rows = store.query(
            "SELECT * REPLACE (id::VARCHAR AS id) FROM answers WHERE id IN (SELECT unnest(?::UUID[]))", [part]
        )
        for row in rows.to_pylist():
            row["choices"] = json.loads(row["choices"]) if row["choices"] is not None else None
            row["request"], row["prompt_log"] = json.loads(row["request"]), json.loads(row["prompt_log"])
            record = AnswerRecord.model_validate(row)
            found[record.id] = record
    return found


def _begin(tx: Transaction, run: SuiteRunRecord) -> StoredSuiteRun:
    row = tx.row(
        "SELECT id FROM suite_runs WHERE plan_hash = ? AND (state <> 'done' OR id = ?) "
        "ORDER BY created_at DESC LIMIT 1",
        run.plan_hash, run.id,
    )  # fmt: skip
    if row is None:
        return _new(tx, run)
    tx.write("UPDATE suite_runs SET state = 'running', note = '', finished_at = NULL WHERE id = ?", row[0])
    return _stored(tx, row[0])


def _new(tx: Transaction, run: SuiteRunRecord) -> StoredSuiteRun:
    if tx.row("SELECT 1 FROM suite_runs WHERE id = ?", run.id) is None:
        tx.insert("suite_runs", {**run.model_dump(), "plan": _json(run.plan), "state": "running"})
    return _stored(tx, run.id)


def _stored(tx: Transaction, run_id: UUID) -> StoredSuiteRun:
    row = tx.row(
        "SELECT id, name, plan, plan_hash, created_at, state, note, finished_at FROM suite_runs WHERE id = ?",
        run_id,
    )
    if row is None:
        raise BadWrite(f"there is no suite run {run_id}")
    names = ("id", "name", "plan", "plan_hash", "created_at", "state", "note", "finished_at")
    values = dict(zip(names, row, strict=True))
    return StoredSuiteRun.model_validate({**values, "plan": json.loads(values["plan"])})


def _end(tx: Transaction, end: _End) -> None:
    _stored(tx, end.run_id)
    tx.write(
        "UPDATE suite_runs SET state = ?, note = ?, finished_at = ? WHERE id = ?",
        end.state, end.note, end.time, end.run_id,
    )  # fmt: skip


def _record(tx: Transaction, payload: _Samples) -> None:
    if payload.answers:
        rows = [
            {
                **answer.model_dump(mode="json"),
                "request": _json(answer.request),
                "prompt_log": _json(answer.prompt_log),
                "choices": None if answer.choices is None else _json(answer.choices),
            }
            for answer in {answer.id: answer for answer in payload.answers}.values()
        ]
        with tx.table("new_answers", pa.Table.from_pylist(rows, _ANSWERS)):
            tx.write(f"INSERT INTO answers {_columns(_ANSWERS)} FROM new_answers ON CONFLICT DO NOTHING")
    rows = []
    for sample in {sample.id: sample for sample in payload.samples}.values():
        row = sample.model_dump(mode="json")
        row["item_group"] = row.pop("group")
        rows.append({**row, "metrics": _json(sample.metrics), "detail": _json(sample.detail)})
    updates = ", ".join(f"{name} = excluded.{name}" for name in _REPLACED)
    with tx.table("new_samples", pa.Table.from_pylist(rows, _SAMPLES)):
        tx.write(
            f"INSERT INTO samples {_columns(_SAMPLES)} FROM new_samples "
            f"ON CONFLICT (id) DO UPDATE SET {updates} WHERE samples.error_kind IS NOT NULL"
        )


def _record_results(tx: Transaction, payload: _Results) -> None:
    for result in payload.results:
        values = result.model_dump()
        columns, marks = ", ".join(values), ", ".join("?" * len(values))
        updates = ", ".join(
            f"{name} = excluded.{name}"
            for name in ("suite_version", "value", "stderr", "items", "samples", "errors", "is_score")
        )
        tx.write(
            f"INSERT INTO suite_results ({columns}) VALUES ({marks}) ON CONFLICT DO UPDATE SET {updates}",  # noqa: S608
            *values.values(),
        )


def _columns(schema: pa.Schema) -> str:
    """Column list and SELECT of an INSERT from an Arrow table with ids and times as text."""
    kinds = {
        "id": "::UUID",
        "run_id": "::UUID",
        "answer_id": "::UUID",
        "created_at": "::TIMESTAMPTZ AT TIME ZONE 'UTC'",
    }
    picked = ", ".join(f"{name}{kinds.get(name, '')}" for name in schema.names)
    return f"({', '.join(schema.names)}) SELECT {picked}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)


_ANSWERS = pa.schema(
    [
        ("id", pa.string()), ("version_key", pa.int32()), ("request", pa.string()), ("rendered_prompt", pa.string()),
        ("text", pa.string()), ("thinking", pa.string()), ("finish_reason", pa.string()), ("choices", pa.string()),
        ("prompt_tokens", pa.int32()), ("completion_tokens", pa.int32()), ("duration", pa.float64()),
        ("cost", pa.float64()), ("prompt_log", pa.string()), ("created_at", pa.string()),
    ]
)  # fmt: skip
_SAMPLES = pa.schema(
    [
        ("id", pa.string()), ("run_id", pa.string()), ("version_key", pa.int32()), ("suite", pa.string()),
        ("suite_version", pa.string()), ("item", pa.string()), ("item_hash", pa.string()), ("repeat", pa.int32()),
        ("language", pa.string()), ("category", pa.string()), ("item_group", pa.string()), ("answer_id", pa.string()),
        ("score", pa.float64()), ("metrics", pa.string()), ("detail", pa.string()), ("error_kind", pa.string()),
        ("error", pa.string()), ("created_at", pa.string()),
    ]
)  # fmt: skip
_REPLACED = ("answer_id", "score", "metrics", "detail", "error_kind", "error", "created_at")

BEGIN_SUITE_RUN = Operation("begin_suite_run", SuiteRunRecord, StoredSuiteRun, _begin)
NEW_SUITE_RUN = Operation("new_suite_run", SuiteRunRecord, StoredSuiteRun, _new)
END_SUITE_RUN = Operation("end_suite_run", _End, None, _end)
RECORD_SUITE_SAMPLES = Operation("record_suite_samples", _Samples, None, _record)
RECORD_SUITE_RESULTS = Operation("record_suite_results", _Results, None, _record_results)
