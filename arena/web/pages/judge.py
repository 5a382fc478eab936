"""The Judge page: models that judge battles, what that costs, how well they agree with people, and what moves them
beside the answers. Results are for everybody; running a judge, and its cost, for the operator."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import gradio as gr

from arena.config import ConfigError
from arena.web._frame import Page, PageContext, static_text
from arena.web._i18n import i18n, locale_of, text
from arena.web._work import AtWork
from arena.web.operators import NotOperator, is_operator, require
from arena.web.pages.benchmarks_views import problem_html, work_html
from arena.web.pages.judge_runs import KIND, NoJudging, Wanted, battle_values, plans_of, run_judges
from arena.web.pages.judge_views import (
    agreement_html,
    calibration_html,
    estimate_html,
    judges_html,
    report_html,
    summary_html,
)
from evaluators.judge import (
    BadSelection,
    NoPrice,
    Selection,
    UnknownJudge,
    find_judge,
    known_judges,
    summarise_judge,
)
from evaluators.judge.prompts import PromptMode
from results.calibration import Calibration, TooFewItems
from results.judge_agreement import calibrate_judge, judge_agreement
from results.store import BadWrite, Store, StoreError

PATH = "judge"
REFRESH_SECONDS = 1.0
MODES = ("pairwise", "reference", "single", "rubric")
WHICH = ("unjudged", "voted", "all")
ANY = ""
LONGEST_ANSWER = 512

Updates = dict[Any, Any]
EVENT: dict[str, Any] = {
    "concurrency_limit": None,
    "show_progress": "hidden",
    "api_visibility": "private",
}
_EXPECTED = (NotOperator, NoJudging, NoPrice, BadSelection, UnknownJudge, ConfigError, BadWrite)


def build(context: PageContext) -> None:
    """Lay out the page and connect its events."""
    gr.HTML(f"<style>{static_text('work.css')}{static_text('benchmarks.css')}</style>", padding=False)
    gr.Markdown(f"# {i18n('judge.title')}", elem_id="page-title")
    gr.Markdown(i18n("judge.intro"))
    with gr.Tabs(elem_id="judge-tabs"):
        with gr.Tab(i18n("judge.tab.results"), id="results"):
            listed = gr.HTML(elem_id="judges")
            which = gr.Dropdown([], label=i18n("judge.judge"), elem_id="which-judge")
            summary = gr.HTML(elem_id="judge-summary")
            agreement = gr.HTML(elem_id="judge-agreement")
            calibration = gr.HTML(elem_id="judge-calibration")
        with gr.Tab(i18n("judge.tab.run"), id="run"):
            only = gr.Markdown(i18n("work.operator_only"), visible=False, elem_id="operator-only")
            with gr.Column(visible=False, elem_id="new-judging") as form:
                fields = _lay_out_form()
                with gr.Row():
                    ask = gr.Button(i18n("judge.estimate"), elem_id="estimate", min_width=160)
                    start = gr.Button(
                        i18n("judge.start"), variant="primary", interactive=False, elem_id="start-judging",
                        min_width=160,
                    )  # fmt: skip
                estimate = gr.HTML(elem_id="estimated")
            work = gr.HTML(elem_id="work")
            stop = gr.Button(
                i18n("work.stop"), variant="stop", visible=False, elem_id="stop-judging", min_width=120
            )
            report = gr.HTML(elem_id="report")
    timer = gr.Timer(REFRESH_SECONDS, active=False)

    def of_work(locale: str, operator: bool, error: str = "") -> Updates:
        going = context.works.current(KIND)
        running = going is not None and going.running
        return {
            work: work_html(locale, going, error),
            stop: gr.update(visible=running and operator, interactive=not (going and going.stopping)),
            timer: gr.Timer(active=running),
            report: report_html(
                locale, going.result if going and operator and going.state == "done" else None
            ),
        }

    def of_judges(locale: str, operator: bool, wanted: str | None) -> Updates:
        judges = known_judges(context.store)
        known = [judge.name for judge in judges]
        chosen = wanted if wanted in known else next(iter(known), None)
        return {
            listed: judges_html(locale, judges, chosen),
            which: gr.update(choices=known, value=chosen, visible=bool(known)),
            **of_judge(locale, operator, chosen),
        }

    def of_judge(locale: str, operator: bool, chosen: str | None) -> Updates:
        if chosen is None:
            return {summary: "", agreement: "", calibration: ""}
        store = context.store
        judge = find_judge(store, chosen)
        return {
            summary: summary_html(locale, summarise_judge(store, judge.name), with_cost=operator),
            agreement: agreement_html(locale, judge_agreement(store, judge.name)),
            calibration: calibration_html(locale, _calibration(store, judge.name)),
        }

    async def arrive(request: gr.Request) -> Updates:
        locale = locale_of(request)

        def read() -> Updates:
            operator = is_operator(request)
            models = [each.spec.name for each in context.roster.contestants()]
            every = (text(locale, "judge.any"), ANY)
            return {
                **of_work(locale, operator),
                **of_judges(locale, operator, request.query_params.get("judge")),
                form: gr.update(visible=operator),
                only: gr.update(visible=not operator),
                fields["judges"]: gr.update(choices=models),
                fields["mode"]: gr.update(choices=[(text(locale, f"judge.mode.{each}"), each) for each in MODES]),
                fields["which"]: gr.update(choices=[(text(locale, f"judge.which.{each}"), each) for each in WHICH]),
                fields["category"]: gr.update(choices=[every, *battle_values(context.store, "category")], value=ANY),
                fields["language"]: gr.update(choices=[every, *battle_values(context.store, "language")], value=ANY),
            }  # fmt: skip

        return await _told(read, locale, work)

    async def tick(chosen: str | None, request: gr.Request) -> Updates:
        locale = locale_of(request)

        def read() -> Updates:
            operator = is_operator(request)
            found = of_work(locale, operator)
            going = context.works.current(KIND)
            if going is None or going.running:
                return found
            judged = going.result.reports[-1].judge if going.result is not None else chosen
            return {**found, **of_judges(locale, operator, judged)}

        return await _told(read, locale, work)

    async def choose(chosen: str | None, request: gr.Request) -> Updates:
        locale = locale_of(request)
        return await _told(lambda: of_judge(locale, is_operator(request), chosen), locale, summary)

    async def say_cost(values: dict[Any, Any], request: gr.Request) -> Updates:
        locale = locale_of(request)

        def read() -> Updates:
            require(request)
            wanted = _wanted({name: values[field] for name, field in fields.items()}, locale)
            plans = plans_of(context, wanted)
            # A jury may decide what its jurors judged before.
            useful = any(plan.questions.asked for plan in plans) or (wanted.jury and len(plans) > 1)
            return {estimate: estimate_html(locale, plans), start: gr.update(interactive=useful)}

        found = await _told(read, locale, estimate)
        return {start: gr.update(interactive=False), **found}

    async def begin(values: dict[Any, Any], request: gr.Request) -> Updates:
        locale, error = locale_of(request), ""
        try:
            await asyncio.to_thread(require, request)
            wanted = _wanted({name: values[field] for name, field in fields.items()}, locale)
            context.works.start(KIND, wanted.title, lambda going: run_judges(context, wanted, going))
        except AtWork as going:
            error = text(locale, "work.busy", title=str(going))
        except _EXPECTED as refused:
            error = str(refused)
        operator = await asyncio.to_thread(is_operator, request)
        return {**of_work(locale, operator, error), start: gr.update(interactive=False)}

    async def stop_judging(request: gr.Request) -> Updates:
        locale = locale_of(request)
        try:
            await asyncio.to_thread(require, request)
        except NotOperator as refused:
            return {work: problem_html(locale, str(refused))}
        context.works.stop(KIND)
        return await asyncio.to_thread(of_work, locale, True)

    status = [work, stop, timer, report]
    results = [listed, which, summary, agreement, calibration]
    root = gr.context.Context.root_block
    assert root is not None
    root.load(arrive, None, [*status, *results, form, only, *fields.values()], **EVENT)
    timer.tick(tick, [which], [*status, *results], **EVENT)
    which.input(choose, [which], [summary, agreement, calibration], **EVENT)
    ask.click(say_cost, set(fields.values()), [estimate, start], **EVENT)
    start.click(begin, set(fields.values()), [*status, start], **EVENT)
    stop.click(stop_judging, None, status, **EVENT)
    # An estimate is of exactly what is chosen: another choice asks for another one.
    changed = [each.input for each in fields.values()]
    gr.on(changed, lambda: ("", gr.update(interactive=False)), None, [estimate, start], **EVENT)


def _lay_out_form() -> dict[str, Any]:
    """The fields by name."""
    found: dict[str, Any] = {}
    with gr.Row():
        found["judges"] = gr.Dropdown(
            [], value=[], multiselect=True, allow_custom_value=True, label=i18n("judge.judges"),
            info=i18n("judge.judges.info"), elem_id="judge-models", min_width=260,
        )  # fmt: skip
        found["mode"] = gr.Dropdown(
            list(MODES),
            value=MODES[0],
            label=i18n("judge.mode"),
            elem_id="judge-mode",
            filterable=False,
            min_width=220,
        )
    with gr.Row():
        found["which"] = gr.Dropdown(
            list(WHICH), value=WHICH[0], label=i18n("judge.which"), elem_id="judge-which", filterable=False,
            min_width=200,
        )  # fmt: skip
        found["category"] = gr.Dropdown(
            [ANY], value=ANY, label=i18n("judge.category"), elem_id="judge-category", min_width=150
        )
        found["language"] = gr.Dropdown(
            [ANY], value=ANY, label=i18n("judge.language"), elem_id="judge-language", min_width=150
        )
        found["limit"] = gr.Number(
            None, label=i18n("judge.limit"), precision=0, minimum=0, elem_id="judge-limit", min_width=150
        )
    with gr.Row():
        found["brief"] = gr.Checkbox(
            label=i18n("judge.brief"), info=i18n("judge.brief.info"), elem_id="judge-brief", min_width=200
        )
        found["jury"] = gr.Checkbox(
            label=i18n("judge.jury"), info=i18n("judge.jury.info"), elem_id="judge-jury", min_width=200
        )
    with gr.Accordion(i18n("judge.more"), open=False), gr.Row():
        found["max_answer"] = gr.Number(
            LONGEST_ANSWER,
            label=i18n("judge.max_answer"),
            precision=0,
            minimum=1,
            elem_id="judge-answer",
            min_width=150,
        )
        found["max_cost"] = gr.Number(
            None, label=i18n("judge.max_cost"), minimum=0, elem_id="judge-cost", min_width=150
        )
        found["max_tokens"] = gr.Number(
            None,
            label=i18n("judge.max_tokens"),
            precision=0,
            minimum=0,
            elem_id="judge-tokens",
            min_width=150,
        )
    return found


def _wanted(given: dict[str, Any], locale: str) -> Wanted:
    judges = tuple(dict.fromkeys(given["judges"] or ()))
    if not judges:
        raise NoJudging(text(locale, "judge.choose"))
    selection = Selection(
        unjudged=given["which"] == "unjudged",
        voted=given["which"] == "voted",
        category=given["category"] or None,
        language=given["language"] or None,
        limit=int(given["limit"]) if given["limit"] else None,
    )
    return Wanted(
        judges=judges,
        selection=selection,
        mode=cast(PromptMode, given["mode"]),
        brief=bool(given["brief"]),
        max_answer=int(given["max_answer"] or LONGEST_ANSWER),
        max_cost=float(given["max_cost"]) if given["max_cost"] else None,
        max_tokens=int(given["max_tokens"]) if given["max_tokens"] else None,
        jury=bool(given["jury"]),
    )


def _calibration(store: Store, judge: str) -> Calibration | None:
    try:
        return calibrate_judge(store, judge)
    except TooFewItems:
        return None


async def _told(read: Callable[[], Updates], locale: str, place: Any) -> Updates:
    """What was read in a thread, or in `place` why it could not be."""
    try:
        return await asyncio.to_thread(read)
    except NoPrice:
        return {place: problem_html(locale, text(locale, "judge.no_price"))}
    except _EXPECTED as error:
        return {place: problem_html(locale, str(error))}
    except StoreError:
        return {place: problem_html(locale, text(locale, "error.store"))}


PAGE = Page(PATH, "judge", build)
