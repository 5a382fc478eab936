"""Runs of test suites started from the Benchmarks page, and runs that were not finished taken up again."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from arena.config import Settings
from arena.engines.base import Engine
from arena.engines.local import LocalEngine
from arena.engines.pool import EnginePool
from arena.roster import Contestant, find
from arena.web._frame import PageContext
from arena.web._work import Work
from evaluators.suites.catalogue import suite_folders
from evaluators.suites.errors import SuiteError
from evaluators.suites.grading import judge_grade
from evaluators.suites.items import explained
from evaluators.suites.plan import RunOptions
from evaluators.suites.running import Engines, Progress, RunOutcome
from evaluators.suites.session import Chosen, bench, choose, pool_engines, settled
from results.store.suites import StoredSuiteRun

KIND = "bench"
LM_TASK = "lm:"


@dataclass(frozen=True)
class Wanted:
    """What a run is asked for, in words: models of the roster (or `name@3`, an alias), suites, options."""

    models: tuple[str, ...]
    suites: tuple[str, ...]
    options: RunOptions

    @property
    def title(self) -> str:
        """What it is called on the page."""
        return self.options.name or f"{', '.join(self.models)} · {', '.join(self.suites)}"


def wanted_of(models: Sequence[str], suites: Sequence[str], **options: Any) -> Wanted:
    """What a form asks for. Raises SuiteError for options that cannot be."""
    try:
        return Wanted(tuple(models), tuple(suites), RunOptions(**options))
    except ValidationError as error:
        raise SuiteError(explained(error)) from None


def wanted_again(context: PageContext, run: StoredSuiteRun) -> Wanted:
    """What a run of the store was asked for, so that it goes on where it was.

    Raises SuiteError where it ran a suite that does not lie in the data folder.
    """
    plan = run.plan
    models = tuple(str(each["model"]) for each in plan["models"])
    suites = tuple(str(each["suite"]) for each in plan["suites"])
    known = suite_folders(context.store.data_dir)
    away = [name for name in suites if name not in known and not name.startswith(LM_TASK)]
    if away:
        raise SuiteError(
            f"the suite {away[0]} of this run is not in the data folder: go on with `arena bench run` as it was begun"
        )
    options = {key: value for key, value in plan.items() if key in RunOptions.model_fields}
    return wanted_of(models, suites, **options)


async def run_bench(context: PageContext, wanted: Wanted, work: Work) -> RunOutcome:
    """Run models through suites, telling the progress in `work`.

    Raises SuiteError, ConfigError, EngineError, StoreError.
    """
    work.total = 0
    store, data_dir = context.store, context.store.data_dir
    chosen = await asyncio.to_thread(choose, wanted.suites, data_dir)
    contestants = [await asyncio.to_thread(find, store, word) for word in wanted.models]
    judge_word = wanted.options.judge
    judge = None if judge_word is None else await asyncio.to_thread(find, store, judge_word)
    options = await asyncio.to_thread(settled, store, wanted.options, judge)

    def told(progress: Progress) -> None:
        work.done, work.total = progress.done, progress.total
        work.taken_over, work.errors = progress.reused, progress.errors
        work.where = " · ".join(filter(None, (progress.model, progress.suite)))
        work.waiting = ""

    async with _engines(context, options, work) as (pool, engines):
        grade = None
        if judge is not None:
            engine = await asyncio.to_thread(pool.get, judge.spec)
            grade = judge_grade(store, judge, engine, asyncio.get_running_loop(), options)
        return await bench(
            store, engines, contestants, chosen, options, lm_options=_lm_options(chosen, options), judge=grade,
            on_progress=told,
        )  # fmt: skip


@asynccontextmanager
async def _engines(
    context: PageContext, options: RunOptions, work: Work
) -> AsyncIterator[tuple[EnginePool, Engines]]:
    """The arena's own engines where they compute in the run's dtype; else engines of the run's own, which wait for
    memory in the machine's ledger, and end with it."""
    settings = context.settings
    if context.engines is not None and settings.engines.dtype == options.dtype:
        yield context.engines, _shared(context.engines)
        return

    def waits(reason: str) -> None:
        work.waiting = reason

    own = _with_dtype(settings, options)
    pool = await asyncio.to_thread(
        EnginePool.from_settings, own, context.store.data_dir, context.store, "the Benchmarks page", waits
    )
    try:
        yield pool, pool_engines(pool)
    finally:
        await asyncio.shield(pool.close())


def _shared(pool: EnginePool) -> Engines:
    async def opened(contestant: Contestant) -> Engine:
        engine = await asyncio.to_thread(pool.get, contestant.spec)
        if isinstance(engine, LocalEngine):
            await engine.load()
        return engine

    async def closed(contestant: Contestant, engine: Engine) -> None:
        """Battles may be using it: it stays, and leaves when its room is needed."""

    return Engines(opened, closed)


def _with_dtype(settings: Settings, options: RunOptions) -> Settings:
    return settings.model_copy(
        update={"engines": settings.engines.model_copy(update={"dtype": options.dtype})}
    )


def _lm_options(chosen: Chosen, options: RunOptions) -> Any:
    if not chosen.tasks:
        return None
    # lm-eval's and its data sets' own bars have no place in a server's terminal.
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    from evaluators.suites.lm_tasks import LmOptions

    return LmOptions(few_shot=options.few_shot)
