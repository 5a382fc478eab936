"""Asking a judge: concurrently, once for each question, with every reply stored as it comes."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from arena.engines.base import (
    Engine,
    EngineError,
    EngineRejected,
    EngineUnavailable,
    Generation,
    GenerationRequest,
    TokenLogprob,
)
from arena.engines.jobs import PLACES, whole_answer
from evaluators._workers import in_parallel
from evaluators.judge.judges import LOGPROBS, Judge
from evaluators.judge.planning import Question
from evaluators.judge.prompts import ask_again
from evaluators.judge.reading import Choice, GradeReading, PairReading, read_grade, read_pair, read_rubric
from evaluators.judge.spending import Budget, OverBudget, prompt_tokens_of
from results.records import Side
from results.store import Store
from results.store.judging import Grade, JudgeCall, PairVerdict, record_calls

log = logging.getLogger(__name__)

GIVE_UP_AFTER = 5
"""A judge that could not be reached so many times in a row is given up; the next run goes on."""

_LED = re.compile(r"^(\s*(?:[ABC]|\d+))(?![\w.]).*", re.DOTALL)

Progress = Callable[[int, int], None]


@dataclass
class Asked:
    """How asking went. `stopped` says why not everything was asked (None: it was)."""

    asked: int = 0
    cached: int = 0
    retried: int = 0
    failed: int = 0
    stopped: str | None = None
    errors: dict[str, str] = field(default_factory=dict)


def open_questions(
    store: Store, questions: Sequence[Question]
) -> tuple[list[Question], dict[str, JudgeCall]]:
    """Questions that have no reply yet, and replies to equal questions (by cache key), wherever they were given."""
    done = {
        row["id"]
        for row in store.query(
            "SELECT id::VARCHAR AS id FROM judge_calls WHERE reading <> 'failed' AND list_contains(?::UUID[], id)",
            [[str(question.id) for question in questions]],
        ).to_pylist()
    }
    waiting = [question for question in questions if str(question.id) not in done]
    keys = sorted({question.cache_key for question in waiting})
    columns = ", ".join(_CACHED)
    rows = store.query(
        f"SELECT DISTINCT ON (cache_key) id::VARCHAR AS id, battle_id::VARCHAR AS battle_id, {columns} "  # noqa: S608
        "FROM judge_calls WHERE reading <> 'failed' AND list_contains(?, cache_key) ORDER BY cache_key, created_at",
        [keys],
    ).to_pylist()
    return waiting, {row["cache_key"]: _stored(row) for row in rows}


_CACHED = (
    "cache_key", "turn", "side", "first", "first_label", "reading", "reply", "retried", "score", "expected", "verdict",
    "p_a", "p_tie", "p_b",
)  # fmt: skip


def _stored(row: dict[str, Any]) -> JudgeCall:
    return JudgeCall.model_validate(row)


async def ask(
    store: Store,
    judge: Judge,
    engine: Engine,
    questions: Sequence[Question],
    budget: Budget,
    progress: Progress | None = None,
) -> Asked:
    """Ask what has no reply yet. Every reply is stored before the next question takes its place, so that a run that was
    broken off, even by kill -9, asks nothing twice.

    A reply that cannot be read is followed once by a tighter instruction. A judge that fails a question (timeout,
    refused request, broken answer) leaves a failed call, which the next run asks again. Where it cannot be reached
    at all, or the next question might pass the budget, asking stops and `Asked.stopped` says so.
    """
    waiting, known = await asyncio.to_thread(open_questions, store, questions)
    work = _Asking(store, judge, engine, budget, len(questions), progress)
    work.done = len(questions) - len(waiting)
    if progress:
        progress(work.done, len(questions))
    groups: dict[str, list[Question]] = {}
    for question in waiting:
        groups.setdefault(question.cache_key, []).append(question)
    for key in [key for key in groups if key in known]:
        await work.take_over(known[key], groups.pop(key))
    # Long prompts first: a local engine's batches then hold prompts of like length.
    order = sorted(groups.values(), key=lambda group: -group[0].characters)
    places = judge.options.concurrency or int(getattr(engine, "job_places", PLACES))
    queue = iter(order)
    await in_parallel(lambda: work.run(queue), min(places, len(order)))
    return work.result


class _Asking:
    """The state that the workers of one run share."""

    def __init__(
        self,
        store: Store,
        judge: Judge,
        engine: Engine,
        budget: Budget,
        total: int,
        progress: Progress | None,
    ) -> None:
        self._store, self._judge, self._engine = store, judge, engine
        self._budget, self._total, self._progress = budget, total, progress
        self._logprobs = judge.options.logprobs
        self._unreached = 0
        self.result = Asked()
        self.done = 0

    async def take_over(self, call: JudgeCall, questions: list[Question]) -> None:
        """Give questions the reply of an equal one."""
        fields = _copied(call)
        if self._judge.options.mode == "rubric":
            fields["grades"] = read_rubric(call.reply, self._judge.options.rubric.criteria).grades
        await self._keep(questions, fields, cached=len(questions))

    async def run(self, queue: Iterable[list[Question]]) -> None:
        """Ask group after group of equal questions, until none is left or something says stop."""
        for group in queue:  # shared: each worker takes the next one
            if self.result.stopped is not None:
                return
            question = group[0]
            try:
                reserved = self._budget.reserve(prompt_tokens_of(question), self._judge.options.max_answer)
            except OverBudget as over:
                self.result.stopped = f"the budget is reached: {over}"
                return
            spent: list[Generation] = []
            try:
                reply = await self._reply(question, spent)
            except EngineError as error:
                await self._failed(group, error, spent)
                continue
            finally:
                self._budget.settle(reserved, spent)
            self._unreached = 0
            self.result.asked += 1
            await self._keep(group, reply, cached=len(group) - 1)

    async def _reply(self, question: Question, spent: list[Generation]) -> dict[str, Any]:
        """What a call's record says of the reply, after a second try where the first could not be read."""
        generation = await self._ask(question, question.conversation, spent)
        fields = _read(self._judge, question, generation)
        if fields["reading"] == "parsed":
            return fields
        self.result.retried += 1
        again = ask_again(
            question.prompt, question.conversation, generation.text, self._judge.options.rubric.criteria
        )
        second = await self._ask(question, again, spent)
        tighter = _read(self._judge, question, second)
        if tighter["reading"] != "parsed":
            # What the judge said when it was asked openly tells more than what it said to the tighter form.
            tighter = {
                **fields,
                "reading": "refused" if "refused" in (fields["reading"], tighter["reading"]) else "unparsed",
            }
            tighter["reply"] = f"{generation.text}\n\n[asked again]\n{second.text}"
        return {**tighter, "retried": True, **_spent(spent)}

    async def _ask(self, question: Question, conversation: Any, spent: list[Generation]) -> Generation:
        options, begun = self._judge.options, self._judge.options.prompts.begun

        def request(logprobs: int | None) -> GenerationRequest:
            return GenerationRequest(
                conversation=conversation,
                sampling=self._judge.sampling,
                seed=0,
                timeout=options.timeout,
                logprobs=logprobs,
                prefill=begun or None,
            )

        with_logprobs = self._logprobs
        try:
            generation = await whole_answer(self._engine, request(LOGPROBS if with_logprobs else None))
        except EngineRejected as error:
            if not with_logprobs or "logprob" not in str(error).casefold():
                raise
            log.info(
                "%s gives no probabilities of tokens: judging goes on without (%s)", self._judge.name, error
            )
            self._logprobs = False
            generation = await whole_answer(self._engine, request(None))
        spent.append(generation)
        return _whole(begun, generation)

    async def _failed(self, group: list[Question], error: EngineError, spent: list[Generation]) -> None:
        self.result.failed += len(group)
        self.result.errors.setdefault(error.kind, str(error))
        fields = {"reading": "failed", "error_kind": error.kind, "error": str(error), **_spent(spent)}
        await self._keep(group, fields, cached=0)
        self._unreached = self._unreached + 1 if isinstance(error, EngineUnavailable) else 0
        if self._unreached >= GIVE_UP_AFTER:
            self.result.stopped = f"the judge cannot be reached: {error}"

    async def _keep(self, questions: list[Question], fields: dict[str, Any], *, cached: int) -> None:
        calls, grades = [], []
        for number, question in enumerate(questions):
            copy = number >= len(questions) - cached
            own = _unspent(fields) if copy else fields
            grading = {key: own[key] for key in ("grades", "choice", "shares") if key in own}
            record = {key: value for key, value in own.items() if key not in grading}
            call = JudgeCall(
                id=question.id,
                cache_key=question.cache_key,
                battle_id=question.subject.battle_id,
                turn=question.turn,
                side=question.side,
                first=question.first,
                first_label=question.first_label,
                cached=copy,
                **record,
                **_by_side(question, grading.get("choice"), grading.get("shares")),
            )
            calls.append(call)
            grades += _grades_of(self._judge, question, call, grading.get("grades") or {})
        self.result.cached += cached
        await asyncio.to_thread(record_calls, self._store, self._judge.name, calls, grades)
        self.done += len(questions)
        if self._progress:
            self._progress(self.done, self._total)


