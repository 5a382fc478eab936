"""The Models page: what takes part here, under which licence, made from what; the operator loads, adds and removes."""

from __future__ import annotations

import asyncio
import html
from typing import Any

import gradio as gr

from arena.config import ConfigError
from arena.web._frame import Page, PageContext, static_text
from arena.web._i18n import i18n, text
from arena.web.pages.models_form import lay_out_form
from arena.web.pages.models_operator import lay_out_actions
from arena.web.pages.models_views import PATH, Filters, address, cards_html, details_html
from arena.web.viewers import Viewer, viewer_of
from results.store import StoreError

CHOICES = {
    "commercial": ("", "allowed", "other"),
    "place": ("", "local", "remote"),
    "loaded": ("", "yes", "no"),
}

Updates = dict[Any, Any]


def build(context: PageContext) -> None:
    """Lay out the page and connect its events."""
    gr.HTML(f"<style>{static_text('models.css')}</style>", padding=False)
    gr.Markdown(f"# {i18n('models.title')}", elem_id="page-title")
    gr.Markdown(i18n("models.intro"))
    reference = gr.State("")
    with gr.Row(elem_id="model-filters") as filters_row:
        name = gr.Textbox(label=i18n("models.filter.name"), elem_id="filter-name", min_width=160)
        lists = {
            each: gr.Dropdown(
                list(values), value="", label=i18n(f"models.filter.{each}"), elem_id=f"filter-{each}",
                min_width=150, filterable=False,
            )
            for each, values in CHOICES.items()
        }  # fmt: skip
    status = gr.HTML(elem_id="status", padding=False)
    shown = gr.HTML(elem_id="models", padding=False)
    actions = lay_out_actions()
    rest = gr.HTML(elem_id="model-details", padding=False)
    form = lay_out_form()
    filters = [name, *lists.values()]

    def updates(viewer: Viewer, chosen: str, asked: Filters) -> Updates:
        """The page for what was chosen; read in a thread."""
        page: Updates = {
            filters_row: gr.update(visible=not chosen),
            form.panel: gr.update(visible=viewer.operator and not chosen and context.engines is not None),
            lists["loaded"]: gr.update(visible=viewer.sees_engines),
        }
        try:
            page |= actions.updates(context, viewer, chosen)
            page[shown], page[rest] = (
                details_html(context, viewer, chosen) if chosen else (cards_html(context, viewer, asked), "")
            )
        except ConfigError as error:
            page[shown] = _not_there(viewer, str(error))
            page[rest] = ""
        except StoreError:
            page[shown] = _alert(text(viewer.locale, "error.store"))
        return page

    def refreshed(request: gr.Request, chosen: str, *asked: str) -> Updates:
        return updates(viewer_of(context, request), chosen, Filters(*asked))

    async def arrive(request: gr.Request) -> Updates:
        """The page as its address says, with the choices in the reader's language."""
        query = request.query_params
        chosen = query.get("model", "")
        asked = {each: query[each] for each, known in CHOICES.items() if query.get(each) in known}
        viewer = await asyncio.to_thread(viewer_of, context, request)
        page = await asyncio.to_thread(updates, viewer, chosen, Filters(**asked))
        page[reference] = chosen
        for each, values in CHOICES.items():
            labels = [(text(viewer.locale, f"models.{each}.{value or 'all'}"), value) for value in values]
            given = gr.update(choices=labels, value=asked.get(each, ""))
            page[lists[each]] = {**page.get(lists[each], {}), **given}
        return page

    async def show(chosen: str, request: gr.Request, *asked: str) -> Updates:
        """The page again: a filter was set, or something was done."""
        return await asyncio.to_thread(refreshed, request, chosen, *asked)

    outputs = [reference, filters_row, *lists.values(), shown, rest, form.panel, *actions.outputs]
    options: dict[str, Any] = {
        "concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private",
    }  # fmt: skip
    root = gr.context.Context.root_block
    assert root is not None
    root.load(arrive, None, outputs, **options)
    gr.on(
        [name.change, *(each.input for each in lists.values())],
        show,
        [reference, *filters],
        outputs,
        trigger_mode="always_last",
        **options,
    )
    for event in (
        *actions.connect(context, reference, status, options),
        *form.connect(context, status, options),
    ):
        event.then(show, [reference, *filters], outputs, **options)


def _not_there(viewer: Viewer, message: str) -> str:
    """What is known of models is for operators; the way back for everybody."""
    told = message if viewer.operator else text(viewer.locale, "models.unknown")
    back = f'<a href="{address()}">← {html.escape(text(viewer.locale, "models.all"))}</a>'
    return f'<div class="models"><p>{back}</p>{_alert(told)}</div>'


def _alert(message: str) -> str:
    return f'<p class="empty" role="alert">{html.escape(message)}</p>'


PAGE = Page(PATH, "models", build)
