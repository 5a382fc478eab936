"""`arena train estimate`: what a training needs, before it is started."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from arena.cli._common import DEFAULT_DATA, AsJson, BadInput, DataDir, console, output, print_json
from arena.cli._models import open_models
from arena.cli._train_recipes import Changes, bring_in, recipe_of

if TYPE_CHECKING:
    from trainers.memory import MethodRow, TrainingEstimate


def estimate(
    recipe: Annotated[
        Path | None, typer.Argument(help="A recipe (YAML); without one, --preset and --set make it.")
    ] = None,
    changes: Changes = None,
    preset: Annotated[
        str | None, typer.Option(help="A preset below the recipe; `arena train presets` lists them.")
    ] = None,
    as_json: AsJson = False,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Estimate a training: parameters, memory, time, where it fits, and what to change where it does not."""
    from prompt_formats.errors import PromptFormatError
    from trainers.datasets import MissingRows
    from trainers.memory import UnknownShapes, estimate_plan
    from trainers.plan import CannotPlan, make_plan

    made = recipe_of(recipe, changes, preset)
    with open_models(data) as store, console.status("Counting tokens, timing a matrix product"):
        made = bring_in(store, data, made)
        try:
            found, methods = estimate_plan(store, make_plan(store, data, made))
        except (CannotPlan, UnknownShapes, PromptFormatError, MissingRows) as error:
            raise BadInput(str(error)) from None
    if as_json:
        print_json(
            {**found.model_dump(mode="json"), "methods": [row.model_dump(mode="json") for row in methods]}
        )
        return
    _tell(found, methods)


def _tell(found: TrainingEstimate, methods: list[MethodRow]) -> None:
    from arena.engines.memory import in_words
    from trainers.wording import time_in_words

    need = found.need
    parts = {
        "weights": need.weights, "gradients": need.gradients, "optimiser": need.optimiser,
        "activations": need.activations, "logits": need.logits, "keys and values": need.cache,
        "working": need.working,
    }  # fmt: skip
    facts: dict[str, str] = {
        "method": f"{found.method} for {found.objective}",
        "parameters": f"{found.parameters:,}, {found.trained_parameters:,} trained "
        f"({found.trained_parameters / found.parameters:.2%})",
        "memory": " + ".join(f"{name} {in_words(size)}" for name, size in parts.items() if size),
        "in all": f"{in_words(found.gpu)} of GPU memory, {in_words(found.ram)} of memory"
        if found.gpu
        else f"{in_words(found.ram)} of memory, its process included",
        "work": _work(found),
        "time here": f"{time_in_words(found.seconds)} ({found.speed_from})"
        if found.seconds is not None
        else "not known",
    }
    table = Table(show_header=False, box=None)
    for name, value in facts.items():
        table.add_row(name, escape(value))
    output.print(table)
    places = Table("device", "memory", "needs", "fits", "time", "where", box=None)
    shown = [each for each in found.devices if each.here]
    shown += [each for each in found.devices if not each.here and each.fits][:6]
    for each in shown:
        places.add_row(
            each.name, in_words(each.memory), in_words(each.needed), "yes" if each.fits else "no",
            time_in_words(each.seconds), ", ".join(each.cloud),
        )  # fmt: skip
    output.rule("where it fits (the smallest of the catalogue)", align="left", style="dim")
    output.print(places)
    output.print(
        f"Devices elsewhere: catalogue of {found.catalogue_date}; sizes, offers and prices change.",
        style="dim",
    )
    if found.advice:
        output.rule("it does not fit here; what would lower it", align="left", style="dim")
        for line in found.advice:
            changes, _, then = line.partition(": ")
            words = " ".join(f"--set {change}" for change in changes.split())
            output.print(f"{words}: {then}", highlight=False, soft_wrap=True)
    side_by_side = Table("method", "trained", "memory", "time here", "fits here", box=None)
    for row in methods:
        side_by_side.add_row(
            row.method, f"{row.trained_parameters:,}", in_words(row.needed), time_in_words(row.seconds),
            "yes" if row.fits_here else "no",
        )  # fmt: skip
    output.rule("methods", align="left", style="dim")
    output.print(side_by_side)


def _work(found: TrainingEstimate) -> str:
    steps = "steps not known"
    if found.steps is not None:
        steps = f"{found.steps:,} step{'s' if found.steps != 1 else ''}"
    tokens = f", {found.tokens:,} tokens" if found.tokens is not None else ""
    return f"{steps}{tokens} ({found.tokens_from})"
