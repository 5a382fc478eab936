"""`arena train compare` and `arena train sweep`: trainings side by side."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from arena.cli._common import DEFAULT_DATA, AsJson, BadInput, DataDir, WorkFailed, console, output, print_json
from arena.cli._models import open_models
from arena.cli._train_recipes import Changes, bring_in, recipe_of

if TYPE_CHECKING:
    from uuid import UUID

    from results.store import Store
    from trainers.comparing import Row, Variant
    from trainers.recipes import Recipe

RecipeFile = Annotated[
    Path | None, typer.Argument(help="A recipe (YAML); without one, --preset and --set make it.")
]
Preset = Annotated[
    str | None, typer.Option(help="A preset below the recipe; `arena train presets` lists them.")
]
Suites = Annotated[
    list[str] | None,
    typer.Option(
        "--suite", help="A suite that training has not touched: what was forgotten of it; may be repeated."
    ),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Items of each suite, at most.")]
Out = Annotated[Path | None, typer.Option(help="Where the report is written (HTML).", dir_okay=False)]


def compare(
    recipe: RecipeFile = None,
    methods: Annotated[
        str, typer.Option(help="Methods divided by commas: full, lora, qlora, ia3, tool_tokens, head.")
    ] = "lora,ia3,full",
    changes: Changes = None,
    preset: Preset = None,
    suite: Suites = None,
    limit: Limit = None,
    out: Out = None,
    as_json: AsJson = False,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Train on the same data by several methods; report quality, forgetting, time, memory and parameters.

    Stopped, it goes on when the same command is given again. Each method other than the recipe's own takes the
    learning rate of its preset.
    """
    from trainers.comparing import CannotCompare, variants_by_method
    from trainers.recipes import BadRecipe

    made = recipe_of(recipe, changes, preset)
    try:
        variants = variants_by_method(made, [word.strip() for word in methods.split(",") if word.strip()])
    except (CannotCompare, BadRecipe) as error:
        raise BadInput(str(error)) from None
    _side_by_side(data, made, variants, "methods", suite or [], limit, out, as_json)


