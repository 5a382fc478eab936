"""`arena bench`: test suites, runs of models through them, and what differs between models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape

from arena.cli import bench_items
from arena.cli._common import (
    DEFAULT_DATA,
    GATE_SAID_NO,
    AsJson,
    BadInput,
    ConfigFile,
    DataDir,
    MirroredData,
    WorkFailed,
    console,
    output,
    print_json,
)

app = typer.Typer(no_args_is_help=True, help="Test suites: run models through them and compare.")
app.command(name="items")(bench_items.items)

Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="A name, name@3, an alias, a folder, a hub id or openai:MODEL@BASE_URL; may be repeated.",
    ),
]
Suites = Annotated[
    list[str] | None,
    typer.Option(
        "--suite", help="A suite, its folder or YAML, or an lm-eval task (lm:NAME); may be repeated."
    ),
]


@contextmanager
def _errors() -> Iterator[None]:
    """Errors of suites and store become the command line's."""
    from arena.engines.base import EngineError
    from evaluators.suites.errors import SuiteError
    from results.store import StoreError

    try:
        yield
    except SuiteError as error:
        raise BadInput(str(error)) from error
    except (StoreError, EngineError) as error:
        raise WorkFailed(str(error)) from error


@app.command(name="list")
def list_suites(data: DataDir = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """All suites: the starter set and your own, with their items, languages, tags and licence."""
    from arena.cli._bench_tables import print_table, suite_row, suites_table
    from evaluators.suites.catalogue import all_suites

    with _errors():
        suites, broken = all_suites(data)
    rows = [suite_row(suite) for suite in suites]
    if as_json:
        print_json(rows)
    else:
        print_table(suites_table(rows))
    for name, reason in broken.items():
        console.print(f"[yellow]{escape(name)} cannot be run:[/] {escape(reason)}", highlight=False)


@app.command(name="add-suite")
def add_suite(
    file: Annotated[
        Path, typer.Argument(help=".csv, .tsv, .xlsx, .json, .jsonl, or a suite's folder or .yaml.")
    ],
    name: Annotated[str | None, typer.Option(help="The suite's name (default: the file's).")] = None,
    scorer: Annotated[str | None, typer.Option(help="See docs/suites.md (default: by the columns).")] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="FIELD=COLUMN, for example input=Frage; may be repeated.")
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="Jinja over the columns (default: the input as it is).")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of one that is there.")
    ] = False,
    data: DataDir = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Make a suite of a spreadsheet or a JSONL file of your own cases."""
    from arena.cli._bench_tables import suite_row
    from evaluators.suites.own import add_suite as add

    columns = {}
    for pair in column or []:
        field, equals, named = pair.partition("=")
        if not equals or not field or not named:
            raise BadInput(f"--column {pair}: write FIELD=COLUMN, for example input=Question")
        columns[field] = named
    with _errors():
        suite = add(file, data, name=name, scorer=scorer, columns=columns, prompt=prompt, replace=replace)
    if as_json:
        print_json(suite_row(suite))
        return
    languages = ", ".join(suite.languages) or "language unknown"
    output.print(
        f"{suite.name}: {len(suite.items)} items ({languages}), scorer {suite.definition.scorer}, in {suite.folder}",
        markup=False,
        highlight=False,
    )
    needs = {"rubric": " --judge MODEL", "code": " --allow-code"}.get(suite.definition.scorer, "")
    console.print(f"Run it: arena bench run --model MODEL --suite {suite.name}{needs}", highlight=False)


@app.command()
def run(
    file: Annotated[
        Path | None, typer.Argument(help="A run's YAML (models, suites, seeds), for nightly runs.")
    ] = None,
    model: Models = None,
    suite: Suites = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Items of each suite; languages in turn.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Answers to each item.")] = 1,
    seed: Annotated[int, typer.Option(help="For models that sample.")] = 0,
    language: Annotated[
        list[str] | None, typer.Option(help="Only items in this language; may be repeated.")
    ] = None,
    category: Annotated[
        list[str] | None, typer.Option(help="Only items of this category; may be repeated.")
    ] = None,
    judge: Annotated[
        str | None, typer.Option(help="The model that grades suites with the scorer rubric.")
    ] = None,
    name: Annotated[str, typer.Option(help="A name to find the run by.")] = "",
    few_shot: Annotated[
        int | None, typer.Option(min=0, help="Examples before each item of lm-eval tasks.")
    ] = None,
    chat_template: Annotated[bool, typer.Option(help="Whether lm-eval tasks are asked as chats.")] = True,
    datasets: MirroredData = None,
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16"],
        typer.Option(
            help="auto: float32 without a GPU, where answers do not depend on what they were batched with."
        ),
    ] = "auto",
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="Run programs that models write. Read docs/suites.md first.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Ask again instead of taking stored answers.")
    ] = False,
    config: ConfigFile = None,
    data: DataDir = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Run models through suites. Run the same command again after an interruption: it goes on where it was."""
    from arena.cli._bench_file import run_file
    from arena.cli._bench_run import Wanted, run_wanted
    from evaluators.suites.plan import RunOptions

    options = RunOptions(
        name=name, limit=limit, samples=samples, seed=seed, languages=tuple(language or ()),
        categories=tuple(category or ()), few_shot=few_shot, judge=judge, dtype=dtype, allow_code=allow_code,
        fresh=fresh,
    )  # fmt: skip
    with _errors():
        if file is not None:
            if model or suite:
                raise BadInput(f"models and suites stand in {file}: leave --model and --suite out")
            given = options.model_dump(exclude_defaults=True)
            if given:
                raise BadInput(f"{', '.join(given)}: options of a run from a file stand in {file} as well")
            summary, complete = run_file(file, data, config, chat_template=chat_template, datasets=datasets)
        else:
            if not model or not suite:
                raise BadInput(
                    "name at least one --model and one --suite (see `arena bench list`), or a FILE.yaml"
                )
            wanted = Wanted(list(model), list(suite), options, chat_template, datasets)
            summary, complete = run_wanted(wanted, data, config)
    _tell(summary, as_json)
    if not complete:
        raise WorkFailed(
            "some answers did not come (see above): run the same command again to ask for these alone"
        )


