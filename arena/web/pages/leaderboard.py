"""The Leaderboard page: who is rated how, by whom, against whom and since when."""

from __future__ import annotations

import asyncio
import html
from typing import Any

import gradio as gr

from arena.web._frame import Page, PageContext, static_text
from arena.web._i18n import i18n, locale_of, text
from arena.web.pages.leaderboard_views import PATH, SINCE, VIEWS, Shown, view_html
from results.leaderboard import BoardQuery, Rated, known_values, rate
from results.ratings import Unidentified
from results.store import Store, StoreError

METHODS = ("bt", "elo")
SOURCES = ("human", "judge", "all")
TIES = ("half", "davidson", "rao_kupper")
ALL = ""
"""The choice that filters nothing."""

# The address follows the view, so that it can be shared; the page is not loaded again.
_ADDRESS = (
    "() => { const link = document.querySelector('#share-link'); "
    "if (link) history.replaceState(null, '', link.getAttribute('href')); }"
)


def build(context: PageContext) -> None:
    """Lay out the page and connect its events."""
    gr.HTML(f"<style>{static_text('leaderboard.css')}</style>", padding=False)
    gr.Markdown(f"# {i18n('leaderboard.title')}", elem_id="page-title")
    gr.Markdown(i18n("leaderboard.intro"))
    view = gr.Radio(list(VIEWS), value="board", show_label=False, elem_id="view", container=False)
    with gr.Row(elem_id="filters"):
        source = _choice("source", SOURCES)
        category = _choice("category", (ALL,))
        language = _choice("language", (ALL,))
        method = _choice("method", METHODS)
        ties = _choice("ties_model", TIES)
        style = gr.Checkbox(label=i18n("leaderboard.style"), elem_id="filter-style", min_width=150)
    with gr.Row(visible=False, elem_id="duel") as duel:
        first = gr.Dropdown([], label=i18n("leaderboard.first"), elem_id="first", min_width=160)
        second = gr.Dropdown([], label=i18n("leaderboard.second"), elem_id="second", min_width=160)
    since = _choice("since", SINCE, visible=False)
    board = gr.HTML(elem_id="board")
    with gr.Row(elem_id="below"):
        refresh = gr.Button(i18n("leaderboard.refresh"), size="sm", elem_id="refresh", min_width=120, scale=0)
        link = gr.HTML(padding=False)

    controls: list[Any] = [view, method, source, category, language, ties, style, first, second, since]
    names = ("view", "method", "source", "category", "language", "ties", "style", "a", "b", "since")

    def updates(found: dict[str, Any], locale: str) -> dict[Any, Any]:
        """The page for what was asked; read in a thread, as the store may take its time."""
        hidden = {part: gr.update(visible=False) for part in (duel, since)}
        try:
            chosen, rated = _read(context.store, found)
            shown = _shown(context, found, chosen, rated)
            page = view_html(context.store, rated, shown, locale)
        except Unidentified:
            return {board: _alert(text(locale, "leaderboard.unidentified")), **hidden}
        except StoreError:
            return {board: _alert(text(locale, "error.store")), **hidden}
        models = [row.model for row in rated.board.models]
        address = shown.link()
        return {
            board: page,
            duel: gr.update(visible=shown.view == "duel"),
            since: gr.update(visible=shown.view == "changes"),
            first: gr.update(choices=models, value=shown.first),
            second: gr.update(choices=models, value=shown.second),
            link: _share(address, text(locale, "leaderboard.share")),
            ties: gr.update(interactive=shown.query.method == "bt" and not shown.query.style_control),
            style: gr.update(interactive=shown.query.method == "bt"),
        }

    async def show(
        chosen_view: str, chosen_method: str, chosen_source: str, chosen_category: str, chosen_language: str,
        chosen_ties: str, chosen_style: bool, a: str | None, b: str | None, chosen_since: str,
        request: gr.Request,
    ) -> dict[Any, Any]:  # fmt: skip
        given = (
            chosen_view, chosen_method, chosen_source, chosen_category, chosen_language, chosen_ties,
            chosen_style, a, b, chosen_since,
        )  # fmt: skip
        return await asyncio.to_thread(updates, dict(zip(names, given, strict=True)), locale_of(request))

    async def arrive(request: gr.Request) -> dict[Any, Any]:
        """The page as its address says, with the choices in the reader's language."""
        locale = locale_of(request)
        try:
            known = await asyncio.to_thread(_known, context.store)
        except StoreError:
            return {board: _alert(text(locale, "error.store"))}
        choices: dict[str, tuple[str, ...]] = {
            "view": VIEWS, "method": METHODS, "source": SOURCES, "ties": TIES, "since": SINCE, **known,
        }  # fmt: skip
        found = {
            name: value
            for name, value in request.query_params.items()
            if name in ("a", "b", "style") or value in choices.get(name, ())
        }
        labelled = {
            name: gr.update(
                choices=[(_label(locale, name, value), value) for value in values],
                value=found.get(name, values[0]),
            )
            for name, values in choices.items()
        }
        by_name = dict(zip(names, controls, strict=True))
        page = {by_name[name]: update for name, update in labelled.items()}
        rest = await asyncio.to_thread(updates, found, locale)
        for part, update in rest.items():
            page[part] = {**page[part], **update} if part in page else update
        page[style] = {**page.get(style, gr.update()), "value": _is_on(found.get("style"))}
        return page

    outputs = [*controls, board, duel, link]
    options: dict[str, Any] = {
        "outputs": outputs, "concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private",
    }  # fmt: skip
    root = gr.context.Context.root_block
    assert root is not None
    root.load(arrive, **options)
    asked = [each.input for each in controls]
    changed = gr.on([*asked, refresh.click], show, inputs=controls, **options)
    changed.then(None, None, None, js=_ADDRESS, api_visibility="private")


