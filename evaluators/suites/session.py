"""A whole run from words to results: what `arena bench run` does, for scripts and notebooks."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from arena.engines.base import Engine
from arena.engines.local import LocalEngine
from arena.engines.pool import EnginePool
from arena.roster import Contestant
from evaluators.suites.catalogue import find_suite, suite_folders
from evaluators.suites.definition import Suite
from evaluators.suites.errors import SuiteError
from evaluators.suites.plan import RunOptions
from evaluators.suites.running import Engines, OnProgress, Progress, RunOutcome, check_run, run_suites
from evaluators.suites.scorers import Grade
from results.store import Store
from results.store.ledger import holdings
from results.store.suites import StoredSuiteRun

if TYPE_CHECKING:
    from evaluators.suites.lm_tasks import LmOptions, LmTask


@dataclass
class Chosen:
    """Suites of ours and tasks of lm-eval, as words named them."""

    suites: list[Suite] = field(default_factory=list)
    tasks: list[LmTask] = field(default_factory=list)


def choose(words: Sequence[str], data_dir: Path, mirror: Path | None = None) -> Chosen:
    """The suites and lm-eval tasks that words name: a suite's name, a folder or YAML file, `lm:TASK` or a task's name.
    Raises SuiteError."""
    chosen = Chosen()
    known = suite_folders(data_dir)
    for word in words:
        path = Path(word).expanduser()
        if word in known or (path.exists() and not _is_task_file(path)):
            chosen.suites.append(find_suite(word, data_dir))
            continue
        near = difflib.get_close_matches(word, known, n=1, cutoff=0.75)
        if near:
            # Looking through lm-eval's 14,000 tasks for a slip of the pen would take 15 seconds.
            raise SuiteError(
                f"there is no suite '{word}': did you mean '{near[0]}'? (An lm-eval task: lm:{word})"
            )
        try:
            from evaluators.suites.lm_tasks import find_task
        except ImportError as error:
            raise SuiteError(
                f"there is no suite '{word}', and lm-eval's tasks need the extra `eval`: pip install 'palaestra[eval]' "
                f"({error})"
            ) from error
        chosen.tasks.append(find_task(word, data_dir, mirror))
    names = [suite.name for suite in chosen.suites]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SuiteError(f"the suite {twice} is named twice")
    return chosen


def settled(store: Store, options: RunOptions, judge: Contestant | None = None) -> RunOptions:
    """Options with all decided that makes answers and grades: float32 where no GPU is, so that an answer does not
    depend on its batch, and the judge's version in place of its name."""
    update: dict[str, str] = {}
    if options.dtype == "auto" and holdings(store).capacity.gpu == 0:
        update["dtype"] = "float32"
    if judge is not None:
        update["judge"] = judge.version.label
    return options.model_copy(update=update)


def check(chosen: Chosen, options: RunOptions, *, judged: bool) -> None:
    """Refuse before any model is loaded what cannot end well, and options that would be passed over: lm-eval's tasks
    take some that suites do not, and the other way round. `judged`: there is a judge. Raises SuiteError."""
    if not chosen.tasks and options.few_shot is not None:
        raise SuiteError("few_shot is for lm-eval's tasks: our suites hold their examples themselves")
    if chosen.tasks and (options.samples > 1 or options.languages or options.categories):
        raise SuiteError(
            f"lm:{chosen.tasks[0].name} is lm-eval's: samples, languages and categories can be chosen of our suites "
            "alone. Run it by itself"
        )
    check_run(chosen.suites, options, judged=judged)


def pool_engines(pool: EnginePool) -> Engines:
    """The engines of a pool, each freed when the run is done with its model."""

    async def opened(contestant: Contestant) -> Engine:
        engine = await asyncio.to_thread(pool.get, contestant.spec)
        if isinstance(engine, LocalEngine):
            await engine.load()
        return engine

    async def closed(contestant: Contestant, engine: Engine) -> None:
        await engine.close()

    return Engines(opened, closed)


async def bench(
    store: Store,
    engines: Engines,
    contestants: list[Contestant],
    chosen: Chosen,
    options: RunOptions,
    *,
    lm_options: LmOptions | None = None,
    judge: Grade | None = None,
    on_progress: OnProgress = lambda progress: None,
) -> RunOutcome:
    """Run models through suites and lm-eval tasks (see `running.run_suites`, which this adds the tasks to)."""
    await asyncio.to_thread(check, chosen, options, judged=judge is not None)
    options = settled(store, options)
    if not chosen.tasks:
        return await run_suites(
            store, engines, contestants, chosen.suites, options, judge=judge, on_progress=on_progress
        )
    from evaluators.suites.lm_tasks import LmOptions, run_tasks

    settings = lm_options or LmOptions()

    async def more(run: StoredSuiteRun, contestant: Contestant, engine: Engine, progress: Progress) -> int:
        return await run_tasks(
            store, run, contestant, engine, chosen.tasks, options, settings, progress, on_progress
        )

    template = "" if settings.chat_template else "/raw"
    digests = {task.name: f"{task.digest}/{settings.few_shot}{template}" for task in chosen.tasks}
    return await run_suites(
        store, engines, contestants, chosen.suites, options, judge=judge, on_progress=on_progress, tasks=digests,
        more=more,
    )  # fmt: skip


def _is_task_file(path: Path) -> bool:
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        return False
    return any(line.startswith("task:") for line in path.read_text(encoding="utf-8").split("\n"))