@app.command()
def show(
    which: Annotated[str, typer.Argument(help="A run's id (or its beginning), its name, or last.")] = "last",
    suite: Annotated[
        str | None, typer.Option(help="One suite in full: confusion, its worst samples.")
    ] = None,
    samples: Annotated[int, typer.Option(min=0, help="How many samples to show with --suite.")] = 5,
    data: DataDir = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """The results of a run with their standard errors."""
    from arena.cli._bench_tables import print_suite
    from evaluators.suites.reading import find_run, run_summary, suite_detail
    from results.store import open_store

    with _errors(), open_store(data) as store:
        found = find_run(store, which)
        summary = run_summary(store, found)
        if suite is None:
            _tell(summary, as_json)
            return
        detail = suite_detail(store, found, suite)
    if as_json:
        print_json(detail)
    else:
        print_suite(detail, samples)


@app.command(name="runs")
def list_runs(data: DataDir = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """All runs, newest last."""
    from arena.cli._bench_tables import print_table, run_row, runs_table
    from evaluators.suites.at_work import state_of
    from results.store import open_store
    from results.store.suites import suite_runs

    with _errors(), open_store(data) as store:
        rows = [run_row(each, state_of(store, each)) for each in suite_runs(store)]
    if as_json:
        print_json(rows)
    elif rows:
        print_table(runs_table(rows))
    else:
        console.print(
            "There is no run yet: arena bench run --model MODEL --suite SUITE (see arena bench list)",
            highlight=False,
        )


@app.command()
def compare(
    a: Annotated[
        str, typer.Argument(help="The baseline: a model (its newest answers), or RUN or RUN:MODEL.")
    ],
    b: Annotated[str, typer.Argument(help="What is compared with it.")],
    suite: Annotated[list[str] | None, typer.Option(help="Only this suite; may be repeated.")] = None,
    fail_if_worse: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Exit 3 where B is shown to be worse than A by more than this."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    data: DataDir = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Compare two models on the items that both have answered: better, worse, or inconclusive.

    With several suites p-values are corrected by Holm's method. Inconclusive is no failure: exit 0.
    """
    from arena.cli._bench_tables import comparison_rows, print_comparison
    from evaluators.suites.comparing import compare as compare_sides
    from evaluators.suites.reading import find_side
    from results.store import open_store

    with _errors(), open_store(data) as store:
        first, second = find_side(store, a), find_side(store, b)
        found = compare_sides(store, first, second, suite or (), bound=fail_if_worse or 0.0, seed=seed)
    if as_json:
        print_json(comparison_rows(found, gated=fail_if_worse is not None))
    else:
        print_comparison(found, gated=fail_if_worse is not None)
    if fail_if_worse is None:
        return
    if found.gate_says_no:
        console.print(
            f"[bold red]the gate says no:[/] {escape(second.label)} is worse by more than {fail_if_worse:g}",
            highlight=False,
        )
        raise typer.Exit(GATE_SAID_NO)
    console.print(
        f"the gate says yes: {escape(second.label)} is not shown to be worse by more than {fail_if_worse:g}",
        highlight=False,
    )


def _tell(summary: dict[str, Any], as_json: bool) -> None:
    from arena.cli._bench_tables import print_summary

    if as_json:
        print_json(summary)
    else:
        print_summary(summary)
