"""The Leaderboard page: rated models with their intervals."""

from __future__ import annotations

import asyncio
from typing import Any

import gradio as gr
from jinja2 import Environment, PackageLoader, select_autoescape

from arena.web._frame import Page, PageContext
from arena.web._i18n import i18n, locale_of, text
from results.leaderboard import Leaderboard, leaderboard
from results.store import StoreError

METHODS = ("bt", "elo")
SOURCES = ("human", "judge", "all")

_templates = Environment(loader=PackageLoader("arena.web", "templates"), autoescape=select_autoescape())


def build(context: PageContext) -> None:
    """Lay out the page and connect its events."""
    gr.Markdown(f"# {i18n('leaderboard.title')}", elem_id="page-title")
    gr.Markdown(i18n("leaderboard.intro"))
    with gr.Row():
        method = gr.Radio(list(METHODS), value="bt", label=i18n("leaderboard.method"), elem_id="method")
        source = gr.Radio(list(SOURCES), value="human", label=i18n("leaderboard.source"), elem_id="source")
    board = gr.HTML(elem_id="board")
    refresh = gr.Button(i18n("leaderboard.refresh"), size="sm", elem_id="refresh")

    async def show(chosen_method: str, chosen_source: str, request: gr.Request) -> str:
        locale = locale_of(request)
        try:
            # Values come over the wire: anything else than the choices is refused by Gradio's own check.
            rated = await asyncio.to_thread(
                leaderboard,
                context.store,
                method=chosen_method,  # type: ignore[arg-type]
                source=chosen_source,  # type: ignore[arg-type]
            )
        except StoreError:
            return f'<p class="empty" role="alert">{text(locale, "error.store")}</p>'
        return board_html(rated, locale)

    def label_choices(request: gr.Request) -> tuple[Any, Any]:
        locale = locale_of(request)
        return (
            gr.update(choices=[(text(locale, f"leaderboard.method.{m}"), m) for m in METHODS]),
            gr.update(choices=[(text(locale, f"leaderboard.source.{s}"), s) for s in SOURCES]),
        )

    root = gr.context.Context.root_block
    assert root is not None
    root.load(label_choices, outputs=[method, source], show_progress="hidden", api_visibility="private")
    gr.on(
        [root.load, method.change, source.change, refresh.click],
        show,
        inputs=[method, source],
        outputs=board,
        concurrency_limit=None,
        show_progress="hidden",
        api_visibility="private",
    )


def board_html(board: Leaderboard, locale: str) -> str:
    """The leaderboard as a table with an interval bar for each rated model."""
    ends = [
        value
        for row in board.models
        if row.rating is not None
        for value in (row.rating, row.lower, row.upper)
        if value is not None
    ]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    excluded = [(_reason(reason, locale), count) for reason, count in board.excluded.items() if count]
    return _templates.get_template("leaderboard.html").render(
        board=board,
        low=low,
        width=max(high - low, 1e-9),
        excluded="; ".join(f"{reason} ({count})" for reason, count in excluded),
        why=lambda status: text(locale, f"unrated.{status}"),
        t=lambda key, **figures: text(locale, f"leaderboard.{key}", **figures),
    )


def _reason(reason: str, locale: str) -> str:
    return text(locale, f"excluded.{reason.split(':')[0]}")


PAGE = Page("leaderboard", "leaderboard", build)
