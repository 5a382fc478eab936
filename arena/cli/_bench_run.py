"""How `arena bench run` runs: models opened and held to what they are pinned to, progress shown."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from arena.cli._common import BadInput, console
from arena.cli._models import resolve_options, settings_of
from evaluators.suites.plan import RunOptions
from evaluators.suites.reading import change_since, find_run, run_summary
from evaluators.suites.running import Progress, RunOutcome
from evaluators.suites.session import bench, check, choose, pool_engines, settled
from results.store import Store, open_store

if TYPE_CHECKING:
    from arena.config import Settings
    from arena.roster import Contestant


@dataclass(frozen=True)
class Wanted:
    """What a run is asked for, in words. Pins are the digests (or their beginnings) that words must still have."""

    models: list[str]
    suites: list[str]
    options: RunOptions
    chat_template: bool = True
    datasets: Path | None = None
    model_pins: Mapping[str, str] = field(default_factory=dict)
    suite_pins: Mapping[str, str] = field(default_factory=dict)


def run_wanted(
    wanted: Wanted, data: Path, config: Path | None, *, with_change: bool = False
) -> tuple[dict[str, Any], bool]:
    """Run models through suites; gives the summary, and whether every answer came."""
    settings = settings_of(data, config)
    # lm-eval and its data sets draw bars of their own, through ours.
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    with console.status("Reading the suites"):
        chosen = choose(wanted.suites, data, wanted.datasets)
        for word, pin in wanted.suite_pins.items():
            alone = choose([word], data, wanted.datasets)
            found = (alone.suites or alone.tasks)[0]
            _hold(word, pin, found.digest, found.name)
        check(chosen, wanted.options, judged=wanted.options.judge is not None)
    with open_store(data) as store:
        judge_word = wanted.options.judge
        words = [*wanted.models, *([judge_word] if judge_word else [])]
        opened = resolve_options(store, settings, data, words)
        for word, contestant in zip(words, opened, strict=True):
            _hold(word, wanted.model_pins.get(word), contestant.version.digest, contestant.version.label)
        contestants = opened[: len(wanted.models)]
        judge = opened[-1] if judge_word else None
        outcome = asyncio.run(_run(store, settings, data, wanted, contestants, judge, chosen))
        run = find_run(store, str(outcome.run.id))
        summary = run_summary(store, run)
        if with_change:
            summary["change"] = change_since(store, run)
    progress = outcome.progress
    summary["answers"] = {"made": outcome.made, "reused": progress.reused, "errors": progress.errors}
    console.print(
        f"{progress.done:,} samples: {outcome.made:,} answers made now, {progress.reused:,} taken from the store"
        + (f", [red]{progress.errors:,} without an answer[/]" if progress.errors else "")
        + (f", {progress.over_context:,} over the context" if progress.over_context else ""),
        highlight=False,
    )
    return summary, outcome.complete


def _hold(word: str, pin: str | None, digest: str, name: str) -> None:
    """Raise BadInput where something pinned is not what it was."""
    if pin is not None and not digest.startswith(pin):
        raise BadInput(
            f"{word} is pinned to {pin}, but is {digest} now ({name}): something of it has changed. Pin the new digest "
            "where that is meant"
        )


async def _run(
    store: Store,
    settings: Settings,
    data: Path,
    wanted: Wanted,
    contestants: list[Contestant],
    judge: Contestant | None,
    chosen: Any,
) -> RunOutcome:
    from arena.engines.pool import EnginePool
    from evaluators.suites.grading import judge_grade

    options = settled(store, wanted.options, judge)
    engines = settings.engines.model_copy(update={"dtype": options.dtype})
    settings = settings.model_copy(update={"engines": engines})

    def waits(reason: str) -> None:
        console.print(escape(reason), style="yellow", highlight=False)

    pool = await asyncio.to_thread(
        EnginePool.from_settings, settings, data, store, "`arena bench`", on_wait=waits
    )
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    lm_options = None
    if chosen.tasks:
        from evaluators.suites.lm_tasks import LmOptions

        lm_options = LmOptions(wanted.chat_template, wanted.datasets, options.few_shot)
    try:
        grade = None
        if judge is not None:
            engine = await asyncio.to_thread(pool.get, judge.spec)
            grade = judge_grade(store, judge, engine, asyncio.get_running_loop(), options)
        with Bars(*columns, console=console) as bars:
            bar = bars.add_task("starting", total=None)

            def show(progress: Progress) -> None:
                where = " · ".join(filter(None, (progress.model, progress.suite)))
                errors = f" [red]{progress.errors} errors[/]" if progress.errors else ""
                bars.update(
                    bar,
                    description=escape(where) + errors,
                    total=progress.total or None,
                    completed=progress.done,
                )

            return await bench(
                store, pool_engines(pool), contestants, chosen, options, lm_options=lm_options, judge=grade,
                on_progress=show,
            )  # fmt: skip
    except asyncio.CancelledError:
        console.print("Stopped: what was answered is kept. Run the same command again to go on.")
        raise
    finally:
        await pool.close()
