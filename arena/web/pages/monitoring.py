"""The Monitoring page: what the engines did in the last minutes. For operators: it tells models apart.

Battles stand here as a whole, as in /metrics: figures of single models that change with a battle would tell a voter
at the same machine which models answer.
"""

from __future__ import annotations

import asyncio
import html
from collections import Counter
from datetime import UTC, datetime
from functools import partial
from importlib.resources import files

import gradio as gr
import jinja2

from arena.engines.observed import Quantiles
from arena.engines.pool import EngineStatus
from arena.web._frame import Page, PageContext, static_text
from arena.web._i18n import i18n, locale_of, text
from arena.web.operators import NotOperator, require

REFRESH_SECONDS = 5
MINUTES = (5, 15, 60)
DEFAULT_MINUTES = 15

_TEMPLATE = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
    files("arena.web").joinpath("templates/monitoring.html").read_text(encoding="utf-8")
)


def build(context: PageContext) -> None:
    """Lay out the page and connect its events."""
    gr.HTML(f"<style>{static_text('monitoring.css')}</style>", padding=False)
    gr.Markdown(f"# {i18n('monitoring.title')}", elem_id="page-title")
    gr.Markdown(i18n("monitoring.intro"))
    with gr.Row():
        minutes = gr.Radio(
            [(str(each), each) for each in MINUTES],
            value=DEFAULT_MINUTES,
            label=i18n("monitoring.minutes"),
            elem_id="minutes",
        )
        # A page that changes by itself can be held still.
        going = gr.Checkbox(True, label=i18n("monitoring.refreshing"), elem_id="refreshing")
    shown = gr.HTML(elem_id="monitoring")
    timer = gr.Timer(REFRESH_SECONDS)

    async def show(last: int, request: gr.Request) -> str:
        return await asyncio.to_thread(monitoring_html, context, last, request)

    page_load = gr.context.Context.root_block
    assert page_load is not None
    for event in (page_load.load, timer.tick, minutes.change):
        event(
            show, [minutes], [shown], api_visibility="private", show_progress="hidden", concurrency_limit=None
        )
    going.change(
        lambda on: gr.Timer(active=on), [going], [timer], api_visibility="private", show_progress="hidden"
    )


def monitoring_html(context: PageContext, minutes: int, request: gr.Request) -> str:
    """The page's tables, or why they are not shown."""
    locale = locale_of(request)
    try:
        require(request)
    except NotOperator as error:
        return f'<p role="alert">{html.escape(str(error))}</p>'
    engines = context.engines.status() if context.engines is not None else []
    return _TEMPLATE.render(
        t=partial(text, locale),
        rows=context.telemetry.summary(minutes),
        engines=_by_name(engines),
        time=datetime.now(UTC).strftime("%H:%M:%S"),
        minutes=minutes,
        seconds=partial(_pair, places=2),
        speed=partial(_pair, places=1),
        memory=lambda size: "–" if not size else f"{size / 2**20:,.0f} MiB",
    )


def _by_name(engines: list[EngineStatus]) -> list[EngineStatus]:
    """One line a model: of several versions' engines the one that is loaded."""
    count = Counter(each.name for each in engines)
    chosen = {}
    for each in engines:
        if count[each.name] == 1 or each.phase == "ready" or each.name not in chosen:
            chosen[each.name] = each
    return sorted(chosen.values(), key=lambda each: each.name)


def _pair(values: Quantiles, places: int) -> str:
    if values.p50 is None or values.p95 is None:
        return "–"
    return f"{values.p50:,.{places}f} / {values.p95:,.{places}f}"


# Gradio keeps /monitoring for itself.
PAGE = Page("monitor", "monitoring", build)
