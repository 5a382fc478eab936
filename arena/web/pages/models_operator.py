"""What an operator does with one model: load and unload it, let another version take part, set aliases."""

from __future__ import annotations

import asyncio
import html
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from arena.config import ConfigError
from arena.engines.base import EngineError
from arena.roster import Contestant, current, enter, find
from arena.roster.overview import ModelOverview, details
from arena.web._frame import PageContext
from arena.web._i18n import i18n, locale_of, text
from arena.web.operators import NotOperator, require
from arena.web.pages.models_views import engine_of
from arena.web.viewers import Viewer
from results.leaderboard_facts import size_text
from results.store import BadWrite, StoreError
from results.store import roster as stored
from results.store.aliases import aliases, remove_alias, rollback_alias, set_alias

LOOK_EVERY = 0.5
DUEL_SHARE = 0.8
"""Of the battles, while a model is to meet its parent."""

Done = tuple[str, dict[str, str]]
"""The key of what to say, and its figures."""


def said(message: str, bad: bool = False, seconds: float | None = None) -> str:
    """A line of the status. Seconds are not read aloud: they change too often."""
    clock = "" if seconds is None else f' <span aria-hidden="true">{seconds:.0f} s</span>'
    return f'<p class="{"bad" if bad else "good"}">{html.escape(message)}{clock}</p>'


@dataclass(frozen=True)
class Actions:
    """The buttons for one model."""

    panel: gr.Column
    load: gr.Button
    unload: gr.Button
    pinned: gr.Checkbox
    enter: gr.Button
    rollback: gr.Button
    remove: gr.Button
    duel: gr.Button
    alias: gr.Textbox
    alias_set: gr.Button
    alias_back: gr.Button
    alias_remove: gr.Button

    @property
    def outputs(self) -> list[Any]:
        """The components that `updates` changes."""
        return [
            self.panel,
            self.load,
            self.unload,
            self.pinned,
            self.enter,
            self.rollback,
            self.remove,
            self.duel,
        ]

    def updates(self, context: PageContext, viewer: Viewer, reference: str) -> dict[Any, Any]:
        """What can be done with the model now. Raises UnknownModel and StoreError."""
        if not reference or not viewer.operator or context.engines is None:
            return {self.panel: gr.update(visible=False)}
        found = details(context.store, reference)
        model = found.overview
        local = model.kind == "local"
        of_file = model.on_roster and model.owner == "file"
        others = len(found.versions) > 1 and not of_file
        engine = engine_of(context, model.model)
        ready = engine is not None and engine.phase == "ready"
        able = not viewer.blind
        return {
            self.panel: gr.update(visible=model.kind != "imported"),
            self.load: gr.update(visible=local, interactive=able and not ready),
            self.unload: gr.update(visible=local, interactive=able and ready),
            self.pinned: gr.update(visible=local, value=engine is not None and engine.pinned),
            self.enter: gr.update(visible=not model.on_roster),
            self.rollback: gr.update(visible=others and any(each.on_roster for each in found.versions)),
            self.remove: gr.update(visible=model.on_roster and not of_file),
            self.duel: self._of_duel(context, viewer, model),
        }

    def _of_duel(self, context: PageContext, viewer: Viewer, model: ModelOverview) -> dict[str, Any]:
        """The button that lets a model meet its parent more often, where both take part; and that ends it."""
        parent = _parent(context, model)
        if context.matchmaking is None or parent is None or not model.on_roster:
            return gr.update(visible=False)
        going = context.matchmaking.boosted == (model.model, parent)
        label = text(viewer.locale, f"models.do.duel_{'end' if going else 'begin'}", parent=parent)
        return gr.update(visible=True, value=label)

    def connect(
        self, context: PageContext, reference: gr.State, status: gr.HTML, options: dict[str, Any]
    ) -> list[Any]:
        """Connect the buttons; gives their events, after which the page should be shown again."""

        async def load(chosen: str, request: gr.Request) -> AsyncIterator[str]:
            async for line in _load(context, chosen, request):
                yield line

        events = [
            self.load.click(load, [reference], [status], **options),
            self.unload.click(_doing(context, _unload), [reference, self.alias], [status], **options),
            self.pinned.input(
                _doing(context, _pin), [reference, self.alias, self.pinned], [status], **options
            ),
        ]
        for button, do in (
            (self.enter, _enter), (self.rollback, _roll_back), (self.remove, _remove),
            (self.duel, _duel),
            (self.alias_set, _set_alias), (self.alias_back, _take_alias_back),
            (self.alias_remove, _remove_alias),
        ):  # fmt: skip
            events.append(button.click(_doing(context, do), [reference, self.alias], [status], **options))
        return events


def lay_out_actions() -> Actions:
    """The buttons, not shown yet."""

    def button(name: str, **more: Any) -> gr.Button:
        return gr.Button(
            i18n(f"models.do.{name}"), size="sm", elem_id=f"do-{name}", min_width=110, scale=0, **more
        )

    with gr.Column(visible=False, elem_id="actions") as panel:
        with gr.Row(elem_classes="buttons"):
            load, unload = button("load", variant="primary"), button("unload")
            pinned = gr.Checkbox(
                label=i18n("models.do.pin"), elem_id="do-pin", container=False, min_width=150
            )
            entering, rollback, remove = button("enter"), button("rollback"), button("remove", variant="stop")
            duel = button("duel_begin")
        with gr.Row(elem_classes="buttons"):
            alias = gr.Textbox(
                label=i18n("models.do.alias"),
                placeholder="champion",
                elem_id="alias",
                max_length=120,
                min_width=200,
            )
            buttons = button("alias_set"), button("alias_back"), button("alias_remove")
    return Actions(panel, load, unload, pinned, entering, rollback, remove, duel, alias, *buttons)


