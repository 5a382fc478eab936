"""LLM judges: what they were asked and replied, grades, and what their replies on a battle come to.

A judgment becomes a comparison, counted in `pair_counts`, in the transaction that stores its outcome.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from pydantic import Field, model_validator

from results.ids import named_id
from results.records import Record, Side, UtcTime, now
from results.store._counting import Counted, count
from results.store._operations import Operation
from results.store._transaction import Transaction, one
from results.store.errors import BadWrite

if TYPE_CHECKING:
    from results.store._store import Store

Mode = Literal["pairwise", "reference", "single", "rubric", "jury"]
Reading = Literal["parsed", "unparsed", "refused", "failed"]
Status = Literal["verdict", "inconsistent", "unparsed", "refused", "failed"]
PairVerdict = Literal["a", "b", "tie"]
UNUSABLE = "unusable_judge"


class JudgeProfile(Record):
    """A judge of ours: a model version with a mode and a set of prompts (or a jury, without a version).

    `name` is what leaderboards call it; `digest` hashes model version, mode and prompts. `usable` is None
    while too little is known, and `reason` says why it is what it is.
    """

    name: str = Field(min_length=1)
    version_key: int | None
    mode: Mode
    prompts: str
    digest: str
    usable: bool | None = None
    reason: str = ""


class JudgeRun(Record):
    """One run of one judge over a selection of battles."""

    id: UUID
    config: dict[str, Any]
    created_at: UtcTime = Field(default_factory=now)


class JudgeCall(Record):
    """One reply of a judge, or its failure. Verdict and probabilities are in terms of the battle's sides.

    Pairs: `first` is the side in the first slot, `first_label` the label it had there. Grades: `side` is whose
    answer was graded, `score` the grade, `expected` its expectation under the reply's token probabilities
    (for pairs: side a's expected score, from 0 to 1). `cost` is in the currency of the price list.
    """

    id: UUID
    cache_key: str
    battle_id: UUID
    turn: int = Field(ge=1)
    side: Side | None = None
    first: Side | None = None
    first_label: Literal["A", "B"] | None = None
    reading: Reading
    verdict: PairVerdict | None = None
    score: float | None = None
    p_a: float | None = None
    p_tie: float | None = None
    p_b: float | None = None
    expected: float | None = None
    reply: str = ""
    logprobs: list[tuple[str, float]] | None = None
    retried: bool = False
    cached: bool = False
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost: float | None = None
    duration: float | None = None
    error_kind: str | None = None
    error: str | None = None
    created_at: UtcTime = Field(default_factory=now)

    @model_validator(mode="after")
    def _either_pair_or_grade(self) -> JudgeCall:
        if (self.first is None) == (self.side is None):
            raise ValueError("a call is either of a pair (first) or of one answer (side)")
        return self


class Grade(Record):
    """One answer's grade on one criterion ('' for the whole); `score` is None where it could not be read."""

    call_id: UUID
    battle_id: UUID
    side: Side
    version_key: int
    turn: int = Field(ge=1)
    criterion: str = ""
    score: float | None
    lowest: float
    highest: float
    weight: float = 1.0
    category: str = ""
    language: str = ""
    created_at: UtcTime = Field(default_factory=now)


class Outcome(Record):
    """What a judge's replies on one battle come to; `verdict` is None unless status is verdict or
    inconsistent (a tie). See the schema for the other fields."""

    battle_id: UUID
    status: Status
    verdict: PairVerdict | None = None
    expected: float | None = None
    kin: Literal["", "a", "b", "ab"] = ""
    length_a: int = 0
    length_b: int = 0
    created_at: UtcTime = Field(default_factory=now)

    @model_validator(mode="after")
    def _verdict_where_there_is_one(self) -> Outcome:
        if (self.verdict is not None) != (self.status in ("verdict", "inconsistent")):
            raise ValueError(f"status {self.status} goes not with verdict {self.verdict}")
        return self


class Standing(Record):
    """Whether a judge can be used, and why (not). Judgments of an unusable one stay outside the ratings."""

    judge: str
    usable: bool | None
    reason: str


class _Begin(Record):
    profile: JudgeProfile
    run: JudgeRun


class _Finish(Record):
    run_id: UUID
    state: Literal["done", "stopped"]


class _Calls(Record):
    judge: str
    calls: list[JudgeCall]
    grades: tuple[Grade, ...] = ()


class _Outcomes(Record):
    judge: str
    run_id: UUID
    outcomes: list[Outcome]


def judgment_id(battle_id: UUID, judge: str) -> UUID:
    """The id of a judge's one judgment on a battle."""
    return named_id("judgment", str(battle_id), judge)


def _judge_key(tx: Transaction, name: str) -> int:
    row = tx.row("SELECT judge_key FROM judges WHERE name = ?", name)
    if row is None:
        raise BadWrite(f"there is no judge '{name}': begin a run of it first")
    return int(row[0])


def _begin(tx: Transaction, payload: _Begin) -> None:
    profile, run = payload.profile, payload.run
    row = tx.row("SELECT judge_key FROM judges WHERE name = ?", profile.name)
    if row is None:
        key = int(one(tx.row("SELECT coalesce(max(judge_key), 0) + 1 FROM judges")))
        tx.insert("judges", {"judge_key": key, "name": profile.name, "created_at": now()})
    else:
        key = int(row[0])
    known = tx.row("SELECT digest FROM judge_profiles WHERE judge_key = ?", key)
    if known is None:
        tx.insert(
            "judge_profiles",
            {**profile.model_dump(exclude={"name"}), "judge_key": key, "updated_at": now()},
        )
    elif known[0] != profile.digest:
        raise BadWrite(
            f"the judge '{profile.name}' is known with another model, other prompts or settings (such as the longest "
            "reply): give this one another name"
        )
    if tx.row("SELECT 1 FROM judge_runs WHERE id = ?", run.id) is None:
        tx.insert(
            "judge_runs",
            {
                **run.model_dump(exclude={"config"}),
                "judge_key": key,
                "config": json.dumps(run.config, ensure_ascii=False),
                "state": "running",
            },
        )
    else:
        tx.write("UPDATE judge_runs SET state = 'running', finished_at = NULL WHERE id = ?", run.id)


def _finish(tx: Transaction, payload: _Finish) -> None:
    tx.write(
        "UPDATE judge_runs SET state = ?, finished_at = ? WHERE id = ?", payload.state, now(), payload.run_id
    )


def _keep_calls(tx: Transaction, payload: _Calls) -> None:
    key = _judge_key(tx, payload.judge)
    for call in payload.calls:
        row = call.model_dump(exclude={"logprobs"}) | {
            "judge_key": key,
            "logprobs": None if call.logprobs is None else json.dumps(call.logprobs, ensure_ascii=False),
        }
        known = tx.row("SELECT reading FROM judge_calls WHERE id = ?", call.id)
        if known is None:
            tx.insert("judge_calls", row)
        elif known[0] == "failed":
            # Only what never got an answer is asked again.
            del row["id"]
            columns = ", ".join(f"{column} = ?" for column in row)
            tx.write(f"UPDATE judge_calls SET {columns} WHERE id = ?", *row.values(), call.id)  # noqa: S608
    for grade in payload.grades:
        grade_id = named_id("grade", str(grade.call_id), grade.criterion)
        if tx.row("SELECT 1 FROM rubric_grades WHERE id = ?", grade_id) is None:
            tx.insert("rubric_grades", {"id": grade_id, **grade.model_dump(), "judge_key": key})


def _keep_outcomes(tx: Transaction, payload: _Outcomes) -> None:
    key = _judge_key(tx, payload.judge)
    row = tx.row("SELECT usable FROM judge_profiles WHERE judge_key = ?", key)
    excluded = UNUSABLE if row is not None and row[0] is False else None
    for outcome in payload.outcomes:
        own = judgment_id(outcome.battle_id, payload.judge)
        known = tx.row("SELECT status, verdict FROM judge_outcomes WHERE id = ?", own)
        if known == (outcome.status, outcome.verdict):
            continue
        values = {**outcome.model_dump(), "judge_key": key, "run_id": payload.run_id}
        if known is None:
            tx.insert("judge_outcomes", {"id": own, **values})
        else:
            columns = ", ".join(f"{column} = ?" for column in values)
            tx.write(f"UPDATE judge_outcomes SET {columns} WHERE id = ?", *values.values(), own)  # noqa: S608
        _judge(tx, own, outcome, payload.judge, key, excluded)


def _judge(
    tx: Transaction, own: UUID, outcome: Outcome, judge: str, judge_key: int, excluded: str | None
) -> None:
    """Make the judgment agree with its outcome, and the counts with the judgment."""
    battle = tx.row(
        "SELECT version_a, version_b, category, language, selection_probability FROM battles WHERE id = ?",
        outcome.battle_id,
    )
    if battle is None:
        raise BadWrite(f"there is no battle {outcome.battle_id} to judge")
    version_a, version_b, category, language, probability = battle
    where = Counted(version_a, version_b, category, language, "judge", judge)
    before = tx.row("SELECT verdict, excluded FROM judgments WHERE id = ?", own)
    if before is not None and before[1] is None:
        count(tx, where, before[0], -1)
    if before is not None and outcome.verdict is None:
        tx.write("DELETE FROM judgments WHERE id = ?", own)
        return
    if outcome.verdict is None:
        return
    if before is None:
        tx.insert(
            "judgments",
            {
                "id": own,
                "battle_id": outcome.battle_id,
                "judge_key": judge_key,
                "verdict": outcome.verdict,
                "version_a": version_a,
                "version_b": version_b,
                "category": category,
                "language": language,
                "selection_probability": probability,
                "excluded": excluded,
                "seq": tx.take_seq(),
                "time": outcome.created_at,
            },
        )
    else:
        excluded = before[1]
        tx.write("UPDATE judgments SET verdict = ? WHERE id = ?", outcome.verdict, own)
    if excluded is None:
        count(tx, where, outcome.verdict, +1)


def _settle(tx: Transaction, standing: Standing) -> int:
    """The number of judgments that went out of the ratings or came back."""
    key = _judge_key(tx, standing.judge)
    tx.write(
        "UPDATE judge_profiles SET usable = ?, reason = ?, updated_at = ? WHERE judge_key = ?",
        standing.usable, standing.reason, now(), key,
    )  # fmt: skip
    out = standing.usable is False
    where = "judge_key = ? AND import_id IS NULL AND excluded " + ("IS NULL" if out else f"= '{UNUSABLE}'")
    moved = tx.rows(
        "SELECT version_a, version_b, category, language, verdict, count(*) FROM judgments "  # noqa: S608
        f"WHERE {where} GROUP BY ALL",
        key,
    )
    for version_a, version_b, category, language, verdict, n in moved:
        counted = Counted(version_a, version_b, category, language, "judge", standing.judge)
        count(tx, counted, verdict, -n if out else n)
    if not moved:
        return 0
    return tx.write(f"UPDATE judgments SET excluded = ? WHERE {where}", UNUSABLE if out else None, key)  # noqa: S608


BEGIN_JUDGE_RUN = Operation("begin_judge_run", _Begin, None, _begin)
FINISH_JUDGE_RUN = Operation("finish_judge_run", _Finish, None, _finish)
RECORD_JUDGE_CALLS = Operation("record_judge_calls", _Calls, None, _keep_calls)
RECORD_JUDGE_OUTCOMES = Operation("record_judge_outcomes", _Outcomes, None, _keep_outcomes)
SETTLE_JUDGE = Operation("settle_judge", Standing, int, _settle)


def begin_judge_run(store: Store, profile: JudgeProfile, run: JudgeRun) -> None:
    """Make a judge and a run of it known. Raises BadWrite where the name belongs to another judge."""
    store.perform(BEGIN_JUDGE_RUN, _Begin(profile=profile, run=run))


def finish_judge_run(store: Store, run_id: UUID, state: Literal["done", "stopped"]) -> None:
    """Say how a run ended; `stopped` ones can be run again and go on."""
    store.perform(FINISH_JUDGE_RUN, _Finish(run_id=run_id, state=state))


def record_calls(store: Store, judge: str, calls: list[JudgeCall], grades: list[Grade] | None = None) -> None:
    """Store replies and the grades in them. A known call stays as it is, unless it had failed."""
    store.perform(RECORD_JUDGE_CALLS, _Calls(judge=judge, calls=calls, grades=tuple(grades or ())))


def record_outcomes(store: Store, judge: str, run_id: UUID, outcomes: list[Outcome]) -> None:
    """Store outcomes, the judgments that they are and their counts, in one transaction.

    A battle has one outcome per judge; a new one takes the place of the old.
    """
    store.perform(RECORD_JUDGE_OUTCOMES, _Outcomes(judge=judge, run_id=run_id, outcomes=outcomes))


def settle_judge(store: Store, standing: Standing) -> int:
    """Keep whether a judge can be used. Judgments of an unusable one leave the ratings (`unusable_judge`), and
    come back when it is found usable after all; returns how many did."""
    return store.perform(SETTLE_JUDGE, standing)
