"""How `arena bench run` runs: models opened, progress shown, a YAML file read."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from arena.cli._common import BadInput, console
from arena.cli._models import resolve_options, settings_of
from evaluators.suites.items import explained
from evaluators.suites.plan import RunOptions
from evaluators.suites.reading import change_since, find_run, run_summary
from evaluators.suites.running import Progress, RunOutcome
from evaluators.suites.session import bench, choose, pool_engines, settled
from results.store import Store, open_store

if TYPE_CHECKING:
    from arena.config import Settings
    from arena.roster import Contestant


@dataclass(frozen=True)
class Wanted:
    """What a run is asked for, in words."""

    models: list[str]
    suites: list[str]
    options: RunOptions
    chat_template: bool = True
    datasets: Path | None = None


class PinnedModel(BaseModel):
    """A model of a run's file; `digest` (or its beginning) makes the run fail where the model is another one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    digest: str | None = Field(default=None, min_length=8)


class RunFile(BaseModel):
    """A run's YAML: models and suites, `options` of the command, and where the summary is written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    models: tuple[str | PinnedModel, ...] = Field(min_length=1)
    suites: tuple[str, ...] = Field(min_length=1)
    limit: int | None = Field(default=None, ge=1)
    samples: int = Field(default=1, ge=1)
    seed: int = 0
    languages: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    few_shot: int | None = None
    judge: str | None = None
    dtype: str = "auto"
    allow_code: bool = False
    chat_template: bool = True
    datasets: Path | None = None
    summary: Path | None = None


def run_file(
    file: Path, data: Path, config: Path | None, *, chat_template: bool, datasets: Path | None
) -> tuple[dict[str, Any], bool]:
    """Run what a YAML file pins; gives the summary with the change since the last run of its name, and whether every
    answer came. Paths in the file are relative to it. Raises BadInput, SuiteError."""
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
        pinned = RunFile.model_validate(raw)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInput(f"{file}: cannot be read: {error}") from error
    except ValidationError as error:
        raise BadInput(f"{file}: {explained(error)}") from error
    fields = pinned.model_dump(include=set(RunOptions.model_fields) & set(RunFile.model_fields))
    try:
        options = RunOptions.model_validate(fields)
    except ValidationError as error:
        raise BadInput(f"{file}: {explained(error)}") from error
    models = [each if isinstance(each, str) else each.model for each in pinned.models]
    digests = {
        each.model: each.digest for each in pinned.models if isinstance(each, PinnedModel) and each.digest
    }
    suites = [str(file.parent / each) if (file.parent / each).exists() else each for each in pinned.suites]
    mirror = datasets or (None if pinned.datasets is None else file.parent / pinned.datasets)
    wanted = Wanted(models, suites, options, pinned.chat_template and chat_template, mirror)
    summary, complete = run_wanted(wanted, data, config, digests, with_change=True)
    target = file.parent / (pinned.summary or f"{file.stem}-summary.json")
    partial = target.with_name(f"new-{target.name}")
    partial.write_text(
        json.dumps(summary, ensure_ascii=False, indent=2, default=str) + "\n", encoding="utf-8"
    )
    partial.replace(target)
    console.print(f"Summary: {target}", markup=False, highlight=False)
    return summary, complete


def run_wanted(
    wanted: Wanted,
    data: Path,
    config: Path | None,
    digests: dict[str, str] | None = None,
    *,
    with_change: bool = False,
) -> tuple[dict[str, Any], bool]:
    """Run models through suites; gives the summary, and whether every answer came."""
    settings = settings_of(data, config)
    # lm-eval and its data sets draw bars of their own, through ours.
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    with console.status("Reading the suites"):
        chosen = choose(wanted.suites, data, wanted.datasets)
    with open_store(data) as store:
        contestants = resolve_options(store, settings, data, wanted.models)
        for word, contestant in zip(wanted.models, contestants, strict=True):
            pin = (digests or {}).get(word)
            if pin is not None and not contestant.version.digest.startswith(pin):
                raise BadInput(
                    f"{word} is pinned to {pin}, but is {contestant.version.digest} now ({contestant.version.label}): "
                    "something of it has changed"
                )
        judges = (
            resolve_options(store, settings, data, [wanted.options.judge]) if wanted.options.judge else []
        )
        outcome = asyncio.run(_run(store, settings, data, wanted, contestants, judges, chosen))
        run = find_run(store, str(outcome.run.id))
        summary = run_summary(store, run)
        if with_change:
            summary["change"] = change_since(store, run)
    progress = outcome.progress
    summary["answers"] = {"made": outcome.made, "reused": progress.reused, "errors": progress.errors}
    console.print(
        f"{progress.done:,} samples: {outcome.made:,} answers made now, {progress.reused:,} taken from the store"
        + (f", [red]{progress.errors:,} without an answer[/]" if progress.errors else ""),
        highlight=False,
    )
    return summary, outcome.complete


async def _run(
    store: Store,
    settings: Settings,
    data: Path,
    wanted: Wanted,
    contestants: list[Contestant],
    judges: list[Contestant],
    chosen: Any,
) -> RunOutcome:
    from arena.engines.pool import EnginePool
    from evaluators.suites.grading import engine_grade

    options = settled(store, wanted.options)
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
        judge = None
        if judges:
            judge = engine_grade(
                await asyncio.to_thread(pool.get, judges[0].spec), asyncio.get_running_loop()
            )
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
                store, pool_engines(pool), contestants, chosen, options, lm_options=lm_options, judge=judge,
                on_progress=show,
            )  # fmt: skip
    except asyncio.CancelledError:
        console.print("Stopped: what was answered is kept. Run the same command again to go on.")
        raise
    finally:
        await pool.close()