def sweep(
    recipe: RecipeFile = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            help="KEY=VALUE,VALUE such as optimiser.learning_rate=1e-4,5e-4; all combinations of several."
        ),
    ] = None,
    changes: Changes = None,
    preset: Preset = None,
    suite: Suites = None,
    limit: Limit = None,
    out: Out = None,
    as_json: AsJson = False,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Train one recipe over a grid of values (learning rates, ranks, data_share=0.1,0.3,1) and compare.

    Stopped, it goes on when the same command is given again.
    """
    from trainers.comparing import CannotCompare, variants_of_grid
    from trainers.recipes import BadRecipe

    made = recipe_of(recipe, changes, preset)
    values = {}
    for word in grid or ():
        key, equals, list_of = word.partition("=")
        if not equals or not list_of:
            raise BadInput(f"--grid {word}: write KEY=VALUE,VALUE, for example lora.rank=4,16")
        # A value may be a list itself: lora.targets=[q_proj,v_proj],all-linear
        values[key] = [value.strip() for value in re.split(r",(?![^\[]*\])", list_of)]
    try:
        variants = variants_of_grid(made, values)
    except (CannotCompare, BadRecipe) as error:
        raise BadInput(str(error)) from None
    _side_by_side(data, made, variants, "sweep", suite or [], limit, out, as_json)


def _side_by_side(
    data: Path,
    recipe: Recipe,
    variants: Sequence[Variant],
    kind: str,
    suites: list[str],
    limit: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    from trainers.comparing import Variant, queue_variants, read_rows
    from trainers.comparison_report import write_comparison
    from trainers.jobs import metrics
    from trainers.plan import CannotPlan

    file = out or data / f"{recipe.name}-{kind}.html"
    if not file.absolute().parent.is_dir() and out is not None:  # hours later would be too late
        raise BadInput(f"--out {out}: there is no folder {out.parent}")
    names = _suites(data, suites)
    with open_models(data) as store:
        # A grid may vary the base too.
        variants = [Variant(each.label, bring_in(store, data, each.recipe)) for each in variants]
        recipe = bring_in(store, data, recipe)
        try:
            queued = queue_variants(store, variants)
        except CannotPlan as error:
            raise BadInput(str(error)) from None
        ids = [job.id for job in queued]
        _follow(store, variants, ids)
        rows = read_rows(store, variants, ids)
    if suites:
        rows = _forgotten(data, recipe, rows, suites, names, limit)
    write_comparison(
        rows, f"{recipe.name}: {kind}", file,
        about=f"{recipe.base} trained for {recipe.objective} on {recipe.dataset}.",
        measured={row.job: metrics(data, row.job) for row in rows},
    )  # fmt: skip
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
    else:
        _tell(rows)
    console.print(f"Report: {file}", highlight=False, markup=False)
    failed = [row for row in rows if row.state != "done"]
    if failed:
        raise WorkFailed(
            "; ".join(f"{row.label}: {row.state} {row.error or ''}".strip() for row in failed)
            + ". The same command tries them again"
        )


def _suites(data: Path, words: Sequence[str]) -> list[str]:
    """The names of the suites, before anything is trained. Raises BadInput."""
    from evaluators.suites.errors import SuiteError
    from evaluators.suites.session import choose

    try:
        return [suite.name for suite in choose(words, data).suites] if words else []
    except SuiteError as error:
        raise BadInput(str(error)) from None


def _follow(store: Store, variants: Sequence[Variant], ids: Sequence[UUID]) -> None:
    from trainers.comparing import follow_all

    try:
        with Progress(console=console, disable=not console.is_terminal) as progress:
            bars = [progress.add_task(escape(variant.label), total=None) for variant in variants]
            for now in follow_all(store, ids):
                for bar, job in zip(bars, now, strict=True):
                    steps = job.progress.get("steps")
                    done = steps if job.state == "done" else job.progress.get("step", 0)
                    progress.update(bar, total=steps, completed=done or 0)
    except KeyboardInterrupt:
        console.print(
            "\nThe trainings go on while a command or the web app looks after the queue; give the same command again "
            "to follow them."
        )
        raise typer.Exit(0) from None


def _forgotten(
    data: Path, recipe: Recipe, rows: list[Row], suites: list[str], names: list[str], limit: int | None
) -> list[Row]:
    from arena.cli._bench_run import Wanted, run_wanted
    from arena.roster import find
    from evaluators.suites.comparing import Side
    from evaluators.suites.errors import SuiteError
    from evaluators.suites.plan import RunOptions
    from trainers.comparing import with_forgetting

    models = [row.model for row in rows if row.model is not None]
    if not models:
        return rows
    try:
        run_wanted(Wanted([recipe.base, *models], suites, RunOptions(limit=limit)), data, None)
        with open_models(data) as store:
            base = find(store, recipe.base).version
            return with_forgetting(store, Side(base.label, base.version_key), rows, names)
    except SuiteError as error:
        raise BadInput(str(error)) from None


def _tell(rows: Sequence[Row]) -> None:
    from arena.engines.memory import in_words
    from trainers.wording import time_in_words

    table = Table("variant", "rate", "held-out loss", "trained", "time", "memory", box=None)
    table.columns[0].overflow = "fold"  # what tells the variants apart must not be cut
    for row in rows:
        losses = [_loss(figures) for figures in (row.before, row.quality)]
        table.add_row(
            escape(row.label), f"{row.learning_rate:g}",
            " → ".join(losses) if row.state == "done" else f"[red]{row.state}[/]",
            f"{row.trained_parameters:,}" if row.trained_parameters else "",
            time_in_words(row.seconds), "" if row.memory is None else in_words(row.memory),
        )  # fmt: skip
    output.print(table)
    if not any(row.forgetting for row in rows):
        return
    lost = Table("variant", "suite", "before", "after", "difference, 95% interval", "shown", box=None)
    lost.columns[0].overflow = "fold"
    for row in rows:
        for each in row.forgetting:
            lost.add_row(
                escape(row.label), each.suite, f"{each.before:.3f}", f"{each.after:.3f}",
                f"{each.difference:+.3f} ({each.lower:+.3f} – {each.upper:+.3f})", each.verdict,
            )  # fmt: skip
    output.rule("what was forgotten", align="left", style="dim")
    output.print(lost)


def _loss(figures: Mapping[str, float]) -> str:
    return f"{figures['loss']:.4f}" if "loss" in figures else "–"
