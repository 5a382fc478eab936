"""The Benchmarks page: models through test suites, watched, stopped and taken up again; compared; samples side by side;
suites of one's own. Results are for everybody, samples (test items) and whatever starts something for the operator."""

from __future__ import annotations

import asyncio
from typing import Any

import gradio as gr

from arena.roster import UnknownModel
from arena.web._frame import Page, PageContext, static_text
from arena.web._i18n import i18n, locale_of, text
from arena.web._work import AtWork
from arena.web.operators import NotOperator, is_operator, require
from arena.web.pages.benchmarks_compare import lay_out_comparison
from arena.web.pages.benchmarks_runs import KIND, Wanted, run_bench, wanted_again, wanted_of
from arena.web.pages.benchmarks_suites import lay_out_suites, suite_choices, suite_languages
from arena.web.pages.benchmarks_views import problem_html, results_html, work_html
from evaluators.suites.at_work import state_of
from evaluators.suites.errors import SuiteError
from evaluators.suites.reading import find_run, run_summary
from results.store import StoreError
from results.store.suites import StoredSuiteRun, suite_runs

PATH = "benchmarks"
REFRESH_SECONDS = 1.0
RUNS_SHOWN = 200
DEFAULT_LIMIT = 20
ANY = ""

Updates = dict[Any, Any]
EVENT: dict[str, Any] = {
    "concurrency_limit": None,
    "show_progress": "hidden",
    "api_visibility": "private",
}


