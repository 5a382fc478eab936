"""`arena judge`: LLM judges over battles, their biases, and how well they agree with people."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from arena.cli._common import (
    DEFAULT_DATA,
    AsJson,
    BadInput,
    DataDir,
    WorkFailed,
    console,
    output,
)
from arena.cli._judge_output import (
    print_agreement,
    print_calibration,
    print_data,
    print_summary,
    tell_jury,
    tell_plan,
    tell_report,
)

if TYPE_CHECKING:
    from evaluators.judge import JudgeOptions, JudgePlan, JudgeReport

app = typer.Typer(
    no_args_is_help=True, help="LLM judges: run them, see their biases, compare them with people."
)

Judge_ = Annotated[
    str | None,
    typer.Option("--judge", help="The judge's name.", show_default="the only one"),
]
Category = Annotated[str | None, typer.Option(help="Only of this category.")]
Language = Annotated[str | None, typer.Option(help="Only battles in this language, such as ko.")]


@app.command()
def run(
    battles: Annotated[
        str,
        typer.Option(
            help="Which battles: all, unjudged, voted, run=ID, id=ID, category=C, language=L, mode=M, model=NAME, "
            "limit=N; joined by commas.",
        ),
    ] = "unjudged",
    judge: Annotated[
        list[str] | None,
        typer.Option(
            "--judge",
            help="A name, name@3, an alias, a folder, a hub id or openai:MODEL@BASE_URL.",
            show_default=False,
        ),
    ] = None,
    jury: Annotated[
        list[str] | None,
        typer.Option(
            "--jury", help="Two judges or more (repeated, or in quotes), each by itself and then together."
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="Weights of the jury in its order, such as 2,1,1.", show_default="equal"),
    ] = None,
    mode: Annotated[
        Literal["pairwise", "reference", "single", "rubric"],
        typer.Option(
            help="pairwise: the better of two, in both orders; reference: the same against reference answers; single: "
            "grades from 1 to 10; rubric: grades by criterion."
        ),
    ] = "pairwise",
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="Judge prompts: our YAML, FastChat's judge_prompts.jsonl, or AlpacaEval's prompt file.",
            show_default="Palaestra's, English or Korean",
        ),
    ] = None,
    brief: Annotated[
        bool, typer.Option("--brief", help="Verdicts without reasons: far fewer tokens.")
    ] = False,
    forced: Annotated[
        bool,
        typer.Option(
            "--forced",
            help="Begin the reply for the judge, so that it must give a verdict (local models and completions "
            "endpoints; modes pairwise, reference, single).",
        ),
    ] = False,
    rubric: Annotated[Path | None, typer.Option(help="Criteria for --mode rubric (YAML).")] = None,
    references: Annotated[
        Path | None,
        typer.Option(help="A file of prompts with reference answers, by the text of the prompts."),
    ] = None,
    with_references: Annotated[
        bool,
        typer.Option("--with-references", help="Show reference answers to modes single and rubric as well."),
    ] = False,
    name: Annotated[
        str | None, typer.Option("--as", help="What the judge is called.", show_default="its model and mode")
    ] = None,
    max_answer: Annotated[int, typer.Option(min=1, help="Longest reply of the judge, in tokens.")] = 512,
    probe: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of battles shown with swapped labels too (at least 10; 0: none)."
        ),
    ] = 0.1,
    no_logprobs: Annotated[
        bool, typer.Option("--no-logprobs", help="Do not ask for the probabilities of the verdict.")
    ] = False,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Questions asked at once.")] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for one reply.")] = 300.0,
    max_cost: Annotated[
        float | None, typer.Option(min=0, help="Stop before this cost (of [prices]) is passed.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Stop before so many tokens are passed.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be asked and cost; ask nothing.")
    ] = False,
    config: Annotated[Path | None, typer.Option("--config", help="Settings file.")] = None,
    as_json: AsJson = False,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Have models judge battles. Judgments become comparisons with a leaderboard of their own.

    Replies are stored as they come: a run that was broken off goes on where it was, and asks nothing twice.
    """
    from arena.cli._models import resolve_options, settings_of
    from evaluators.judge import BadJudgePrompts, BadSelection, Judge, NoJury
    from results.store import BadWrite, StoreError, open_store

    words = [word for entry in [*(judge or []), *(jury or [])] for word in entry.split()]
    jurors = [word for entry in (jury or []) for word in entry.split()]
    if not words:
        raise BadInput("name a judge (--judge) or a jury (--jury)")
    if jury and len(jurors) < 2:
        raise BadInput("a jury needs two judges or more")
    if name is not None and len(words) > 1:
        raise BadInput("--as names one judge; there are several")
    settings = settings_of(data, config)
    try:
        options = _options(
            mode=mode, prompts=prompts, brief=brief, forced=forced, rubric=rubric, references=with_references,
            name=name, max_answer=max_answer,
            probe=probe, logprobs=not no_logprobs, concurrency=concurrency, timeout=timeout,
        )  # fmt: skip
        weighing = _weights(weights, jurors)
        with open_store(data) as store:
            contestants = resolve_options(store, settings, data, words)
            judges = [Judge(contestant, options) for contestant in contestants]
            asyncio.run(
                _run(store, settings, data, judges, len(jurors), weighing, battles, references, max_cost, max_tokens,
                     dry_run, as_json)
            )  # fmt: skip
    except (BadJudgePrompts, BadSelection, NoJury, BadWrite, ValueError) as error:
        raise BadInput(str(error)) from None
    except StoreError as error:
        raise WorkFailed(str(error)) from error
    except KeyboardInterrupt:
        console.print("Interrupted: every reply is kept. Run the same command again to go on.")
        raise