async def _load(context: PageContext, reference: str, request: gr.Request) -> AsyncIterator[str]:
    """Load the model, telling where it stands."""
    locale, pool, began = locale_of(request), context.engines, time.monotonic()
    assert pool is not None
    try:
        await asyncio.to_thread(require, request)
        contestant = await asyncio.to_thread(find, context.store, reference)
        loading = asyncio.create_task(pool.load(contestant.spec))
        try:
            while not loading.done():
                engine = engine_of(context, contestant.spec.name)
                phase = text(locale, f"monitoring.phase.{engine.phase if engine else 'loading'}")
                detail = f" ({engine.detail})" if engine and engine.detail else ""
                yield said(f"{contestant.spec.name}: {phase}{detail}", seconds=time.monotonic() - began)
                await asyncio.wait([loading], timeout=LOOK_EVERY)
        finally:
            loading.cancel()
        loaded = await loading
        figures = f"{size_text(loaded.memory, 'B')}, {loaded.dtype}, {loaded.device}"
        took = f"{time.monotonic() - began:.1f}"
        # It can be loaded: whatever kept it out of battles is over.
        context.roster.set_usable(contestant.spec.name)
        yield said(
            text(locale, "models.done.load", model=contestant.spec.name, figures=figures, seconds=took)
        )
    except (NotOperator, ConfigError, EngineError) as error:
        yield said(str(error), bad=True)
    except StoreError:
        yield said(text(locale, "error.store"), bad=True)


def _doing(context: PageContext, do: Callable[..., Any]) -> Callable[..., Any]:
    """The handler of a button: only for operators; what goes wrong is said."""

    async def handle(reference: str, alias: str, request: gr.Request, *values: Any) -> str:
        locale = locale_of(request)
        try:
            await asyncio.to_thread(require, request)
            key, figures = await do(context, reference, alias.strip(), *values)
            # Battles are drawn from the roster as it is from now on.
            context.roster.update(await asyncio.to_thread(current, context.store))
        except (NotOperator, ConfigError, EngineError, BadWrite) as error:
            return said(str(error), bad=True)
        except StoreError:
            return said(text(locale, "error.store"), bad=True)
        return said(text(locale, f"models.done.{key}", **figures))

    return handle


async def _found(context: PageContext, reference: str) -> Contestant:
    return await asyncio.to_thread(find, context.store, reference)


async def _unload(context: PageContext, reference: str, alias: str) -> Done:
    assert context.engines is not None
    spec = (await _found(context, reference)).spec
    ended = await context.engines.unload(spec)
    return ("unload" if ended else "in_use"), {"model": spec.name}


async def _pin(context: PageContext, reference: str, alias: str, pinned: bool) -> Done:
    assert context.engines is not None
    spec = (await _found(context, reference)).spec
    await asyncio.to_thread(context.engines.pin, spec, pinned)
    return ("pin" if pinned else "unpin"), {"model": spec.name}


async def _enter(context: PageContext, reference: str, alias: str) -> Done:
    assert context.engines is not None
    spec = (await _found(context, reference)).spec
    entered = await asyncio.to_thread(enter, context.store, spec, context.engines.data_dir)
    return "enter", {"model": entered.version.label}


async def _roll_back(context: PageContext, reference: str, alias: str) -> Done:
    model = (await _found(context, reference)).spec.name
    entry = await asyncio.to_thread(stored.rollback, context.store, model)
    return "enter", {"model": entry.version.label}


async def _remove(context: PageContext, reference: str, alias: str) -> Done:
    model = (await _found(context, reference)).spec.name
    await asyncio.to_thread(stored.leave, context.store, model)
    return "remove", {"model": model}


async def _duel(context: PageContext, reference: str, alias: str) -> Done:
    model = (await asyncio.to_thread(details, context.store, reference)).overview
    parent, matchmaking = _parent(context, model), context.matchmaking
    if matchmaking is None or parent is None:
        raise ConfigError(f"the parent of {model.reference} does not take part here")
    pair = (model.model, parent)
    if matchmaking.boosted == pair:
        matchmaking.boost(None)
        return "duel_end", {"model": model.model, "parent": parent}
    matchmaking.boost(pair, DUEL_SHARE)
    return "duel_begin", {"model": model.model, "parent": parent, "share": f"{DUEL_SHARE:.0%}"}


def _parent(context: PageContext, model: ModelOverview) -> str | None:
    """The name of the model's parent, where that takes part as well."""
    name = (model.parent or "").partition("@")[0]
    taking_part = {contestant.spec.name for contestant in context.roster.contestants()}
    return name if name in taking_part and name != model.model else None


async def _set_alias(context: PageContext, reference: str, alias: str) -> Done:
    version = (await _found(context, reference)).version
    await asyncio.to_thread(set_alias, context.store, alias, version.version_key)
    return "alias_set", {"alias": alias, "model": version.label}


async def _take_alias_back(context: PageContext, reference: str, alias: str) -> Done:
    standing = await asyncio.to_thread(rollback_alias, context.store, alias)
    return "alias_set", {"alias": alias, "model": standing.version.label}


async def _remove_alias(context: PageContext, reference: str, alias: str) -> Done:
    known = {each.alias for each in await asyncio.to_thread(aliases, context.store)}
    if alias not in known:
        raise ConfigError(f"there is no alias '{alias}' (there are: {', '.join(sorted(known)) or 'none'})")
    await asyncio.to_thread(remove_alias, context.store, alias)
    return "alias_remove", {"alias": alias}
