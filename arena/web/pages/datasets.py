"""The Datasets page: training data to look at, to add from a file, and to build from votes. For the operator: rows
hold what people wrote."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from arena.engines.base import EngineError
from arena.roster import Contestant, UnknownModel, current, find
from arena.web._frame import Page, PageContext, static_text
from arena.web._i18n import i18n, locale_of, text
from arena.web._work import AtWork
from arena.web.operators import NotOperator, require
from arena.web.pages.benchmarks_views import work_html
from arena.web.pages.datasets_check import KIND, check_dataset
from arena.web.pages.datasets_layout import (
    AS_STORED,
    KINDS,
    SOURCES,
    lay_out_adding,
    lay_out_building,
    lay_out_looking,
)
from arena.web.pages.datasets_rows import ROWS_SHOWN
from arena.web.pages.datasets_views import (
    added_html,
    built_html,
    detail_html,
    list_html,
    problem_html,
    rejects_html,
)
from prompt_formats import PromptFormatError
from results.figures import FIGURE_CSS
from results.interchange import BadFile
from results.leaderboard import known_values
from results.store import StoreError
from results.store.datasets import DatasetRecord, StoredDataset, dataset_versions, remove_dataset
from trainers.contamination import SuiteGuard
from trainers.datasets import (
    HELD_OUT,
    BadRows,
    MissingRows,
    NothingToBuild,
    UnknownDataset,
    UnknownShape,
    VoteFilter,
    add_dataset,
    dataset_from_votes,
    find_dataset,
)

PATH = "datasets"
REFRESH_SECONDS = 1.0

Updates = dict[Any, Any]

_NAME = re.compile(str(DatasetRecord.model_json_schema()["properties"]["name"]["pattern"]))


class _Unfit(ValueError):
    """A field of a form cannot be used; the message is in the reader's language."""


_EXPECTED = (
    NotOperator, UnknownDataset, UnknownModel, MissingRows, UnknownShape, BadFile, NothingToBuild, EngineError,
    PromptFormatError, _Unfit,
)  # fmt: skip


def build(context: PageContext) -> None:
    """Lay out the page and connect its events."""
    gr.HTML(f"<style>{FIGURE_CSS}{static_text('work.css')}</style>", padding=False)
    gr.Markdown(f"# {i18n('datasets.title')}", elem_id="page-title")
    gr.Markdown(i18n("datasets.intro"))
    parts: dict[str, Any] = {"listed": gr.HTML(elem_id="datasets")}
    with gr.Tabs(elem_id="datasets-tabs"):
        with gr.Tab(i18n("datasets.tab.look"), id="look"):
            parts |= lay_out_looking()
        with gr.Tab(i18n("datasets.tab.add"), id="add"):
            adding, add, parts["added"] = lay_out_adding()
        with gr.Tab(i18n("datasets.tab.votes"), id="votes"):
            building, start, parts["built"] = lay_out_building()

    timer = parts["timer"] = gr.Timer(REFRESH_SECONDS, active=False)
    page = _Datasets(context, {**parts, "file": adding["file"]}, building)
    looked = [parts[name] for name in ("listed", "chosen", "detail", "first", "sure")]
    asked = [parts[name] for name in ("chosen", "model", "first")]
    choices = [building[name] for name in ("kind", "source", "categories", "languages", "models")]

    def on(trigger: Any, handler: Any, inputs: Sequence[Any], outputs: Sequence[Any], **more: Any) -> Any:
        options = {"concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private", **more}
        return gr.on(trigger, handler, inputs=list(inputs), outputs=list(outputs), **options)

    root = gr.context.Context.root_block
    assert root is not None
    checked = [parts[name] for name in ("work", "stop", "timer")]
    on(root.load, page.arrive, [], [*looked, parts["model"], *choices, *checked])
    # One after the other: else an earlier, slower answer would take the place of a later one.
    in_turn = {"concurrency_id": "rows", "concurrency_limit": 1}
    on(
        [parts["chosen"].input, parts["model"].input, parts["first"].submit],
        page.look,
        asked,
        looked,
        **in_turn,
    )
    on(parts["before"].click, page.back, asked, looked, **in_turn)
    on(parts["after"].click, page.forward, asked, looked, **in_turn)
    on(parts["remove"].click, page.ask, [parts["chosen"]], [parts["sure"]])
    on(parts["check"].click, page.check, [parts["chosen"]], checked)
    on(parts["stop"].click, page.stop_check, [], checked)
    on(timer.tick, page.tick, asked, [*looked, *checked])
    on(parts["sure"].click, page.remove, [parts["chosen"], parts["model"]], looked)
    on(
        add.click,
        page.add,
        list(adding.values()),
        [parts["added"], adding["file"], *looked],
        show_progress="minimal",
    )
    on(
        start.click,
        page.from_votes,
        list(building.values()),
        [parts["built"], *looked],
        show_progress="minimal",
    )


