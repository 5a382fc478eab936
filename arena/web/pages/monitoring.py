"""The Monitoring page: what the engines did in the last minutes, and who holds the machine. For operators.

Battles stand here as a whole, as in /metrics: figures of single models that change with a battle would tell a voter
at the same machine which models answer. For the same reason the state of engines is not shown to operators while
their own battle is open, and everybody else sees only what no battle changes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from functools import partial
from typing import Any

import gradio as gr
import psutil
from jinja2 import Environment, PackageLoader, StrictUndefined

from arena.engines.observed import Quantiles
from arena.engines.pool import EngineStatus
from arena.web._frame import Page, PageContext, static_text
from arena.web._i18n import i18n, text
from arena.web.viewers import viewer_of
from results.leaderboard_facts import size_text
from results.store import StoreError, ledger

REFRESH_SECONDS = 5
MINUTES = (5, 15, 60)
DEFAULT_MINUTES = 15
_LONGEST = 400

_TEMPLATE = Environment(
    loader=PackageLoader("arena.web", "templates"), autoescape=True, undefined=StrictUndefined
).get_template("monitoring.html")

# Tables keep their place when they are shown anew: where they were scrolled to, and the focus.
_KEEP = """(...given) => {
  const tables = [...document.querySelectorAll("#monitoring .table")];
  window.monitoringPlace = [tables.map((each) => each.scrollLeft), tables.indexOf(document.activeElement)];
  return given;
}"""
_RESTORE = """() => requestAnimationFrame(() => {
  const [places, focused] = window.monitoringPlace || [[], -1];
  const tables = [...document.querySelectorAll("#monitoring .table")];
  tables.forEach((each, index) => { each.scrollLeft = places[index] || 0; });
  if (focused >= 0 && tables[focused]) tables[focused].focus({ preventScroll: true });
})"""


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
            show, [minutes], [shown], api_visibility="private", show_progress="hidden", concurrency_limit=None,
            js=_KEEP,
        ).then(None, None, None, js=_RESTORE, api_visibility="private")  # fmt: skip
    going.change(
        lambda on: gr.Timer(active=on), [going], [timer], api_visibility="private", show_progress="hidden"
    )


def monitoring_html(context: PageContext, minutes: int, request: gr.Request) -> str:
    """The page's tables; who is no operator sees only what no battle changes."""
    viewer = viewer_of(context, request)
    shown: dict[str, Any] = {}
    if viewer.operator:
        shown = {"rows": context.telemetry.summary(minutes), "failures": context.telemetry.failures(minutes)}
    if viewer.sees_engines and context.engines is not None:
        shown |= {"engines": _by_name(context.engines.status()), "budget": context.engines.memory()}
    try:
        if viewer.sees_engines:
            shown["holdings"] = ledger.holdings(context.store)
    except StoreError:
        shown["store_down"] = True
    machine = psutil.virtual_memory()
    return _TEMPLATE.render(
        {
            "rows": [], "failures": [], "engines": [], "budget": None, "holdings": None, "store_down": False,
        } | shown,
        t=partial(text, viewer.locale),
        viewer=viewer,
        capacity=ledger.capacity(),
        machine=machine,
        load=psutil.getloadavg()[0],
        models=len(context.roster.contestants()),
        battles=context.battles.open_battles(),
        time=datetime.now(UTC).strftime("%H:%M:%S"),
        minutes=minutes,
        seconds=partial(_pair, places=2),
        speed=partial(_pair, places=1),
        memory=lambda size: size_text(size, "B") if size else "–",
        short=_short,
    )  # fmt: skip


def _short(message: str | None) -> str:
    told = " ".join((message or "").split())
    return told if len(told) <= _LONGEST else told[: _LONGEST - 1] + "…"


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
