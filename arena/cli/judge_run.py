"""`arena judge run`: judges over a selection of battles, one after the other, and a jury of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from arena.cli._common import (
    DEFAULT_DATA,
    AsJson,
    BadInput,
    ConfigFile,
    DataDir,
    WorkFailed,
    console,
)
from arena.cli._judge_output import print_data, tell_jury, tell_nothing, tell_plan, tell_report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arena.config import Settings
    from arena.engines.pool import EnginePool
    from evaluators.battles import Prompt
    from evaluators.judge import Budget, Judge, JudgeOptions, JudgePlan, JudgeReport, JuryReport, Selection
    from results.store import Store


@dataclass(frozen=True)
class _Wanted:
    """What is to be judged. `weights` are the jurors', the last of the judges, in their order; empty: no jury."""

    selection: Selection
    references: list[Prompt]
    weights: list[float]
    max_cost: float | None
    max_tokens: int | None


@dataclass
class _Done:
    """What came of it; `no_jury` says why there is no verdict of the jury that was asked for."""

    reports: list[JudgeReport] = field(default_factory=list)
    jury: JuryReport | None = None
    no_jury: str = ""


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
        float | None, typer.Option(min=0, help="Stop before this cost is passed (prices: arena.toml).")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Stop before so many tokens are passed.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be asked and cost; ask nothing.")
    ] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Have models judge battles. Judgments become comparisons with a leaderboard of their own.

    Replies are stored as they come: a run that was broken off goes on where it was, and asks nothing twice.
    """
    from arena.cli._models import resolve_options, settings_of
    from evaluators.battles import BadPrompts, read_prompts
    from evaluators.judge import BadJudgePrompts, BadSelection, Judge, NoPrice, parse_selection
    from results.store import BadWrite, StoreError, open_store

    words = [word for entry in [*(judge or []), *(jury or [])] for word in entry.split()]
    jurors = [word for entry in (jury or []) for word in entry.split()]
    if not words:
        raise BadInput("name a judge (--judge) or a jury (--jury)")
    if jury and len(set(jurors)) < 2:
        raise BadInput("a jury needs two different judges or more")
    if name is not None and len(words) > 1:
        raise BadInput("--as names one judge; there are several")
    settings = settings_of(data, config)
    try:
        options = _options(
            mode=mode, prompts=prompts, brief=brief, forced=forced, rubric=rubric, references=with_references,
            name=name, max_answer=max_answer,
            probe=probe, logprobs=not no_logprobs, concurrency=concurrency, timeout=timeout,
        )  # fmt: skip
        wanted = _Wanted(
            selection=parse_selection(battles),
            references=read_prompts(references) if references is not None else [],
            weights=_weights(weights, jurors),
            max_cost=max_cost,
            max_tokens=max_tokens,
        )
        with open_store(data) as store:
            contestants = resolve_options(store, settings, data, words)
            plans = _plans(store, settings, [Judge(each, options) for each in contestants], wanted)
            if dry_run:
                if as_json:
                    print_data([{"judge": plan.judge.name, "estimate": plan.estimate} for plan, _ in plans])
                return
            done = asyncio.run(_judge(store, settings, data, plans, wanted))
    except BadWrite as error:
        raise BadInput(f"{error} (--as NAME)") from None
    except (BadJudgePrompts, BadPrompts, BadSelection, NoPrice) as error:
        raise BadInput(str(error)) from None
    except StoreError as error:
        raise WorkFailed(str(error)) from error
    except KeyboardInterrupt:
        console.print("Interrupted: every reply is kept. Run the same command again to go on.")
        raise
    if as_json:
        print_data({"runs": done.reports, "jury": done.jury})
    _fail_where_unfinished(done)


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


def _weights(text: str | None, jurors: Sequence[str]) -> list[float]:
    if text is None:
        return [1.0] * len(jurors)
    if not jurors:
        raise BadInput("--weights are those of a jury: name its judges with --jury")
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        raise BadInput(f"--weights {text}: write numbers joined by commas, such as 2,1,1") from None
    if len(found) != len(jurors):
        raise BadInput(f"--weights {text}: the jury has {len(jurors)} judges")
    if min(found, default=1.0) <= 0:
        raise BadInput(f"--weights {text}: a weight must be more than 0")
    return found


def _plans(
    store: Store, settings: Settings, judges: Sequence[Judge], wanted: _Wanted
) -> list[tuple[JudgePlan, Budget]]:
    """Each judge's plan, told, with what it may spend."""
    from arena.engines.prices import price_of
    from evaluators.judge import Budget, plan_run

    found = []
    for judge in judges:
        price = price_of(judge.contestant.spec, settings.prices)
        budget = Budget(wanted.max_cost, wanted.max_tokens, price)
        with console.status("Reading the battles"):
            plan = plan_run(store, judge, wanted.selection, references=wanted.references, price=price)
        tell_plan(plan)
        found.append((plan, budget))
    return found


async def _judge(
    store: Store, settings: Settings, data: Path, plans: Sequence[tuple[JudgePlan, Budget]], wanted: _Wanted
) -> _Done:
    from arena.cli._engines import engine_pool
    from arena.engines.base import EngineError
    from evaluators.judge import NoJury, decide, jury_battles

    done = _Done()
    async with engine_pool(store, settings, data) as pool:
        for plan, budget in plans:
            if not plan.questions.asked:
                tell_nothing(plan)
                continue
            try:
                done.reports.append(await _with_progress(store, pool, plan, budget))
            except EngineError as error:
                raise WorkFailed(str(error)) from None
            tell_report(done.reports[-1])
    if wanted.weights:
        jurors = [plan for plan, _ in plans][-len(wanted.weights) :]
        weights = dict(zip((plan.judge.name for plan in jurors), wanted.weights, strict=True))
        battles = await asyncio.to_thread(jury_battles, store, wanted.selection, jurors)
        try:
            done.jury = await asyncio.to_thread(decide, store, list(weights), battles, weights=weights)
        except NoJury as error:
            done.no_jury = str(error)
        else:
            tell_jury(done.jury)
    return done


async def _with_progress(store: Store, pool: EnginePool, plan: JudgePlan, budget: Budget) -> JudgeReport:
    from evaluators.judge import run_judge

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bars:
        task = bars.add_task(escape(plan.judge.name), total=len(plan.questions.asked))
        return await run_judge(
            store,
            pool.get,
            plan,
            budget=budget,
            progress=lambda done, total: bars.update(task, completed=done, total=total),
        )


def _fail_where_unfinished(done: _Done) -> None:
    stopped = [f"{report.judge}: {report.asked.stopped}" for report in done.reports if report.asked.stopped]
    failed = sum(report.asked.failed for report in done.reports)
    if stopped:
        raise WorkFailed("; ".join(stopped) + ". Run the same command again to go on.")
    if failed:
        raise WorkFailed(f"{failed} questions got no reply. Run the same command again to ask these alone.")
    if done.no_jury:
        raise WorkFailed(done.no_jury)