class _Datasets:
    """The handlers. All of them ask for the operator."""

    def __init__(self, context: PageContext, parts: dict[str, Any], building: dict[str, Any]) -> None:
        self._store, self._parts, self._building = context.store, parts, building
        self._works = context.works

    async def arrive(self, request: gr.Request) -> Updates:
        """The page as its address says, with choices in the reader's language."""
        locale = locale_of(request)

        def found() -> Updates:
            models = current(self._store)
            local = [each.spec.name for each in models if each.spec.kind == "local"]
            asked = request.query_params.get("model")
            model = asked if asked in local else AS_STORED
            choices: dict[str, Sequence[Any]] = {
                "kind": [(text(locale, f"datasets.votes_kind.{kind}"), kind) for kind in KINDS],
                "source": [(text(locale, f"leaderboard.source.{source}"), source) for source in SOURCES],
                "categories": known_values(self._store, "category"),
                "languages": known_values(self._store, "language"),
                "models": [each.spec.name for each in models],
            }
            stored = (text(locale, "datasets.as_stored"), AS_STORED)
            return {
                **self._looked(request.query_params.get("dataset"), model, 1, locale),
                **self._checking(locale),
                self._parts["model"]: gr.update(
                    choices=[stored, *((name, name) for name in local)], value=model
                ),
                **{self._building[name]: gr.update(choices=values) for name, values in choices.items()},
            }

        return await self._guarded(found, "listed", request)

    async def look(self, chosen: str | None, model: str | None, first: Any, request: gr.Request) -> Updates:
        """Another dataset, model or row."""
        return await self._look(chosen, model, first, 0, request)

    async def back(self, chosen: str | None, model: str | None, first: Any, request: gr.Request) -> Updates:
        """The rows before."""
        return await self._look(chosen, model, first, -ROWS_SHOWN, request)

    async def forward(
        self, chosen: str | None, model: str | None, first: Any, request: gr.Request
    ) -> Updates:
        """The rows after."""
        return await self._look(chosen, model, first, ROWS_SHOWN, request)

    async def ask(self, chosen: str | None, request: gr.Request) -> Any:
        """Removing is asked about once more."""
        label = text(locale_of(request), "datasets.sure", label=chosen or "")
        return gr.update(value=label, visible=bool(chosen))

    async def check(self, chosen: str | None, request: gr.Request) -> Updates:
        """Begin to check the dataset against test suites and for near-duplicates; it goes on when the page is left."""
        locale = locale_of(request)
        try:
            found = await asyncio.to_thread(self._allowed, chosen, request)
            self._works.start(KIND, found.label, lambda work: check_dataset(self._store, found, work))
        except AtWork as going:
            return self._checking(locale, text(locale, "work.busy", title=str(going)))
        except _EXPECTED as error:
            return self._checking(locale, _words(error))
        except StoreError:
            return self._checking(locale, text(locale, "error.store"))
        return self._checking(locale)

    async def stop_check(self, request: gr.Request) -> Updates:
        """Stop the check; what is complete is kept."""
        try:
            await asyncio.to_thread(require, request)
        except NotOperator as refused:
            return self._checking(locale_of(request), str(refused))
        self._works.stop(KIND)
        return self._checking(locale_of(request))

    async def tick(self, chosen: str | None, model: str | None, first: Any, request: gr.Request) -> Updates:
        """How far the check is; what it found, once it has ended."""
        locale = locale_of(request)

        def now() -> Updates:
            shown = self._checking(locale)
            work = self._works.current(KIND)
            if work is not None and work.running:
                return shown
            return {**self._looked(chosen, model, int(first or 1), locale), **shown}

        return await self._guarded(now, "work", request)

    def _allowed(self, chosen: str | None, request: gr.Request) -> StoredDataset:
        require(request)
        return find_dataset(self._store, chosen or "")

    def _checking(self, locale: str, error: str = "") -> Updates:
        work = self._works.current(KIND)
        running = work is not None and work.running
        return {
            self._parts["work"]: work_html(locale, work, error) if work or error else "",
            self._parts["stop"]: gr.update(visible=running, interactive=not (work and work.stopping)),
            self._parts["timer"]: gr.Timer(active=running),
        }

    async def remove(self, chosen: str | None, model: str | None, request: gr.Request) -> Updates:
        """Take a version off the list."""

        def done() -> Updates:
            found = find_dataset(self._store, chosen or "")
            remove_dataset(self._store, found.name, found.number)
            return self._looked(None, model, 1, locale_of(request))

        return await self._guarded(done, "detail", request)

    async def add(
        self, file: str | None, name: str, licence: str, origin: str, shape: str, columns: str, held_out: Any,
        skip_bad: bool, keep_duplicates: bool, request: gr.Request, progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Updates:  # fmt: skip
        """Add the uploaded file; the upload itself does not stay, however it went."""
        locale = locale_of(request)

        def done() -> Updates:
            if file is None:
                raise _Unfit(text(locale, "datasets.no_file"))
            path = Path(file)
            made = add_dataset(
                self._store, path, _name(name or path.name.partition(".")[0], locale), shape=shape or None,
                columns=_columns(columns, locale), licence=licence.strip() or None, source=origin.strip() or None,
                held_out_share=_share(held_out), skip_bad=skip_bad, keep_duplicates=keep_duplicates,
                progress=lambda at, size: progress((at, size), desc=text(locale, "datasets.reading")),
            )  # fmt: skip
            return {
                self._parts["added"]: added_html(made, locale),
                **self._looked(made.dataset.label, AS_STORED, 1, locale),
            }

        try:
            return {self._parts["file"]: None, **await self._guarded(done, "added", request)}
        finally:
            if file is not None:
                await asyncio.to_thread(Path(file).unlink, missing_ok=True)

    async def from_votes(
        self, name: str, kind: Any, source: Any, agreement: float, least: Any, held_out: Any, licence: str,
        categories: list[str] | None, languages: list[str] | None, models: list[str] | None, commercial: bool,
        request: gr.Request, progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Updates:  # fmt: skip
        """Build a dataset of votes and judgments."""
        locale = locale_of(request)

        def done() -> Updates:
            where = VoteFilter(
                source=source, agreement=agreement, least_verdicts=max(int(least or 1), 1),
                categories=frozenset(categories or ()), languages=frozenset(languages or ()),
                models=frozenset(models or ()), commercial=bool(commercial),
            )  # fmt: skip
            guard = SuiteGuard.of(self._store.data_dir)
            made = dataset_from_votes(
                self._store, _name(name, locale), kind, where, never=guard.never,
                contaminated=guard.contaminated, licence=licence.strip() or None,
                held_out_share=_share(held_out),
                progress=lambda at, size: progress((at, size), desc=text(locale, "datasets.reading")),
            )  # fmt: skip
            return {
                self._parts["built"]: built_html(made, locale),
                **self._looked(made.dataset.label, AS_STORED, 1, locale),
            }

        return await self._guarded(done, "built", request)

    async def _look(
        self, chosen: str | None, model: str | None, first: Any, by: int, request: gr.Request
    ) -> Updates:
        at = int(first or 1) + by
        return await self._guarded(
            lambda: self._looked(chosen, model, at, locale_of(request)), "detail", request
        )

    def _looked(self, chosen: str | None, model: str | None, first: int, locale: str) -> Updates:
        """The list, and the dataset asked for (the newest where there is none of that name)."""
        parts = self._parts
        versions = dataset_versions(self._store)
        labels = [version.label for version in versions]
        found = None
        if versions:
            found = versions[labels.index(chosen)] if chosen in labels else versions[-1]
            first = max(1, min(first, found.row_count))
        updates: Updates = {
            parts["listed"]: list_html(self._store, versions, found.label if found else None, locale),
            parts["chosen"]: gr.update(choices=labels[::-1], value=found.label if found else None),
            parts["first"]: first,
            parts["sure"]: gr.update(visible=False),
        }
        if found is None:
            return {**updates, parts["detail"]: ""}
        try:
            contestant: Contestant | None = find(self._store, model) if model else None
            shown = detail_html(self._store, found, first, contestant, locale)
        except (UnknownModel, MissingRows, EngineError, PromptFormatError) as error:
            shown = problem_html(str(error), locale)
        return {**updates, parts["detail"]: shown}

    async def _guarded(self, work: Callable[[], Updates], where: str, request: gr.Request) -> Updates:
        """What `work` gives, for the operator alone; what goes wrong is told at `where`."""
        locale = locale_of(request)

        def allowed() -> Updates:
            require(request)
            return work()

        try:
            return await asyncio.to_thread(allowed)
        except BadRows as error:
            return {self._parts[where]: rejects_html(error, locale)}
        except _EXPECTED as error:
            return {self._parts[where]: problem_html(_words(error), locale)}
        except StoreError:
            return {self._parts[where]: problem_html(text(locale, "error.store"), locale)}


def _words(error: Exception) -> str:
    """The message of an error; that of a LookupError is quoted by `str`."""
    return str(error.args[0]) if isinstance(error, LookupError) and error.args else str(error)


def _name(given: str, locale: str) -> str:
    name = given.strip()
    if len(name) > 120 or not _NAME.match(name):
        raise _Unfit(text(locale, "datasets.bad_name", name=name))
    return name


def _share(given: Any) -> float:
    return HELD_OUT if given is None else min(max(float(given), 0.0), 0.9)


def _columns(given: str, locale: str) -> dict[str, str]:
    """`prompt=Q, response=A` as a mapping from our field to their column."""
    pairs = {}
    for entry in filter(None, (part.strip() for part in given.split(","))):
        ours, equals, theirs = (part.strip() for part in entry.partition("="))
        if not (ours and equals and theirs):
            raise _Unfit(text(locale, "datasets.bad_columns", entry=entry))
        pairs[ours] = theirs
    return pairs


PAGE = Page(PATH, "datasets", build)