def _whole(begun: str, generation: Generation) -> Generation:
    """A reply with its given beginning, which is as sure as can be."""
    if not begun:
        return generation
    logprobs = generation.logprobs
    if logprobs is not None:
        logprobs = (TokenLogprob(token=begun, logprob=0.0), *logprobs)
    # Whoever was led into the brackets need not close them.
    text = _LED.sub(r"\1]]", generation.text)
    return generation.model_copy(update={"text": begun + text, "logprobs": logprobs})


def _read(judge: Judge, question: Question, generation: Generation) -> dict[str, Any]:
    prompt, reply, logprobs = question.prompt, generation.text, generation.logprobs
    fields: dict[str, Any] = {"reply": reply, **_spent([generation])}
    reading: PairReading | GradeReading
    if question.first is not None:
        reading = read_pair(prompt, reply, first_label=question.first_label or "A", logprobs=logprobs)
        fields |= {"choice": reading.choice, "shares": reading.probabilities}
    elif judge.options.mode == "rubric":
        reading = read_rubric(reply, judge.options.rubric.criteria)
        fields |= {"score": reading.score, "grades": reading.grades}
    else:
        reading = read_grade(prompt, reply, logprobs=logprobs)
        fields |= {"score": reading.score, "expected": reading.expected}
    return {**fields, "reading": reading.status}


