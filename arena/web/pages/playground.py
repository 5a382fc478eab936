"""The Playground: one model, all its settings, and what it was really asked beside what it said."""

from __future__ import annotations

import asyncio
import html
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

import gradio as gr

from arena.engines.base import Chunk, EngineError, GenerationRequest
from arena.engines.local import LocalEngine
from arena.roster import Contestant
from arena.web import operators
from arena.web._frame import Page, PageContext, static_text
from arena.web._i18n import i18n, locale_of, text
from arena.web.pages.playground_answer import Answer, RunningAnswer, Turn, conversation_of
from arena.web.pages.playground_calls import as_curl, as_python, request_body
from arena.web.pages.playground_layout import Parts, lay_out_conversation, lay_out_settings
from arena.web.pages.playground_settings import (
    FIELDS,
    WINDOWS,
    OutOfRange,
    PlaygroundSettings,
    tells_probabilities,
)
from arena.web.pages.playground_views import figures, prompt_html, raw_html, tokens_html

PATH = "playground"

Updates = dict[Any, Any]


def build(context: PageContext) -> None:
    """Lay out the page and connect its events."""
    gr.HTML(f"<style>{static_text('playground.css')}</style>", padding=False)
    gr.Markdown(f"# {i18n('playground.title')}", elem_id="page-title")
    gr.Markdown(i18n("playground.intro"))
    controls, share, link = lay_out_settings()
    parts = lay_out_conversation(context.settings.battle.max_prompt_chars)
    page = _Playground(context, parts, controls, link)

    def on(trigger: Any, handler: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
        return gr.on(
            trigger, handler, inputs=list(inputs), outputs=list(outputs), concurrency_limit=None,
            show_progress="hidden", api_visibility="private",
        )  # fmt: skip

    root = gr.context.Context.root_block
    assert root is not None
    on(root.load, page.arrive, [], [parts.error, parts.send, *controls])
    asked = [parts.turns, parts.prompt, *controls]
    on([parts.send.click, parts.prompt.submit], page.send, asked, parts.all())
    on(parts.again.click, page.again, asked, parts.all())
    on(parts.stop.click, page.stop, [], [parts.stop])
    on(parts.clear.click, page.clear, [], parts.all())
    on(share.click, page.share, controls, [link, parts.error, parts.send])
    on(controls[0].input, page.model_chosen, [controls[0]], [controls[FIELDS.index("probabilities")]])


class _Playground:
    """The handlers. Running answers are kept by the browser's session, so that Stop finds them."""

    def __init__(self, context: PageContext, parts: Parts, controls: Sequence[Any], link: gr.HTML) -> None:
        self._context = context
        self._parts = parts
        self._controls = dict(zip(FIELDS, controls, strict=True))
        self._link = link
        self._running: dict[str, RunningAnswer] = {}

    async def arrive(self, request: gr.Request) -> Updates:
        """The page as its link says, with choices in the reader's language."""
        locale = locale_of(request)
        names = [contestant.spec.name for contestant in self._context.roster.contestants()]
        query = dict(request.query_params)
        settings = PlaygroundSettings.from_query(query)
        model = settings.model if settings.model in names else next(iter(names), "")
        values = {**settings.model_dump(), "model": model}
        if "probabilities" not in query:
            values["probabilities"] = self._tells_probabilities(model)
        updates: Updates = {self._controls[name]: gr.update(value=value) for name, value in values.items()}
        updates[self._controls["model"]] = gr.update(choices=names, value=model or None)
        updates[self._controls["window"]] = gr.update(
            choices=[(text(locale, f"playground.window.{kind}"), kind) for kind in WINDOWS],
            value=settings.window,
        )
        # Nothing else: a question may have been asked before this arrives.
        if not names:
            updates |= self._failed(text(locale, "playground.no_models"))
        return updates

    def model_chosen(self, model: str | None) -> Any:
        """Ask for probabilities where the model is likely to tell them."""
        return self._tells_probabilities(model or "")

    async def send(
        self, turns: list[dict[str, Any]], prompt: str, request: gr.Request, *values: Any
    ) -> AsyncIterator[Updates]:
        """Ask the next question."""
        locale = locale_of(request)
        if not prompt.strip():
            yield self._failed(text(locale, "error.empty_prompt"))
            return
        earlier = [Turn.model_validate(turn) for turn in turns]
        async for updates in self._answer(earlier, prompt, values, request):
            yield updates

    async def again(
        self, turns: list[dict[str, Any]], prompt: str, request: gr.Request, *values: Any
    ) -> AsyncIterator[Updates]:
        """Answer the last question anew."""
        earlier = [Turn.model_validate(turn) for turn in turns]
        if earlier:
            async for updates in self._answer(earlier[:-1], earlier[-1].user, values, request, unsent=prompt):
                yield updates

    async def stop(self, request: gr.Request) -> Any:
        """Stop the answer that is being made for this browser."""
        running = self._running.get(_session(request))
        if running is not None:
            running.stop()
        return gr.update(interactive=False)

    async def clear(self, request: gr.Request) -> Updates:
        """A new conversation."""
        return {
            **self._shown([], Answer(), locale_of(request)),
            self._parts.curl: "",
            self._parts.python: "",
        }

    async def share(self, request: gr.Request, *values: Any) -> Updates:
        """A link to these settings."""
        locale = locale_of(request)
        try:
            address = PlaygroundSettings.from_values(values).link(f"./{PATH}")
        except OutOfRange as error:
            return {self._link: "", **self._failed(_out_of_range(error, locale))}
        label = html.escape(text(locale, "playground.share.link"))
        return {self._link: f'<a id="share-link" class="nav" href="{html.escape(address)}">{label}</a>'}

    async def _answer(
        self, earlier: list[Turn], prompt: str, values: Sequence[Any], request: gr.Request, unsent: str = ""
    ) -> AsyncIterator[Updates]:
        locale, session = locale_of(request), _session(request)
        if session in self._running:
            yield self._failed(text(locale, "playground.busy"))
            return
        try:
            settings = PlaygroundSettings.from_values(values)
            contestant = self._context.roster.contestant(settings.model)
        except OutOfRange as error:
            yield self._failed(_out_of_range(error, locale))
            return
        except KeyError:
            yield self._failed(text(locale, "playground.no_model"))
            return
        turns = [*earlier, Turn(user=prompt, prefill=settings.prefill)]
        conversation = conversation_of(turns, settings.system)
        asked = settings.request(conversation, secrets.randbits(32))
        try:
            chunks = await self._open(contestant, asked, request)
        except (EngineError, operators.NotOperator) as error:
            yield self._failed(str(error))
            return
        running = self._running[session] = RunningAnswer(chunks)
        yield {
            **self._shown(turns, Answer(), locale),
            self._parts.prompt: gr.update(value=unsent),
            self._parts.status: text(locale, "playground.waiting"),
        }
        try:
            prompt_shown = False
            async with aclosing(running.follow()) as answers:
                async for answer in answers:
                    turns = [*turns[:-1], _turn(turns[-1], answer)]
                    updates = self._shown(turns, answer, locale)
                    if answer.prompted is not None and not prompt_shown:
                        updates[self._parts.seen] = prompt_html(answer.prompted, locale)
                        prompt_shown = True
                    yield updates
            yield {
                **self._shown(turns, answer, locale),
                **self._details(turns, answer, settings, request),
            }
        finally:
            self._running.pop(session, None)

    async def _open(
        self, contestant: Contestant, asked: GenerationRequest, request: gr.Request
    ) -> AsyncGenerator[Chunk, None]:
        pool = self._context.engines
        assert pool is not None
        engine = await asyncio.to_thread(pool.get, contestant.spec)
        host = self._context.settings.server.host
        loads = isinstance(engine, LocalEngine) and engine.state.phase != "ready"
        if loads and host not in ("127.0.0.1", "localhost", "::1"):
            await asyncio.to_thread(operators.require, request)
        return self._context.telemetry.observed(engine, contestant.version.label, "page").stream(asked)

    def _tells_probabilities(self, model: str) -> bool:
        try:
            return tells_probabilities(self._context.roster.contestant(model).spec)
        except KeyError:
            return False

    def _failed(self, message: str) -> Updates:
        return {
            self._parts.error: gr.update(value=_as_text(message), visible=True),
            self._parts.send: gr.update(interactive=True),
        }

    def _shown(self, turns: Sequence[Turn], answer: Answer, locale: str) -> Updates:
        """The conversation and the buttons as they are now."""
        parts = self._parts
        busy = bool(turns) and not answer.over
        updates: Updates = {
            parts.turns: [turn.model_dump() for turn in turns],
            parts.chat: _messages(turns, locale),
            parts.send: gr.update(visible=not busy),
            parts.stop: gr.update(visible=busy, interactive=True),
            parts.again: gr.update(interactive=bool(turns) and not busy),
            parts.clear: gr.update(interactive=not busy),
            parts.status: text(locale, _status(turns)),
            parts.error: gr.update(value="", visible=False),
            parts.figures: "" if not answer.over else figures(answer, locale),
        }
        if answer.error is not None:
            updates[parts.error] = gr.update(value=_as_text(str(answer.error)), visible=True)
        if answer.status == "waiting":
            updates[parts.seen] = prompt_html(None, locale)
            updates[parts.tokens] = tokens_html(answer, "", locale)
            updates[parts.raw] = raw_html(answer, locale)
        return updates

    def _details(
        self, turns: Sequence[Turn], answer: Answer, settings: PlaygroundSettings, request: gr.Request
    ) -> Updates:
        """What is shown beside the conversation once the answer is over."""
        parts, locale = self._parts, locale_of(request)
        known = answer.prompted.rendered_prompt if answer.prompted else None
        if answer.prompted is not None:  # the seed that was drawn, so that the call gives the same answer
            seed = answer.prompted.prompt_log.get("seed")
            settings = settings.model_copy(update={"seed": seed})
        path, body = request_body(settings, conversation_of(turns, settings.system), known)
        base = _base_url(request)
        return {
            parts.seen: prompt_html(answer.prompted, locale),
            parts.tokens: tokens_html(answer, settings.prefill, locale),
            parts.raw: raw_html(answer, locale),
            parts.curl: as_curl(base, path, body),
            parts.python: as_python(base, path, body),
        }


def _turn(turn: Turn, answer: Answer) -> Turn:
    return turn.model_copy(update={"text": answer.text, "thinking": answer.thinking, "status": answer.status})


def _messages(turns: Sequence[Turn], locale: str) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for turn in turns:
        messages.append({"role": "user", "content": turn.user})
        if turn.thinking:
            title = text(locale, "battle.thinking")
            messages.append({"role": "assistant", "content": turn.thinking, "metadata": {"title": title}})
        if turn.text or turn.prefill:
            messages.append({"role": "assistant", "content": turn.prefill + turn.text})
        note = _note(turn)
        if note:
            messages.append({"role": "assistant", "content": f"*{text(locale, note)}*"})
    return messages


def _status(turns: Sequence[Turn]) -> str:
    if not turns:
        return "playground.idle"
    last = turns[-1]
    # What was said before an answer broke off stands there.
    return "side.failed.broken" if last.status == "failed" and last.text else f"playground.{last.status}"


def _note(turn: Turn) -> str | None:
    match turn.status:
        case "failed":
            return "side.failed.broken" if turn.text else "playground.failed"
        case "stopped":
            return "side.stopped"
        case "waiting":
            return "side.waiting"
        case "finished" if not turn.text:
            return "side.empty"
    return None


def _out_of_range(error: OutOfRange, locale: str) -> str:
    name = text(locale, f"playground.{error.field}")
    return text(locale, "playground.out_of_range", name=name, low=f"{error.low:g}", high=f"{error.high:g}")


def _base_url(request: gr.Request) -> str:
    """Where this arena's API is, as the browser sees it."""
    page = request.headers.get("referer") or request.headers.get("origin") or "http://127.0.0.1:7860/"
    return page.partition("?")[0].rstrip("/").removesuffix(f"/{PATH}") + "/v1"


def _session(request: gr.Request) -> str:
    return str(request.session_hash)


def _as_text(words: str) -> str:
    """Words of others, which are not Markdown, for a place that is."""
    return re.sub(r"([\\`*_\[\]<>#|~])", r"\\\1", " ".join(words.split()))


PAGE = Page(PATH, "playground", build)
