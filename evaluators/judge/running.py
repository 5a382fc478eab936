"""`arena judge run`: judges over a selection of battles, one after the other, and a jury of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from uuid import UUID

from arena.config import Price
from arena.engines.base import Engine
from arena.engines.spec import ModelSpec
from evaluators.battles import Prompt
from evaluators.judge.asking import Asked, ask, open_questions
from evaluators.judge.judges import Judge
from evaluators.judge.planning import Questions, make_questions
from evaluators.judge.spending import Budget, Estimate, estimate
from evaluators.judge.stored import kin_of_subjects, stored_calls
from evaluators.judge.subjects import Selected, Selection, Subject, select_subjects
from evaluators.judge.summary import standing_of
from evaluators.judge.verdicts import outcomes
from results.ids import named_id
from results.store import Store
from results.store.judging import (
    JudgeRun,
    Outcome,
    Standing,
    begin_judge_run,
    finish_judge_run,
    record_outcomes,
    settle_judge,
)

_BATCH = 200

UNFINISHED = "a side failed, or is not finished"
WITHOUT_TEXTS = "their texts are not here (imported without conversations)"


@dataclass(frozen=True)
class JudgePlan:
    """What a judge would be asked. `estimate` is of the questions that have no reply yet."""

    judge: Judge
    subjects: tuple[Subject, ...]
    questions: Questions
    estimate: Estimate
    unfinished: int
    without_texts: int

    @property
    def left_out(self) -> dict[str, int]:
        """Why battles of the selection cannot be judged, and how many."""
        found = dict(self.questions.left_out)
        if self.unfinished:
            found[UNFINISHED] = self.unfinished
        if self.without_texts:
            found[WITHOUT_TEXTS] = self.without_texts
        return found


@dataclass(frozen=True)
class JudgeReport:
    """How a run of one judge (or jury) ended. `statuses` counts this run's battles by what came of them; `stopped`
    says why not all were asked (None: they were). `kin` counts this run's battles with a model of the judge's own
    family. `standing` is the judge's, over all that it ever judged."""

    run_id: UUID
    judge: str
    asked: Asked
    statuses: dict[str, int]
    left_out: dict[str, int]
    kin: int
    standing: Standing
    tokens: int
    cost: float


def plan_run(
    store: Store,
    judge: Judge,
    selection: Selection,
    *,
    references: Iterable[Prompt] = (),
    price: Price | None = None,
) -> JudgePlan:
    """What a run would ask, and cost; nothing is asked or written. Raises BadSelection."""
    chosen: Selected = select_subjects(store, selection, judge=judge.name, references=references)
    questions = make_questions(judge, chosen.subjects)
    waiting, known = open_questions(store, questions.asked)
    keys = {question.cache_key: question for question in waiting if question.cache_key not in known}
    cached = len(questions.asked) - len(keys)
    told = estimate(list(keys.values()), cached, judge.options.max_answer, price)
    return JudgePlan(judge, chosen.subjects, questions, told, chosen.unfinished, chosen.without_texts)


async def run_judge(
    store: Store,
    engine_for: Callable[[ModelSpec], Engine],
    plan: JudgePlan,
    *,
    budget: Budget | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> JudgeReport:
    """Ask the judge, store every reply as it comes, and make outcomes, judgments and their counts of them.

    A run that was broken off is run again: what has a reply is not asked twice, and the outcomes are the same. A judge
    that proves unusable (see `results.judge_bias.standing`) has its judgments taken out of the ratings. Raises
    `EngineUnavailable` where the judge's weights cannot be found, BadWrite where its name belongs to another judge.
    """
    judge = plan.judge
    run_id = named_id("judge run", judge.name, judge.digest, *sorted(str(s.battle_id) for s in plan.subjects))
    config = {
        "mode": judge.options.mode,
        "prompts": judge.options.prompts.name,
        "battles": len(plan.subjects),
    }
    await asyncio.to_thread(begin_judge_run, store, judge.profile, JudgeRun(id=run_id, config=config))
    engine = await asyncio.to_thread(engine_for, judge.contestant.spec)
    spending = budget or Budget(None, None, None)
    asked = await ask(store, judge, engine, plan.questions.asked, spending, progress)
    found = await asyncio.to_thread(_conclude, store, plan, run_id)
    state = await asyncio.to_thread(settle, store, judge.name)
    await asyncio.to_thread(finish_judge_run, store, run_id, "stopped" if asked.stopped else "done")
    return JudgeReport(
        run_id=run_id,
        judge=judge.name,
        asked=asked,
        statuses=dict(Counter(outcome.status for outcome in found)),
        left_out=plan.left_out,
        kin=sum(bool(outcome.kin) for outcome in found),
        standing=state,
        tokens=spending.tokens,
        cost=spending.cost,
    )


def _conclude(store: Store, plan: JudgePlan, run_id: UUID) -> list[Outcome]:
    judge = plan.judge
    battles = [subject.battle_id for subject in plan.subjects]
    keys = {question.id for question in plan.questions.asked}
    calls = [call for call in stored_calls(store, judge.name, battles) if call.id in keys]
    kin = kin_of_subjects(store, judge.families, plan.subjects)
    found = outcomes(judge.options.mode, plan.subjects, calls, kin, tie_within=judge.options.tie_within)
    for begin in range(0, len(found), _BATCH):
        record_outcomes(store, judge.name, run_id, found[begin : begin + _BATCH])
    return found


def settle(store: Store, judge: str) -> Standing:
    """Find out whether a judge can be used, from all that it ever judged, and keep that."""
    statuses = Counter(
        row["status"]
        for row in store.query(
            "SELECT o.status FROM judge_outcomes o JOIN judges g USING (judge_key) WHERE g.name = ?", [judge]
        ).to_pylist()
    )
    found = standing_of(stored_calls(store, judge), statuses)
    told = Standing(judge=judge, usable=found.usable, reason=found.reason)
    settle_judge(store, told)
    return told