def build(context: PageContext) -> None:
    """Lay out the page and connect its events."""
    gr.HTML(f"<style>{static_text('work.css')}{static_text('benchmarks.css')}</style>", padding=False)
    gr.Markdown(f"# {i18n('benchmarks.title')}", elem_id="page-title")
    gr.Markdown(i18n("benchmarks.intro"))
    with gr.Tabs(elem_id="bench-tabs"):
        with gr.Tab(i18n("benchmarks.tab.runs"), id="runs"):
            only = gr.Markdown(i18n("work.operator_only"), visible=False, elem_id="operator-only")
            with gr.Column(visible=False, elem_id="new-run") as form:
                fields, start = _lay_out_form()
            work = gr.HTML(elem_id="work")
            with gr.Row():
                stop = gr.Button(
                    i18n("work.stop"), variant="stop", visible=False, elem_id="stop-run", min_width=120
                )
            which = gr.Dropdown([], label=i18n("benchmarks.run"), elem_id="which-run")
            again = gr.Button(
                i18n("benchmarks.resume"), visible=False, elem_id="resume-run", min_width=160, scale=0
            )
            results = gr.HTML(elem_id="results")
        with gr.Tab(i18n("benchmarks.tab.compare"), id="compare"):
            choices = lay_out_comparison(context)
        with gr.Tab(i18n("benchmarks.tab.suites"), id="suites"):
            suites = lay_out_suites(context, fields["suites"])
    timer = gr.Timer(REFRESH_SECONDS, active=False)

    def of_work(locale: str, operator: bool, error: str = "") -> Updates:
        going = context.works.current(KIND)
        running = going is not None and going.running
        return {
            work: work_html(locale, going, error),
            stop: gr.update(visible=running and operator, interactive=not (going and going.stopping)),
            timer: gr.Timer(active=running),
        }

    def of_runs(locale: str, operator: bool, wanted: str | None) -> Updates:
        runs = suite_runs(context.store)[::-1][:RUNS_SHOWN]
        found = next((run for run in runs if str(run.id) == wanted), runs[0] if runs else None)
        return {
            which: gr.update(
                choices=[
                    (_run_label(locale, run, state_of(context.store, run)), str(run.id)) for run in runs
                ],
                value=None if found is None else str(found.id),
            ),
            **of_results(locale, operator, None if found is None else str(found.id)),
            **choices.updates(locale),
        }

    def of_results(locale: str, operator: bool, wanted: str | None) -> Updates:
        if wanted is None:
            return {results: results_html(locale, None), again: gr.update(visible=False)}
        summary = run_summary(context.store, find_run(context.store, wanted))
        unfinished = summary["state"] not in ("done", "running")
        return {
            results: results_html(locale, summary),
            again: gr.update(visible=operator and unfinished and not _is_running(context)),
        }

    async def arrive(request: gr.Request) -> Updates:
        locale = locale_of(request)

        def read() -> Updates:
            operator = is_operator(request)
            wanted = request.query_params.get("run")
            names = [each.spec.name for each in context.roster.contestants()]
            languages = [
                (text(locale, "benchmarks.any"), ANY),
                *((each, each) for each in suite_languages(context)),
            ]
            return {
                **of_work(locale, operator),
                **of_runs(locale, operator, wanted),
                **suites.updates(locale, operator),
                **choices.arrive(locale, operator),
                form: gr.update(visible=operator),
                only: gr.update(visible=not operator),
                fields["models"]: gr.update(choices=names),
                fields["judge"]: gr.update(choices=names),
                fields["suites"]: gr.update(choices=suite_choices(context)),
                fields["language"]: gr.update(choices=languages, value=ANY),
            }

        return await _told(read, locale)

    async def tick(chosen: str | None, request: gr.Request) -> Updates:
        locale = locale_of(request)

        def read() -> Updates:
            operator = is_operator(request)
            found = of_work(locale, operator)
            going = context.works.current(KIND)
            if going is None or going.running:
                return found
            newest = str(going.result.run.id) if going.result is not None else None
            return {**found, **of_runs(locale, operator, newest)}

        return await _told(read, locale)

    async def choose(chosen: str | None, request: gr.Request) -> Updates:
        locale = locale_of(request)
        return await _told(lambda: of_results(locale, is_operator(request), chosen), locale)

    async def _told(read: Any, locale: str) -> Updates:
        """What was read in a thread, or why it could not be."""
        try:
            found: Updates = await asyncio.to_thread(read)
        except StoreError:
            return {work: problem_html(locale, text(locale, "error.store"))}
        except SuiteError as error:
            return {work: problem_html(locale, str(error))}
        return found

    async def begin(wanted: Any, request: gr.Request) -> Updates:
        """Start what `wanted` gives, for an operator; say why not otherwise."""
        locale, error = locale_of(request), ""
        try:
            await asyncio.to_thread(require, request)
            asked: Wanted = await asyncio.to_thread(wanted)
            context.works.start(KIND, asked.title, lambda going: run_bench(context, asked, going))
        except AtWork as going:
            error = text(locale, "work.busy", title=str(going))
        except (SuiteError, NotOperator, UnknownModel) as refused:
            error = str(refused)
        except StoreError:
            error = text(locale, "error.store")
        operator = await asyncio.to_thread(is_operator, request)
        return {**of_work(locale, operator, error), again: gr.update(visible=False)}

    async def start_new(
        models: list[str], names: list[str], limit: float | None, samples: float | None, seed: float | None,
        language: str, name: str, judge: str | None, fresh: bool, request: gr.Request,
    ) -> Updates:  # fmt: skip
        locale = locale_of(request)

        def wanted() -> Wanted:
            if not models or not names:
                raise SuiteError(text(locale, "benchmarks.choose"))
            return wanted_of(
                models, names, name=(name or "").strip(), limit=_whole(limit), samples=_whole(samples) or 1,
                seed=_whole(seed) or 0, languages=(language,) if language else (), judge=judge or None, fresh=fresh,
            )  # fmt: skip

        return await begin(wanted, request)

    async def start_again(chosen: str | None, request: gr.Request) -> Updates:
        def wanted() -> Wanted:
            return wanted_again(context, find_run(context.store, chosen or "last"))

        return await begin(wanted, request)

    async def stop_run(request: gr.Request) -> Updates:
        locale = locale_of(request)
        try:
            await asyncio.to_thread(require, request)
        except NotOperator as refused:
            return {work: problem_html(locale, str(refused))}
        context.works.stop(KIND)
        return await asyncio.to_thread(of_work, locale, True)

    status = [work, stop, timer, again]
    shown = [*status, which, results, *choices.components()]
    root = gr.context.Context.root_block
    assert root is not None
    root.load(
        arrive,
        None,
        [*shown, *choices.operators(), *suites.components(), form, only, *fields.values()],
        **EVENT,
    )
    timer.tick(tick, [which], shown, **EVENT)
    which.input(choose, [which], [results, again, work], **EVENT)
    start.click(start_new, list(fields.values()), status, **EVENT)
    again.click(start_again, [which], status, **EVENT)
    stop.click(stop_run, None, status, **EVENT)


