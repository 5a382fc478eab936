"""`arena train`: recipes, the queue of trainings, and what they left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from arena.cli._common import DEFAULT_DATA, AsJson, BadInput, DataDir, WorkFailed, console, output, print_json
from arena.cli._models import open_models
from arena.cli._train_recipes import Changes, Job, bring_in, job_of, recipe_of
from arena.cli.train_compare import compare, sweep
from arena.cli.train_estimate import estimate
from arena.cli.train_export import export
from arena.cli.train_merge import merge
from arena.cli.train_quantise import quantise

if TYPE_CHECKING:
    from results.store import Store
    from results.store.jobs import StoredJob

app = typer.Typer(no_args_is_help=True, help="Training: recipes, the queue, and what came out.")


@app.command()
def run(
    recipe: Annotated[
        Path | None, typer.Argument(help="A recipe (YAML); without one, --preset and --set make it.")
    ] = None,
    changes: Changes = None,
    preset: Annotated[
        str | None, typer.Option(help="A preset below the recipe; `arena train presets` lists them.")
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Queue it and return; it runs without this terminal.")
    ] = False,
    as_json: AsJson = False,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Train by a recipe: queue it, start it, and follow it. Ctrl+C stops following, not the training."""
    from trainers.jobs import enqueue
    from trainers.plan import CannotPlan

    with open_models(data) as store:
        made = recipe_of(recipe, changes, preset)
        made = bring_in(store, data, made)
        try:
            job = enqueue(store, made)
        except CannotPlan as error:
            raise BadInput(str(error)) from None
        console.print(f"queued {job.name} ({job.id})", highlight=False)
        if detach:
            _advance(store)
            console.print(f"`arena train show {job.name}` tells how it goes, `arena train cancel` stops it.")
        else:
            job = _follow(store, job)
    _tell_end(job, as_json, detach)


@app.command("list")
def list_(as_json: AsJson = False, data: DataDir = DEFAULT_DATA) -> None:
    """List trainings: waiting, running and finished."""
    with open_models(data) as store:
        found = _advance(store)
    if as_json:
        print_json([_plain(each) for each in found])
        return
    if not found:
        console.print("There is no training yet: `arena train run RECIPE`.")
        return
    table = Table("training", "id", "state", "step", "loss", "held out", "why", box=None)
    table.columns[0].overflow = "fold"  # what tells the variants of a sweep apart must not be cut
    for each in found:
        p, r = each.progress, each.result
        held_out = (r.get("held_out_after") or {}).get("loss", p.get("eval_loss"))
        made = f"{r['steps']:,}" if r.get("steps") else ""
        table.add_row(
            escape(r.get("model") or each.name), str(each.id)[:13], each.state, _steps(p) or made,
            _figure(r.get("train_loss", p.get("loss"))), _figure(held_out),
            escape((each.error or p.get("reason") or "")[:60]),
        )  # fmt: skip
    output.print(table)


@app.command()
def show(job: Job, as_json: AsJson = False, data: DataDir = DEFAULT_DATA) -> None:
    """Show a training: its recipe, progress, figures, warnings, and where its artifact lies."""
    from trainers.jobs import job_folder, metrics, plan_of
    from trainers.recipes import write_recipe

    with open_models(data) as store:
        _advance(store)
        found = job_of(store, job)
    if as_json:
        print_json({**_plain(found), "metrics": metrics(data, found.id)})
        return
    plan = plan_of(found)
    table = Table(show_header=False, box=None)
    facts = {
        "training": f"{found.name} ({found.id}), {found.state}",
        "base": plan.base.label,
        "data": f"{plan.dataset.label}, {plan.dataset.row_count:,} rows",
        "step": _steps(found.progress),
        "now": _now(found),
        "why": found.error or "",
        "next": f"`arena train resume {found.name}` goes on with it" if found.state == "cancelled" else "",
        "folder": str(job_folder(data, found.id)),
        **_figures(found),
    }
    for name, value in facts.items():
        if value:
            table.add_row(name, escape(str(value)))
    output.print(table)
    output.rule("recipe", align="left", style="dim")
    output.print(write_recipe(plan.recipe), highlight=False, markup=False)