def _options(
    *, mode: Any, prompts: Path | None, brief: bool, forced: bool, rubric: Path | None, references: bool,
    name: str | None, max_answer: int, probe: float, logprobs: bool, concurrency: int | None, timeout: float,
) -> JudgeOptions:  # fmt: skip
    from evaluators.judge import JudgeOptions, load_prompts, load_rubric, own_prompts

    if rubric is not None and mode != "rubric":
        raise BadInput("--rubric needs --mode rubric")
    if (brief or forced) and prompts is not None:
        raise BadInput("--brief and --forced are for Palaestra's own prompts, without --prompts")
    if forced and mode == "rubric":
        raise BadInput("--forced begins one verdict; a rubric's reply has several: use another mode")
    chosen = load_prompts(prompts) if prompts is not None else own_prompts(explain=not brief, forced=forced)
    return JudgeOptions(
        mode=mode, prompts=chosen, rubric=load_rubric(rubric), references=references, max_answer=max_answer,
        logprobs=logprobs, probe=probe, timeout=timeout, concurrency=concurrency, name=name,
    )  # fmt: skip


def _weights(text: str | None, jurors: list[str]) -> list[float] | None:
    if text is None:
        return None
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        raise BadInput(f"--weights {text}: write numbers joined by commas, such as 2,1,1") from None
    if len(found) != len(jurors):
        raise BadInput(f"--weights {text}: the jury has {len(jurors)} judges")
    return found


async def _run(
    store: Any, settings: Any, data: Path, judges: list[Any], jurors: int, weights: list[float] | None, battles: str,
    references: Path | None, max_cost: float | None, max_tokens: int | None, dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    from arena.cli._engines import engine_pool
    from arena.engines.base import EngineError
    from arena.engines.prices import price_of
    from evaluators.battles import BadPrompts, read_prompts
    from evaluators.judge import Budget, decide, parse_selection, plan_run, run_judge

    selection = parse_selection(battles)
    try:
        given = read_prompts(references) if references is not None else []
    except BadPrompts as error:
        raise BadInput(str(error)) from None
    plans, budgets = [], []
    for judge in judges:
        price = price_of(judge.contestant.spec, settings.prices)
        budgets.append(Budget(max_cost, max_tokens, price))
        plans.append(
            await asyncio.to_thread(plan_run, store, judge, selection, references=given, price=price)
        )
        tell_plan(plans[-1])
    if dry_run:
        if as_json:
            print_data([{"judge": plan.judge.name, "estimate": plan.estimate} for plan in plans])
        return
    reports: list[JudgeReport] = []
    async with engine_pool(store, settings, data) as pool:
        for plan, budget in zip(plans, budgets, strict=True):
            try:
                reports.append(await _with_progress(store, pool.get, plan, budget, run_judge))
            except EngineError as error:
                raise WorkFailed(str(error)) from None
            tell_report(reports[-1])
    verdict = None
    if jurors:
        names = [judge.name for judge in judges[-jurors:]]
        weighing = None if weights is None else dict(zip(names, weights, strict=True))
        ids = [subject.battle_id for subject in plans[-1].subjects]
        verdict = await asyncio.to_thread(decide, store, names, ids, weights=weighing)
        tell_jury(verdict)
    if as_json:
        print_data({"runs": reports, "jury": verdict})
    stopped = [f"{report.judge}: {report.asked.stopped}" for report in reports if report.asked.stopped]
    failed = sum(report.asked.failed for report in reports)
    if stopped:
        raise WorkFailed("; ".join(stopped) + ". Run the same command again to go on.")
    if failed:
        raise WorkFailed(f"{failed} questions got no reply. Run the same command again to ask these alone.")


async def _with_progress(
    store: Any, engine_for: Any, plan: JudgePlan, budget: Any, run_judge: Any
) -> JudgeReport:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bars:
        task = bars.add_task(escape(plan.judge.name), total=len(plan.questions.asked))
        report: JudgeReport = await run_judge(
            store,
            engine_for,
            plan,
            budget=budget,
            progress=lambda done, total: bars.update(task, completed=done, total=total),
        )
        return report


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
        raise BadInput("no battle has been judged by both a judge and people: judge battles that have votes "
                       "(arena judge run --battles voted), or import both")  # fmt: skip


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
    from results.judge_agreement import calibrate_judge
    from results.store import StoreError, open_store

    try:
        with open_store(data) as store:
            one = find_judge(store, judge)
            told = calibrate_judge(store, one.name, method=method, category=category, language=language)
    except (UnknownJudge, ValueError) as error:
        raise BadInput(str(error)) from None
    except StoreError as error:
        raise WorkFailed(str(error)) from None
    if as_json:
        print_data({"judge": one.name, "calibration": told})
    else:
        print_calibration(one.name, told)