def _lay_out_form() -> tuple[dict[str, Any], gr.Button]:
    found: dict[str, Any] = {}
    with gr.Row():
        found["models"] = gr.Dropdown(
            [], value=[], multiselect=True, allow_custom_value=True, label=i18n("benchmarks.models"),
            info=i18n("benchmarks.models.info"), elem_id="models", min_width=260,
        )  # fmt: skip
        found["suites"] = gr.Dropdown(
            [], value=[], multiselect=True, allow_custom_value=True, label=i18n("benchmarks.suites"),
            info=i18n("benchmarks.suites.info"), elem_id="suites", min_width=260,
        )  # fmt: skip
    with gr.Row():
        found["limit"] = gr.Number(
            DEFAULT_LIMIT, label=i18n("benchmarks.limit"), info=i18n("benchmarks.limit.info"), precision=0,
            minimum=0, elem_id="limit", min_width=150,
        )  # fmt: skip
        found["samples"] = gr.Number(
            1, label=i18n("benchmarks.samples"), info=i18n("benchmarks.samples.info"), precision=0, minimum=1,
            maximum=1000, elem_id="samples", min_width=150,
        )  # fmt: skip
        found["seed"] = gr.Number(
            0,
            label=i18n("benchmarks.seed"),
            info=i18n("benchmarks.seed.info"),
            precision=0,
            elem_id="seed",
            min_width=120,
        )
        found["language"] = gr.Dropdown(
            [ANY],
            value=ANY,
            label=i18n("benchmarks.language"),
            info=i18n("benchmarks.language.info"),
            elem_id="language",
            min_width=140,
            filterable=False,
        )
    with gr.Accordion(i18n("benchmarks.more"), open=False), gr.Row():
        found["name"] = gr.Textbox(
            label=i18n("benchmarks.name"), max_length=100, elem_id="run-name", min_width=180
        )
        found["judge"] = gr.Dropdown(
            [], label=i18n("benchmarks.judge"), info=i18n("benchmarks.judge.info"), allow_custom_value=True,
            elem_id="suite-judge", min_width=200,
        )  # fmt: skip
        found["fresh"] = gr.Checkbox(
            label=i18n("benchmarks.fresh"), info=i18n("benchmarks.fresh.info"), elem_id="fresh", min_width=200
        )
    start = gr.Button(i18n("benchmarks.start"), variant="primary", elem_id="start-run", min_width=160)
    return found, start


def _is_running(context: PageContext) -> bool:
    going = context.works.current(KIND)
    return going is not None and going.running


def _run_label(locale: str, run: StoredSuiteRun, state: str) -> str:
    models = ", ".join(str(each["model"]) for each in run.plan.get("models", []))
    names = ", ".join(str(each["suite"]) for each in run.plan.get("suites", []))
    told = text(locale, f"benchmarks.state.{state}")
    parts = (f"{run.created_at:%Y-%m-%d %H:%M}", run.name, models, names, told)
    return " · ".join(filter(None, parts))


def _whole(value: float | None) -> int | None:
    return int(value) if value else None


PAGE = Page(PATH, "benchmarks", build)
