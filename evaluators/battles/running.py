"""`arena battles run`: each model answers its prompts once, every answer is kept as it comes, and answers meet."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from arena.engines.base import Engine, EngineError, EngineUnavailable, Generation, GenerationRequest
from arena.engines.jobs import PLACES, whole_answer
from arena.engines.spec import ModelSpec
from arena.roster import Contestant
from evaluators._workers import in_parallel
from evaluators.battles.planning import Meeting, Plan, ScriptOptions, Task, make_plan
from evaluators.battles.prompt_files import Prompt
from prompt_formats.conversation import Conversation
from results.ids import named_id
from results.records import BattleRecord, GenerationRecord, Side, TurnRecord
from results.store import Store
from results.store.scripted import (
    ScriptAnswer,
    ScriptBattle,
    ScriptRun,
    begin_script_run,
    finish_script_run,
    known_answers,
    record_answers,
    record_script_battles,
)

log = logging.getLogger(__name__)

GIVE_UP_AFTER = 5
"""A model that could not be reached so many times in a row, and never answered, is given up."""

_BATCH = 50

Progress = Callable[[str, int, int], None]
"""Told (model, answers done, answers of this model)."""


@dataclass(frozen=True)
class Failure:
    """An answer that did not come. It is in no battle, and asked for again by the next run."""

    model: str
    prompt_id: str
    kind: str
    message: str


@dataclass(frozen=True)
class ScriptReport:
    """What a run did. `answers_known` and `battles_known` were there before."""

    run_id: UUID
    answers: int
    answers_known: int
    battles: int
    battles_known: int
    failures: tuple[Failure, ...]
    battles_missing: int


async def run_battles(
    store: Store,
    engine_for: Callable[[ModelSpec], Engine],
    contestants: Sequence[Contestant],
    prompts: Sequence[Prompt],
    options: ScriptOptions | None = None,
    *,
    title: str = "",
    progress: Progress | None = None,
) -> ScriptReport:
    """Have the models answer the prompts and store the battles of their answers (mode `script`, state done).

    One model after the other, so that each is loaded once; each as many conversations at once as its engine takes.
    Every conversation is stored when it is finished: a run that was broken off, even by kill -9, goes on where it
    was. `engine_for` may take long (a hub model is fetched) and is called in a thread. Raises NoPairs for fewer
    than two models, and `StoreError`s; a model's own failures are in the report.
    """
    options = options or ScriptOptions()
    plan = make_plan(prompts, contestants, options)
    config = {
        "prompts": title,
        "number_of_prompts": len(prompts),
        "models": [contestant.version.label for contestant in contestants],
        "samples": options.samples,
        "pairs": options.pairs,
        "seed": options.seed,
        "sampling": options.sampling.model_dump(exclude_none=True),
    }
    await asyncio.to_thread(begin_script_run, store, ScriptRun(id=plan.run_id, config=config))
    known = await asyncio.to_thread(known_answers, store, [task.id for task in plan.tasks])
    done: dict[UUID, ScriptAnswer] = dict(known)
    failures: list[Failure] = []
    for contestant in contestants:
        tasks = [task for task in plan.tasks if task.contestant is contestant]
        open_tasks = [task for task in tasks if task.id not in known]
        if open_tasks:
            work = _Answering(store, options, contestant.spec.name, done, len(tasks), progress)
            work.told = len(tasks) - len(open_tasks)
            failures += await work.all(engine_for, open_tasks)
    added = 0
    ready = [meeting for meeting in plan.meetings if meeting.a.id in done and meeting.b.id in done]
    for begin in range(0, len(ready), _BATCH):
        battles = [_battle(plan, meeting, done) for meeting in ready[begin : begin + _BATCH]]
        added += await asyncio.to_thread(record_script_battles, store, battles)
    if len(ready) == len(plan.meetings):
        await asyncio.to_thread(finish_script_run, store, plan.run_id)
    return ScriptReport(
        run_id=plan.run_id,
        answers=len(done) - len(known),
        answers_known=len(known),
        battles=added,
        battles_known=len(ready) - added,
        failures=tuple(failures),
        battles_missing=len(plan.meetings) - len(ready),
    )


class _Answering:
    """One model's open conversations."""

    def __init__(
        self, store: Store, options: ScriptOptions, name: str, done: dict[UUID, ScriptAnswer], total: int,
        progress: Progress | None,
    ) -> None:  # fmt: skip
        self._store, self._options, self._name = store, options, name
        self._done, self._total, self._progress = done, total, progress
        self._failures: list[Failure] = []
        self._unreached = 0
        self._answered = False
        self.told = 0

    async def all(self, engine_for: Callable[[ModelSpec], Engine], tasks: list[Task]) -> list[Failure]:
        """Work through the tasks; what failed."""
        try:
            engine = await asyncio.to_thread(engine_for, tasks[0].contestant.spec)
        except EngineError as error:
            return [self._failure(task, error) for task in tasks]
        # Prompts of like length share a batch of a local engine.
        waiting = iter(sorted(tasks, key=lambda task: -sum(map(len, task.prompt.turns))))
        places = min(len(tasks), int(getattr(engine, "job_places", PLACES)))
        await in_parallel(lambda: self._work(engine, waiting), places)
        return self._failures

    async def _work(self, engine: Engine, waiting: Iterable[Task]) -> None:
        for task in waiting:  # shared: each worker takes the next one
            if not self._answered and self._unreached >= GIVE_UP_AFTER:
                self._failures.append(
                    Failure(self._name, task.prompt.id, "unavailable", "not asked: see above")
                )
                continue
            try:
                answer = await _converse(engine, task, self._options.timeout)
            except EngineError as error:
                self._failures.append(self._failure(task, error))
                self._unreached += isinstance(error, EngineUnavailable)
            else:
                self._answered = True
                await asyncio.to_thread(record_answers, self._store, [answer])
                self._done[answer.id] = answer
            self.told += 1
            if self._progress:
                self._progress(self._name, self.told, self._total)

    def _failure(self, task: Task, error: EngineError) -> Failure:
        log.warning("%s: prompt %s: %s: %s", self._name, task.prompt.id, error.kind, error)
        return Failure(self._name, task.prompt.id, error.kind, str(error))


