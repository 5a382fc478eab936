"""Judges run from the Judge page: what they would be asked, and cost, and the asking itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from arena.engines.prices import price_of
from arena.roster import find
from arena.web._frame import PageContext
from arena.web._work import Work
from evaluators.judge import (
    Budget,
    Judge,
    JudgeOptions,
    JudgePlan,
    JudgeReport,
    JuryReport,
    NoJury,
    Selection,
    decide,
    jury_battles,
    own_prompts,
    plan_run,
    run_judge,
)
from evaluators.judge.prompts import PromptMode
from results.store import Store

KIND = "judge"


class NoJudging(ValueError):
    """What was asked for cannot be done; the message says why."""


@dataclass(frozen=True)
class Wanted:
    """What is to be judged, by whom, how. `max_cost` is in the currency of the judges' prices."""

    judges: tuple[str, ...]
    selection: Selection
    mode: PromptMode
    brief: bool
    max_answer: int
    max_cost: float | None
    max_tokens: int | None
    jury: bool

    @property
    def title(self) -> str:
        """What it is called on the page."""
        return f"{', '.join(self.judges)} · {self.mode}"


@dataclass(frozen=True)
class Judged:
    """How judging ended: each judge's report, and the jury's where there was one (else the judges that cannot be used,
    for which there was none)."""

    reports: tuple[JudgeReport, ...]
    jury: JuryReport | None = None
    no_jury: tuple[str, ...] = ()


def battle_values(store: Store, column: Literal["category", "language"]) -> list[str]:
    """The categories or languages that battles have, sorted."""
    rows = store.query(f"SELECT DISTINCT {column} AS value FROM battles WHERE {column} <> '' ORDER BY 1")  # noqa: S608
    return [str(value) for value in rows["value"].to_pylist()]


def plans_of(context: PageContext, wanted: Wanted) -> list[JudgePlan]:
    """What each judge would be asked; nothing is asked or written. Blocking.

    Raises UnknownModel, BadSelection, NoPrice (a cap on cost without a price), StoreError.
    """
    options = JudgeOptions(
        mode=wanted.mode, prompts=own_prompts(explain=not wanted.brief), max_answer=wanted.max_answer
    )
    plans = []
    for word in wanted.judges:
        contestant = find(context.store, word)
        price = price_of(contestant.spec, context.settings.prices)
        _budget(context, wanted, Judge(contestant, options))
        plans.append(plan_run(context.store, Judge(contestant, options), wanted.selection, price=price))
    return plans


async def run_judges(context: PageContext, wanted: Wanted, work: Work) -> Judged:
    """Ask the judges one after the other, telling the progress in `work`; then the jury decides, where one is wanted.

    Raises as `plans_of` does, and EngineError where a judge's weights cannot be found.
    """
    pool = context.engines
    if pool is None:
        raise NoJudging("this arena has no engines")
    plans = await asyncio.to_thread(plans_of, context, wanted)
    work.total = sum(len(plan.questions.asked) for plan in plans)
    work.taken_over = sum(plan.estimate.cached for plan in plans)
    before = 0
    reports = []
    for plan in plans:
        work.where = plan.judge.name

        def told(done: int, total: int, before: int = before) -> None:
            work.done = before + done

        budget = _budget(context, wanted, plan.judge)
        reports.append(await run_judge(context.store, pool.get, plan, budget=budget, progress=told))
        work.errors += reports[-1].asked.failed
        before += len(plan.questions.asked)
    if not wanted.jury or len(plans) < 2:
        return Judged(tuple(reports))
    return await asyncio.to_thread(_with_jury, context, wanted.selection, plans, tuple(reports))


def _with_jury(
    context: PageContext, selection: Selection, plans: Sequence[JudgePlan], reports: tuple[JudgeReport, ...]
) -> Judged:
    battles = jury_battles(context.store, selection, plans)
    try:
        return Judged(reports, decide(context.store, [plan.judge.name for plan in plans], battles))
    except NoJury as refused:
        return Judged(reports, no_jury=refused.unusable)


def _budget(context: PageContext, wanted: Wanted, judge: Judge) -> Budget:
    price = price_of(judge.contestant.spec, context.settings.prices)
    return Budget(wanted.max_cost, wanted.max_tokens, price)
