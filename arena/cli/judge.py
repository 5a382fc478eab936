"""`arena judge`: LLM judges over battles, their biases, and how well they agree with people."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from arena.cli._common import DEFAULT_DATA, AsJson, BadInput, DataDir, WorkFailed, console, output
from arena.cli._judge_output import print_agreement, print_calibration, print_data, print_summary
from arena.cli.judge_run import run

app = typer.Typer(
    no_args_is_help=True, help="LLM judges: run them, see their biases, compare them with people."
)
app.command()(run)

Judge_ = Annotated[
    str | None,
    typer.Option("--judge", help="The judge's name.", show_default="the only one"),
]
Category = Annotated[str | None, typer.Option(help="Only of this category.")]
Language = Annotated[str | None, typer.Option(help="Only battles in this language, such as ko.")]


@app.command(name="list")
def list_(as_json: AsJson = False, data: DataDir = DEFAULT_DATA) -> None:
    """List the judges that have judged, ours and imported ones."""
    from evaluators.judge import known_judges
    from results.store import StoreError, open_store

    try:
        with open_store(data) as store:
            judges = known_judges(store)
    except StoreError as error:
        raise WorkFailed(str(error)) from None
    if as_json:
        print_data(judges)
        return
    if not judges:
        console.print("No model has judged yet: `arena judge run` makes judgments.")
        return
    table = Table("judge", "mode", "judgments", "grades", "usable", box=None, pad_edge=False)
    for judge in judges:
        usable = {True: "yes", False: f"no ({judge.reason})", None: "-"}[judge.usable]
        table.add_row(
            escape(judge.name), judge.mode or "imported", f"{judge.judgments:,}", f"{judge.grades:,}", usable
        )
    output.print(table)


@app.command()
def show(judge: Judge_ = None, as_json: AsJson = False, data: DataDir = DEFAULT_DATA) -> None:
    """Show what is known of a judge: verdicts and failures, order, label, length and family, win rates, mean grades,
    cost."""
    from evaluators.judge import UnknownJudge, summarise_judge
    from results.store import StoreError, open_store

    try:
        with open_store(data) as store:
            told = summarise_judge(store, judge)
    except UnknownJudge as error:
        raise BadInput(str(error)) from None
    except StoreError as error:
        raise WorkFailed(str(error)) from None
    if as_json:
        print_data(told)
    else:
        print_summary(told)


@app.command()
def agreement(
    judge: Annotated[
        list[str] | None, typer.Option("--judge", help="Judges by name; repeated.", show_default="all")
    ] = None,
    category: Category = None,
    language: Language = None,
    margin: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="How much less than a person a judge may agree and still replace one."
        ),
    ] = 0.05,
    as_json: AsJson = False,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """How well judges agree with people on battles that both have judged, with people's own agreement as the ceiling.

    Agreement, Cohen's kappa and Krippendorff's alpha with 95% intervals that resample items, by category.
    """
    from evaluators.judge import UnknownJudge, find_judge, known_judges
    from results.judge_agreement import judge_agreement
    from results.store import StoreError, open_store

    try:
        with open_store(data) as store, console.status("Comparing verdicts"):
            chosen = [find_judge(store, each) for each in judge] if judge else known_judges(store)
            found = [
                each
                for one in chosen
                for each in judge_agreement(
                    store, one.name, category=category, language=language, margin=margin
                )
            ]
    except UnknownJudge as error:
        raise BadInput(str(error)) from None
    except StoreError as error:
        raise WorkFailed(str(error)) from None
    if as_json:
        print_data(found)
    elif found:
        print_agreement(found)
        for each in chosen:
            if each.usable is False:
                console.print(
                    f"[red]{escape(each.name)} is unusable ({each.reason})[/]: its numbers say little."
                )
    if not found:
        only = "".join(
            f" of {what} {value}"
            for what, value in (("category", category), ("language", language))
            if value is not None
        )
        raise BadInput(
            f"no battle{only} has been judged by both a judge and people: judge battles that have votes "
            "(arena judge run --battles voted), or import both"
        )


@app.command()
def calibrate(
    judge: Judge_ = None,
    method: Annotated[
        Literal["logistic", "monotone"], typer.Option(help="The map from the judge's scores to people's.")
    ] = "logistic",
    category: Category = None,
    language: Language = None,
    as_json: AsJson = False,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """What a judge's probabilities (or verdicts) are worth as probabilities that people agree, on held-out items."""
    from evaluators.judge import UnknownJudge, find_judge
    from results.calibration import TooFewItems
    from results.judge_agreement import calibrate_judge
    from results.store import StoreError, open_store

    try:
        with open_store(data) as store:
            one = find_judge(store, judge)
            told = calibrate_judge(store, one.name, method=method, category=category, language=language)
    except (UnknownJudge, TooFewItems) as error:
        raise BadInput(str(error)) from None
    except StoreError as error:
        raise WorkFailed(str(error)) from None
    if as_json:
        print_data({"judge": one.name, "calibration": told})
    else:
        print_calibration(one.name, told)
