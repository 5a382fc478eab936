"""The Battle page: one prompt, two anonymous models side by side, a blind vote, then the names."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, fields
from typing import Any
from uuid import UUID

import gradio as gr

from arena.battle import BattleError, BattleView
from arena.web._frame import Page, PageContext
from arena.web._i18n import LOCALES, i18n, locale_of, text
from arena.web.pages.battle_views import side_label, side_messages, status_line
from results.records import Verdict
from results.store import StoreError

log = logging.getLogger(__name__)

SUGGESTIONS = 4
VERDICTS: tuple[Verdict, ...] = ("a", "b", "tie", "both_bad")

Updates = dict[Any, Any]
Work = Callable[[UUID, UUID | None], Awaitable[BattleView | None]]


@dataclass(frozen=True)
class _Parts:
    """The components that show a battle."""

    battle: gr.State
    empty: gr.Column
    chats: gr.Row
    votes: gr.Row
    status: gr.Markdown
    chat_a: gr.Chatbot
    chat_b: gr.Chatbot
    vote_a: gr.Button
    vote_b: gr.Button
    vote_tie: gr.Button
    vote_both_bad: gr.Button
    undo: gr.Button
    reveal: gr.Button
    prompt: gr.Textbox
    send: gr.Button
    stop: gr.Button
    new: gr.Button
    prepared: gr.Button
    next_prepared: gr.Button

    def all(self) -> list[Any]:
        return [getattr(self, part.name) for part in fields(self)]


def build(context: PageContext) -> None:
    """Lay out the page and connect its events."""
    parts, suggestions = _layout(context)
    page = _BattlePage(context, parts)
    everything = parts.all()

    def on(trigger: Any, handler: Callable[..., Any], inputs: list[Any] | None = None) -> None:
        # No limit on how many run at once: a handler waits for tokens, it does not work; and the progress
        # overlay would hide the very answers that are being watched.
        gr.on(
            trigger,
            handler,
            inputs=inputs or [parts.battle],
            outputs=everything,
            concurrency_limit=None,
            show_progress="hidden",
            api_visibility="private",
        )

    assert gr.context.Context.root_block is not None
    on(gr.context.Context.root_block.load, page.load)
    on([parts.send.click, parts.prompt.submit], page.send, [parts.battle, parts.prompt])
    on(parts.stop.click, page.stop)
    on(parts.new.click, page.new)
    on(parts.undo.click, page.undo)
    on(parts.reveal.click, page.reveal)
    on([parts.prepared.click, parts.next_prepared.click], page.prepared)
    for verdict in VERDICTS:
        on(getattr(parts, f"vote_{verdict}").click, page.vote(verdict))
    for number, button in enumerate(suggestions, start=1):
        # In the browser, so that it is there at once also while the models are being loaded.
        button.click(
            None, None, parts.prompt, js=_in_locale(f"suggestion.{number}"), api_visibility="private"
        )


def _layout(context: PageContext) -> tuple[_Parts, list[gr.Button]]:
    battle = gr.State(None, time_to_live=24 * 3600)
    gr.Markdown(f"# {i18n('battle.title')}", elem_id="page-title")
    with gr.Column(visible=True) as empty:
        gr.Markdown(i18n("battle.intro"))
        if len(context.roster.contestants()) < 2:
            gr.Markdown(i18n("battle.one_model"), elem_id="demo")
        elif any("embedded" in contestant.spec.tags for contestant in context.roster.contestants()):
            gr.Markdown(i18n("battle.demo"), elem_id="demo")
        gr.Markdown(i18n("battle.suggestions"), elem_id="suggestions-title")
        with gr.Row():
            suggestions = [
                gr.Button(i18n(f"suggestion.{n}"), size="sm", min_width=240, elem_classes=["suggestion"])
                for n in range(1, SUGGESTIONS + 1)
            ]
        prepared = gr.Button(visible=False, elem_id="prepared")
    with gr.Row(equal_height=True, visible=False) as chats_row:
        chats = [
            gr.Chatbot(
                label=i18n(f"battle.side_{side}"),
                placeholder=str(i18n(f"battle.empty_{side}")),
                height="46vh",
                min_height=260,
                min_width=320,
                elem_id=f"chat-{side}",
                buttons=["copy"],
                feedback_options=None,
                allow_tags=False,
                render_markdown=True,
            )
            for side in ("a", "b")
        ]
    status = gr.Markdown(i18n("status.idle"), elem_id="status")
    with gr.Row(elem_id="votes", visible=False) as votes_row:
        votes = [
            gr.Button(
                i18n(f"battle.vote_{verdict}"), interactive=False, min_width=120, elem_id=f"vote-{verdict}"
            )
            for verdict in VERDICTS
        ]
    with gr.Row():
        undo = gr.Button(i18n("battle.undo"), visible=False, elem_id="undo")
        reveal = gr.Button(i18n("battle.reveal"), visible=False, elem_id="reveal")
        next_prepared = gr.Button(i18n("battle.next_prepared"), visible=False, elem_id="next-prepared")
        new = gr.Button(i18n("battle.new"), visible=False, variant="primary", elem_id="new")
    with gr.Row(equal_height=True):
        prompt = gr.Textbox(
            label=i18n("battle.prompt"),
            placeholder=i18n("battle.placeholder"),
            lines=1,  # with more, Gradio makes Enter a new line
            max_lines=12,
            max_length=context.settings.battle.max_prompt_chars,
            scale=8,
            min_width=260,
            elem_id="prompt",
            autofocus=True,
        )
        with gr.Column(scale=1, min_width=110):
            send = gr.Button(i18n("battle.send"), variant="primary", elem_id="send")
            stop = gr.Button(i18n("battle.stop"), visible=False, variant="stop", elem_id="stop")
    gr.Markdown(i18n("battle.consent"), elem_id="consent")
    parts = _Parts(
        battle=battle,
        empty=empty,
        chats=chats_row,
        votes=votes_row,
        status=status,
        chat_a=chats[0],
        chat_b=chats[1],
        vote_a=votes[0],
        vote_b=votes[1],
        vote_tie=votes[2],
        vote_both_bad=votes[3],
        undo=undo,
        reveal=reveal,
        prompt=prompt,
        send=send,
        stop=stop,
        new=new,
        prepared=prepared,
        next_prepared=next_prepared,
    )
    return parts, suggestions


class _BattlePage:
    """The handlers. Each shows the battle from the store of views until it is stable."""

    def __init__(self, context: PageContext, parts: _Parts) -> None:
        self._battles = context.battles
        self._cookies = context.cookies
        self._parts = parts

    async def load(self, battle: UUID | None, request: gr.Request) -> AsyncIterator[Updates]:
        voter = self._voter(request)
        view = self._battles.current(voter) if voter else None
        unsent = None
        if voter is not None and view is None:
            view, unsent = await self._battles.restore(voter)
        if view is None:
            # A page begins without a battle. On a slow machine its voter may have sent a prompt by the time this comes,
            # and nothing of that may be undone.
            yield await self._to_vote_on(request)
        else:
            async for updates in self._show(view, request):
                yield updates
        if unsent is not None:
            locale = locale_of(request)
            yield {self._parts.prompt: unsent, self._parts.status: text(locale, "status.restored")}

    async def send(self, battle: UUID | None, prompt: str, request: gr.Request) -> AsyncIterator[Updates]:
        async def work(voter: UUID, current: UUID | None) -> BattleView:
            if current is None:
                return await self._battles.start(voter, prompt)
            return await self._battles.go_on(voter, current, prompt)

        yield {
            self._parts.send: gr.update(interactive=False),
            self._parts.status: text(locale_of(request), "status.starting"),
        }
        # The prompt leaves its box once it is in the battle, not before: a refused one is not lost.
        cleared = {self._parts.prompt: gr.update(value="", interactive=False)}
        async for updates in self._do(work, battle, request, cleared):
            yield updates

    async def stop(self, battle: UUID | None, request: gr.Request) -> AsyncIterator[Updates]:
        async def work(voter: UUID, current: UUID | None) -> BattleView | None:
            if current is not None:
                await self._battles.stop(voter, current)
            return self._battles.current(voter)

        async for updates in self._do(work, battle, request):
            yield updates

    def vote(self, verdict: Verdict) -> Callable[..., AsyncIterator[Updates]]:
        """The handler of one vote button."""

        async def work(voter: UUID, current: UUID | None) -> BattleView:
            if current is None:
                raise BattleError("unknown_battle")
            return await self._battles.vote(voter, current, verdict)

        # A function of its own: Gradio cannot count the parameters of a `functools.partial`.
        async def vote(battle: UUID | None, request: gr.Request) -> AsyncIterator[Updates]:
            async for updates in self._do(work, battle, request):
                yield updates

        return vote

    async def undo(self, battle: UUID | None, request: gr.Request) -> AsyncIterator[Updates]:
        async def work(voter: UUID, current: UUID | None) -> BattleView:
            if current is None:
                raise BattleError("unknown_battle")
            return await self._battles.undo(voter, current)

        async for updates in self._do(work, battle, request):
            yield updates

    async def reveal(self, battle: UUID | None, request: gr.Request) -> AsyncIterator[Updates]:
        async def work(voter: UUID, current: UUID | None) -> BattleView:
            if current is None:
                raise BattleError("unknown_battle")
            return await self._battles.reveal(voter, current)

        async for updates in self._do(work, battle, request):
            yield updates

    async def prepared(self, battle: UUID | None, request: gr.Request) -> AsyncIterator[Updates]:
        async def work(voter: UUID, current: UUID | None) -> BattleView:
            return await self._battles.start_prepared(voter)

        async for updates in self._do(work, battle, request):
            yield updates

    async def new(self, battle: UUID | None, request: gr.Request) -> Updates:
        voter = self._voter(request)
        if voter is not None:
            self._battles.leave(voter)
        return await self._idle(request)

    async def _do(
        self, work: Work, battle: UUID | None, request: gr.Request, done: Updates | None = None
    ) -> AsyncIterator[Updates]:
        """Do the work and show the battle; `done` joins the first updates after the work succeeded."""
        locale = locale_of(request)
        voter = self._voter(request)
        try:
            if voter is None:
                raise BattleError("no_voter")
            view = await work(voter, battle)
        except (BattleError, StoreError) as error:
            if isinstance(error, BattleError):
                tell, kind = (gr.Info, "done") if error.code == "none_prepared" else (gr.Warning, "warning")
                tell(
                    text(locale, f"error.{error.code}", **error.figures), title=text(locale, f"toast.{kind}")
                )
            else:
                log.exception("battle %s", battle)
                gr.Warning(text(locale, "error.store"), title=text(locale, "toast.warning"))
            view = self._battles.view(voter, battle) if voter and battle else None
            yield await self._idle(request) if view is None else self._render(view, locale)
            return
        async for updates in self._show(view, request):
            yield {**updates, **(done or {})}
            done = None

    async def _show(self, view: BattleView | None, request: gr.Request) -> AsyncIterator[Updates]:
        locale = locale_of(request)
        voter = self._voter(request)
        if view is None or voter is None:
            yield await self._idle(request)
            return
        shown: Updates = {}
        async for current in self._battles.follow(voter, view.id):
            updates = self._render(current, locale)
            yield {part: update for part, update in updates.items() if shown.get(part) != update}
            shown = updates

    async def _idle(self, request: gr.Request) -> Updates:
        """The page without a battle, with what there is to vote on."""
        return {**self._render(None, locale_of(request)), **await self._to_vote_on(request)}

    async def _to_vote_on(self, request: gr.Request) -> Updates:
        """How many prepared battles wait for this voter."""
        voter = self._voter(request)
        left = 0 if voter is None else await self._battles.prepared_left(voter)
        label = text(locale_of(request), "battle.prepared", left=f"{left:,}")
        return {self._parts.prepared: gr.update(value=label, visible=left > 0)}

    def _voter(self, request: gr.Request) -> UUID | None:
        return self._cookies.voter(request)

    def _render(self, view: BattleView | None, locale: str) -> Updates:
        parts = self._parts
        phase = view.phase if view else "idle"
        votable = phase == "voting"
        updates: Updates = {
            parts.battle: view.id if view else None,
            parts.empty: gr.update(visible=view is None),
            parts.chats: gr.update(visible=view is not None),
            parts.votes: gr.update(visible=view is not None),
            parts.status: status_line(view, locale),
            parts.chat_a: gr.update(value=side_messages(view, "a", locale), label=side_label(view, "a")),
            parts.chat_b: gr.update(value=side_messages(view, "b", locale), label=side_label(view, "b")),
            parts.undo: gr.update(visible=phase == "voted"),
            parts.reveal: gr.update(visible=phase == "voted"),
            parts.new: gr.update(visible=phase in ("voting", "revealed")),
            parts.next_prepared: gr.update(
                visible=view is not None and view.prepared and phase in ("voting", "revealed")
            ),
            parts.prompt: gr.update(interactive=view is None or view.may_continue),
            parts.send: gr.update(
                visible=phase != "answering", interactive=view is None or view.may_continue
            ),
            parts.stop: gr.update(visible=phase == "answering"),
        }
        for verdict in VERDICTS:
            chosen = view is not None and view.verdict == verdict
            updates[getattr(parts, f"vote_{verdict}")] = gr.update(
                interactive=votable, variant="primary" if chosen else "secondary"
            )
        return updates


def _in_locale(key: str) -> str:
    """A JavaScript function that gives the text of `key` in the language of the page."""
    by_locale = json.dumps({locale: text(locale, key) for locale in LOCALES})
    return f"() => ({by_locale})[document.documentElement.lang]"


PAGE = Page("", "battle", build)