def _choice(name: str, values: tuple[str, ...], *, visible: bool = True) -> gr.Dropdown:
    return gr.Dropdown(
        list(values), value=values[0], label=i18n(f"leaderboard.{name}"), elem_id=f"filter-{name}", min_width=140,
        filterable=False, visible=visible,
    )  # fmt: skip


def _known(store: Store) -> dict[str, tuple[str, ...]]:
    return {
        "category": (ALL, *known_values(store, "category")),
        "language": (ALL, *known_values(store, "language")),
    }


def _label(locale: str, name: str, value: str) -> str:
    """What a choice is called: categories and languages come from the votes and are called what they are."""
    if name in ("category", "language"):
        return value or text(locale, "leaderboard.any")
    return text(locale, f"leaderboard.{name}.{value}")


def _is_on(value: Any) -> bool:
    return value in (True, "1", "true")


def _read(store: Store, found: dict[str, Any]) -> tuple[str, Rated]:
    """The view that was asked for, and the ratings behind it. Options that exclude each other give way: Elo has
    neither tie models nor style control, and style control takes a tie as half a win."""
    method, styled = found.get("method") or METHODS[0], _is_on(found.get("style"))
    plain = method == "elo"
    query = BoardQuery(
        method=method,
        source=found.get("source") or SOURCES[0],
        category=found.get("category") or None,
        language=found.get("language") or None,
        ties="half" if plain or styled else found.get("ties") or TIES[0],
        style_control=styled and not plain,
        position_bias=not plain,
        settled=True,
    )
    return str(found.get("view") or VIEWS[0]), rate(store, query)


def _shown(context: PageContext, found: dict[str, Any], view: str, rated: Rated) -> Shown:
    """The two models of a head to head are the ones asked for, where they are there, else the first two."""
    models = [row.model for row in rated.board.models]
    first = found.get("a") if found.get("a") in models else next(iter(models), None)
    others = [model for model in models if model != first]
    second = found.get("b") if found.get("b") in others else next(iter(others), None)
    chosen = next((known for known in VIEWS if known == view), VIEWS[0])
    since = next((days for days in SINCE if days == found.get("since")), SINCE[0])
    return Shown(chosen, rated.query, first, second, _is_private(context), since)


def _is_private(context: PageContext) -> bool:
    """Whether only this machine's user can look. Prompts of others are shown to nobody else."""
    server = context.settings.server
    loopback = server.host in ("127.0.0.1", "localhost", "::1")
    return loopback and not (server.join_code or server.allowed_hosts or server.root_path)


def _alert(message: str) -> str:
    return f'<p class="empty" role="alert">{html.escape(message)}</p>'


def _share(address: str, label: str) -> str:
    return f'<a id="share-link" class="nav" href="{html.escape(address)}">{html.escape(label)}</a>'


PAGE = Page(PATH, "leaderboard", build)