def _spent(generations: Sequence[Generation]) -> dict[str, Any]:
    costs = [generation.cost.amount for generation in generations if generation.cost is not None]
    return {
        "prompt_tokens": sum(g.prompt_tokens or 0 for g in generations),
        "completion_tokens": sum(g.completion_tokens or 0 for g in generations),
        "cost": sum(costs) if costs else None,
        "duration": sum(g.duration for g in generations),
    }


def _unspent(fields: dict[str, Any]) -> dict[str, Any]:
    """A reply that was taken over cost nothing."""
    return {**fields, "prompt_tokens": 0, "completion_tokens": 0, "cost": None, "duration": None}


def _by_side(question: Question, choice: Choice | None, shares: dict[Choice, float] | None) -> dict[str, Any]:
    """A choice of slots told in sides."""
    if question.first is None:
        return {}
    slots: dict[Choice, PairVerdict] = {
        "first": question.first, "second": _other(question.first), "tie": "tie",
    }  # fmt: skip
    found: dict[str, Any] = {"verdict": None if choice is None else slots[choice]}
    if shares is not None:
        by_side = {slots[slot]: share for slot, share in shares.items()}
        found |= {f"p_{side}": share for side, share in by_side.items()}
        found["expected"] = by_side["a"] + by_side["tie"] / 2
    return found


def _other(side: Side) -> Side:
    return "b" if side == "a" else "a"


def _copied(call: JudgeCall) -> dict[str, Any]:
    """What a stored reply says, in slots again."""
    fields: dict[str, Any] = {"reading": call.reading, "reply": call.reply, "retried": call.retried}
    if call.first is None:
        return {**fields, "score": call.score, "expected": call.expected}
    slots: dict[str, Choice] = {call.first: "first", _other(call.first): "second", "tie": "tie"}
    fields["choice"] = None if call.verdict is None else slots[call.verdict]
    if call.p_a is not None and call.p_tie is not None and call.p_b is not None:
        told = {"a": call.p_a, "tie": call.p_tie, "b": call.p_b}
        fields["shares"] = {slots[side]: share for side, share in told.items()}
    return fields


def _grades_of(
    judge: Judge, question: Question, call: JudgeCall, by_criterion: dict[str, float | None]
) -> list[Grade]:
    if question.side is None or call.reading == "failed":
        return []
    subject = question.subject
    common = {
        "call_id": call.id,
        "battle_id": subject.battle_id,
        "side": question.side,
        "version_key": subject.version_a if question.side == "a" else subject.version_b,
        "turn": question.turn,
        "category": subject.category,
        "language": subject.language,
    }
    scale = judge.options.rubric.criteria[0] if judge.options.mode == "rubric" else question.prompt
    whole = Grade(**common, score=call.score, lowest=scale.lowest, highest=scale.highest)
    return [whole] + [
        Grade(
            **common, criterion=criterion.name, score=by_criterion[criterion.name], lowest=criterion.lowest,
            highest=criterion.highest, weight=criterion.weight,
        )
        for criterion in judge.options.rubric.criteria
        if criterion.name in by_criterion
    ]  # fmt: skip
