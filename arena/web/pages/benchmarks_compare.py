"""The Benchmarks page's comparison: two sides on the same items, and their samples beside each other."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, cast

import gradio as gr

from arena.web._frame import PageContext
from arena.web._i18n import i18n, locale_of, text
from arena.web.operators import NotOperator, require
from arena.web.pages.benchmarks_suites import known_suites
from arena.web.pages.benchmarks_views import (
    PAGE_SIZE,
    comparison_html,
    problem_html,
    samples_html,
)
from evaluators.contamination.apart import exposures
from evaluators.suites.comparing import compare
from evaluators.suites.definition import Suite
from evaluators.suites.errors import SuiteError
from evaluators.suites.reading import find_side
from evaluators.suites.side_by_side import SHOWS, Show, filtered, side_by_side
from results.store import StoreError
from results.store.suites import suite_results, suite_runs

RUNS_OFFERED = 20
NONE = ""

Updates = dict[Any, Any]


@dataclass(frozen=True)
class Choices:
    """The components of the comparison that follow what was run."""

    context: PageContext
    first: gr.Dropdown
    second: gr.Dropdown
    suite: gr.Dropdown
    show: gr.Dropdown
    samples_box: gr.Column

    def components(self) -> list[Any]:
        """Those that `updates` changes."""
        return [self.first, self.second, self.suite]

    def operators(self) -> list[Any]:
        """Those that `arrive` changes."""
        return [self.show, self.samples_box]

    def arrive(self, locale: str, operator: bool) -> Updates:
        """What is set once for a reader: samples are test items, which are not for everybody."""
        return {
            self.show: gr.update(
                choices=[(text(locale, f"benchmarks.show.{each}"), each) for each in SHOWS], value="all"
            ),
            self.samples_box: gr.update(visible=operator),
        }  # fmt: skip

    def updates(self, locale: str) -> Updates:
        """The sides and suites that there are: each model with its newest answers, then models in single runs."""
        rows = suite_results(self.context.store).to_pylist()
        models = list(dict.fromkeys(row["model"] for row in rows))
        names = {str(run.id): run for run in suite_runs(self.context.store)[-RUNS_OFFERED:]}
        in_runs = dict.fromkeys((row["run_id"], row["model"]) for row in rows if row["run_id"] in names)
        sides = [(model, model) for model in models] + [
            (
                f"{model} · {names[run].created_at:%Y-%m-%d %H:%M}{f' · {names[run].name}' if names[run].name else ''}",
                f"{run}:{model}",
            )
            for run, model in reversed(in_runs)
        ]
        suites = sorted({row["suite"] for row in rows})
        return {
            self.first: gr.update(choices=sides),
            self.second: gr.update(choices=[(text(locale, "benchmarks.nobody"), NONE), *sides]),
            self.suite: gr.update(choices=suites),
        }


def lay_out_comparison(context: PageContext) -> Choices:
    """Lay the comparison out and connect its events."""
    gr.Markdown(i18n("benchmarks.compare.intro"))
    with gr.Row():
        first = gr.Dropdown(
            [],
            label=i18n("benchmarks.first"),
            info=i18n("benchmarks.first.info"),
            elem_id="first",
            min_width=240,
        )
        second = gr.Dropdown(
            [],
            label=i18n("benchmarks.second"),
            info=i18n("benchmarks.second.info"),
            elem_id="second",
            min_width=240,
        )
    compared = gr.HTML(elem_id="comparison")
    with gr.Column(visible=False, elem_id="samples-box") as box:
        gr.Markdown(f"## {i18n('benchmarks.samples.title')}")
        with gr.Row():
            suite = gr.Dropdown(
                [], label=i18n("benchmarks.suite"), info=i18n("benchmarks.suite.info"), elem_id="samples-suite",
                min_width=200,
            )  # fmt: skip
            show = gr.Dropdown(
                list(SHOWS), value="all", label=i18n("benchmarks.show"), elem_id="samples-show", min_width=200,
                filterable=False,
            )  # fmt: skip
        samples = gr.HTML(elem_id="samples-shown")
        with gr.Row():
            back = gr.Button(i18n("benchmarks.back"), size="sm", elem_id="samples-back", interactive=False)
            onward = gr.Button(
                i18n("benchmarks.onward"), size="sm", elem_id="samples-next", interactive=False
            )
    at = gr.State(0)

    async def compare_them(a: str | None, b: str | None, request: gr.Request) -> str:
        locale = locale_of(request)
        if not a or not b:
            return ""

        def work() -> str:
            store = context.store
            return comparison_html(locale, compare(store, find_side(store, a), find_side(store, b)))

        try:
            return await asyncio.to_thread(work)
        except SuiteError as error:
            return problem_html(locale, str(error))
        except StoreError:
            return problem_html(locale, text(locale, "error.store"))

    async def show_samples(
        a: str | None, b: str | None, name: str | None, chosen: str, page: int, request: gr.Request
    ) -> Updates:
        locale = locale_of(request)

        def work() -> Updates:
            require(request)
            if not a or not name:
                return {
                    samples: "",
                    at: 0,
                    back: gr.update(interactive=False),
                    onward: gr.update(interactive=False),
                }
            side_a = find_side(context.store, a)
            side_b = find_side(context.store, b) if b else None
            pairs = filtered(side_by_side(context.store, name, side_a, side_b), cast(Show, chosen))
            sides = [side for side in (side_a, side_b) if side is not None]
            known = [exposures(context.store, side.version_key).get(name, {}) for side in sides]
            last = max(0, (len(pairs) - 1) // PAGE_SIZE)
            now = min(max(page, 0), last)
            return {
                samples: samples_html(
                    locale, pairs, now, _suite(context, name), [side.label for side in sides], known
                ),
                at: now,
                back: gr.update(interactive=now > 0),
                onward: gr.update(interactive=now < last),
            }

        try:
            return await asyncio.to_thread(work)
        except (SuiteError, NotOperator) as error:
            return {samples: problem_html(locale, str(error))}
        except StoreError:
            return {samples: problem_html(locale, text(locale, "error.store"))}

    async def first_page(
        a: str | None, b: str | None, name: str | None, chosen: str, request: gr.Request
    ) -> Updates:
        return await show_samples(a, b, name, chosen, 0, request)

    async def next_page(
        a: str | None, b: str | None, name: str | None, chosen: str, page: int, request: gr.Request
    ) -> Updates:
        return await show_samples(a, b, name, chosen, page + 1, request)

    async def page_before(
        a: str | None, b: str | None, name: str | None, chosen: str, page: int, request: gr.Request
    ) -> Updates:
        return await show_samples(a, b, name, chosen, page - 1, request)

    options: dict[str, Any] = {
        "concurrency_limit": None,
        "show_progress": "hidden",
        "api_visibility": "private",
    }
    asked, paged = [first, second, suite, show], [samples, at, back, onward]
    gr.on([first.input, second.input], compare_them, [first, second], compared, **options)
    gr.on([each.input for each in asked], first_page, asked, paged, **options)
    onward.click(next_page, [*asked, at], paged, **options)
    back.click(page_before, [*asked, at], paged, **options)
    return Choices(context, first, second, suite, show, box)


def _suite(context: PageContext, name: str) -> Suite | None:
    """The suite as it is now, to show its items; None where it is gone or was lm-eval's."""
    suites, _ = known_suites(context)
    return next((suite for suite in suites if suite.name == name), None)