async def _converse(engine: Engine, task: Task, seconds: float) -> ScriptAnswer:
    conversation = Conversation()
    generations = []
    for turn in task.prompt.turns:
        conversation = conversation.add("user", turn)
        request = GenerationRequest(
            conversation=conversation, sampling=task.sampling, seed=task.seed, timeout=seconds
        )
        generation = await whole_answer(engine, request)
        conversation = conversation.add("assistant", generation.text)
        generations.append(_kept(generation, task))
    return ScriptAnswer(
        id=task.id,
        version_key=task.contestant.version.version_key,
        sample=task.sample,
        messages=task.prompt.turns,
        generations=tuple(generations),
    )


def _kept(generation: Generation, task: Task) -> dict[str, Any]:
    fields = generation.model_dump(
        mode="json",
        include={
            "text", "thinking", "finish_reason", "prompt_tokens", "completion_tokens", "time_to_first_token",
            "duration", "rendered_prompt", "rendered_by", "prompt_log",
        },
    )  # fmt: skip
    if generation.cost is not None:
        fields["prompt_log"] = {**fields["prompt_log"], "cost": generation.cost.model_dump()}
    return {**fields, "sampling": {**task.sampling.model_dump(exclude_none=True), "seed": task.seed}}


def _battle(plan: Plan, meeting: Meeting, done: dict[UUID, ScriptAnswer]) -> ScriptBattle:
    prompt = meeting.a.prompt
    turns = tuple(
        TurnRecord(battle_id=meeting.id, number=number, message=message)
        for number, message in enumerate(prompt.turns, start=1)
    )
    sides: tuple[tuple[Side, Task], ...] = (("a", meeting.a), ("b", meeting.b))
    generations = tuple(
        GenerationRecord(
            id=named_id("script generation", str(meeting.id), str(turn), side),
            battle_id=meeting.id,
            turn=turn,
            side=side,
            version_key=task.contestant.version.version_key,
            created_at=done[task.id].created_at,
            **fields,
        )
        for side, task in sides
        for turn, fields in enumerate(done[task.id].generations, start=1)
    )
    return ScriptBattle(
        run_id=plan.run_id,
        battle=BattleRecord(
            id=meeting.id,
            version_a=meeting.a.contestant.version.version_key,
            version_b=meeting.b.contestant.version.version_key,
            mode="script",
            selection_policy=plan.policy,
            selection_probability=meeting.probability,
            category=prompt.category,
            language=prompt.language,
        ),
        turns=turns,
        generations=generations,
        prompt_id=prompt.id,
        sample=meeting.a.sample,
        reference=prompt.reference,
    )