@app.command()
def logs(
    job: Job,
    last: Annotated[int, typer.Option(min=1, help="How many characters from the end.")] = 4_000,
    as_json: AsJson = False,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Print the end of a training's log."""
    from trainers.jobs import log_text

    with open_models(data) as store:
        found = job_of(store, job)
    written = log_text(data, found.id, last)
    if as_json:
        print_json({"id": str(found.id), "name": found.name, "log": written})
    elif written:
        output.print(written, highlight=False, markup=False, soft_wrap=True)
    else:
        console.print(f"{found.name} has no log yet: it is {found.state}.", highlight=False, markup=False)


@app.command()
def cancel(job: Job, as_json: AsJson = False, data: DataDir = DEFAULT_DATA) -> None:
    """Stop a training at its next step, with a checkpoint to go on from."""
    from results.store.jobs import FINISHED
    from trainers.jobs import cancel as cancel_job

    with open_models(data) as store:
        found = job_of(store, job)
        if found.state in FINISHED:
            raise BadInput(
                f"{found.name} is {found.state}: only a training that waits or runs can be stopped"
            )
        found = cancel_job(store, found.id)
    if as_json:
        print_json(_plain(found))
        return
    what = "stops at its next step" if found.state == "running" else "will not start"
    output.print(f"{found.name} {what}; `arena train resume` goes on with it.", highlight=False, markup=False)


@app.command()
def resume(
    job: Job,
    detach: Annotated[bool, typer.Option("--detach", help="Return; it runs without this terminal.")] = False,
    as_json: AsJson = False,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Go on with a training that failed, was cancelled or killed, from its last whole checkpoint."""
    from trainers.jobs import resume as resume_job

    with open_models(data) as store:
        _advance(store)
        found = job_of(store, job)
        if found.state not in ("failed", "cancelled"):
            raise BadInput(f"{found.name} is {found.state}: only a failed or cancelled training can go on")
        found = resume_job(store, found.id)
        if detach:
            _advance(store)
        else:
            found = _follow(store, found)
    _tell_end(found, as_json, detach)


@app.command()
def presets(as_json: AsJson = False) -> None:
    """List the presets of recipes."""
    from trainers.recipes import presets as known

    if as_json:
        print_json(known())
        return
    table = Table("preset", "what it is for", box=None)
    for name, values in known().items():
        table.add_row(name, escape(values["about"]))
    output.print(table)


def _advance(store: Store) -> list[StoredJob]:
    from trainers.jobs import advance

    return advance(store)


@contextmanager
def _bar() -> Iterator[Any]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[remark]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("queued", total=None, remark="")
        yield lambda **fields: progress.update(task, **fields)


def _follow(store: Store, job: StoredJob) -> StoredJob:
    from trainers.jobs import follow

    try:
        with _bar() as show:
            for now in follow(store, job.id):
                job, p = now, now.progress
                show(
                    description=str(p.get("phase", now.state)),
                    completed=p.get("step", 0),
                    total=p.get("steps"),
                    remark=" · ".join(filter(None, (_remark(p), str(p.get("reason", ""))))),
                )
    except KeyboardInterrupt:
        console.print(
            f"\nThe training goes on; `arena train show {job.name}` tells how, `arena train cancel` stops it."
        )
        raise typer.Exit(0) from None
    return job


def _now(job: StoredJob) -> str:
    """What a training does that waits or runs."""
    if job.state not in ("queued", "running"):
        return ""
    p = job.progress
    return " · ".join(filter(None, (f"{p.get('phase', '')} {p.get('reason', '')}".strip(), _remark(p))))


def _remark(p: dict[str, Any]) -> str:
    from trainers.wording import time_in_words

    parts = [
        _steps(p),
        f"loss {_figure(p.get('loss'))}" if p.get("loss") is not None else "",
        f"rate {p['learning_rate']:.2g}" if p.get("learning_rate") is not None else "",
        f"held out {_figure(p.get('eval_loss'))}" if p.get("eval_loss") is not None else "",
        f"{p['tokens_per_second']:,.0f} tokens/s" if p.get("tokens_per_second") else "",
        f"{p['memory'] / 2**30:.1f} GiB" if p.get("memory") else "",
        f"{time_in_words(p['seconds_left'])} left" if p.get("seconds_left") else "",
    ]
    return " · ".join(part for part in parts if part)


def _tell_end(job: StoredJob, as_json: bool, detached: bool) -> None:
    if as_json:
        print_json(_plain(job))
    if job.state == "failed":
        raise WorkFailed(f"{job.name}: {job.error}")
    if as_json or detached:
        return
    for name, value in _figures(job).items():
        if value:
            output.print(f"{name}: {value}", highlight=False)
    for warning in job.result.get("warnings", []):
        console.print(f"[yellow]{escape(warning)}[/]", highlight=False)
    if job.result.get("model"):
        console.print(
            f"{job.result['model']} is on the roster: it can be drawn in battles now.", highlight=False
        )


def _figures(job: StoredJob) -> dict[str, str]:
    from trainers.wording import held_out_changes, time_in_words

    r = job.result
    return {
        "held out": held_out_changes(r),
        "trained": f"{r['trained_parameters']:,} of {r['parameters']:,} parameters" if r else "",
        "tokens": f"{r['tokens']:,} in {time_in_words(r['seconds'])}" if r.get("seconds") else "",
        "rows left out": ", ".join(f"{n:,}: {why}" for why, n in (r.get("rows_left_out") or {}).items()),
        "artifact": r.get("artifact", ""),
        "model": r.get("model", ""),
    }


def _plain(job: StoredJob) -> dict[str, Any]:
    return job.model_dump(mode="json")


def _steps(progress: dict[str, Any]) -> str:
    return f"{progress['step']}/{progress['steps']}" if "step" in progress else ""


def _figure(value: Any) -> str:
    return f"{value:z.3f}" if isinstance(value, int | float) else ""


for command in (estimate, compare, sweep, export, merge, quantise):
    app.command()(command)
