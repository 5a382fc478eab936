"""The Training page: a recipe as a form and as a file, the queue, and each training with its curves and files. For the
operator. What is shown lies in the store and in the job's folder, so it is there again after a reload."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import gradio as gr

from arena.roster import current
from arena.web._frame import Page, PageContext, static_text
from arena.web._i18n import i18n, locale_of, text
from arena.web.operators import NotOperator, require
from arena.web.pages.training_files import routes
from arena.web.pages.training_form import FIELDS, recipe_from, recipe_text, values_of
from arena.web.pages.training_layout import NO_PRESET, REFRESH_SECONDS, lay_out_recipe, lay_out_watching
from arena.web.pages.training_views import estimate_html, job_html, log_html, message_html, queue_html
from prompt_formats import PromptFormatError
from results.figures import FIGURE_CSS
from results.store import Store, StoreError
from results.store.datasets import dataset_versions
from results.store.jobs import FINISHED, StoredJob, jobs
from trainers import jobs as queue
from trainers.datasets import MissingRows
from trainers.memory import UnknownShapes, estimate_plan
from trainers.plan import CannotPlan, make_plan
from trainers.recipes import BadRecipe, make_recipe

PATH = "training"
WATCH, NEW = "watch", "new"

Updates = dict[Any, Any]

_EXPECTED = (NotOperator, BadRecipe, CannotPlan, UnknownShapes, PromptFormatError, MissingRows)
_NAMES = (
    *(field.key for field in FIELDS if field.required),
    "distillation.teacher",
    "reinforcement.reward_model",
)
"""Fields that name something of this arena, which no preset can know."""


def build(context: PageContext) -> None:
    """Lay out the page and connect its events."""
    gr.HTML(f"<style>{FIGURE_CSS}{static_text('work.css')}</style>", padding=False)
    gr.Markdown(f"# {i18n('training.title')}", elem_id="page-title")
    gr.Markdown(i18n("training.intro"))
    parts: dict[str, Any] = {"queue": gr.HTML(elem_id="queue"), "seen": gr.State("")}
    with gr.Tabs(elem_id="training-tabs") as tabs:
        with gr.Tab(i18n("training.tab.watch"), id=WATCH):
            parts |= lay_out_watching()
        with gr.Tab(i18n("training.tab.new"), id=NEW):
            recipe, fields = lay_out_recipe()
    parts |= {**recipe, "tabs": tabs}
    _connect(_Training(context, parts, fields), parts, fields, gr.Timer(REFRESH_SECONDS))


def _connect(page: _Training, parts: dict[str, Any], fields: Sequence[Any], timer: gr.Timer) -> None:
    """What happens at which event."""
    tabs = parts["tabs"]
    shown = [parts[name] for name in ("queue", "chosen", "detail", "log", "cancel", "resume", "seen")]

    def on(trigger: Any, handler: Any, inputs: Sequence[Any], outputs: Sequence[Any], **more: Any) -> Any:
        options = {"concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private", **more}
        return gr.on(trigger, handler, inputs=list(inputs), outputs=list(outputs), **options)

    root = gr.context.Context.root_block
    assert root is not None
    chosen, text_of, state = parts["chosen"], parts["yaml"], parts["state"]
    on(root.load, page.arrive, [], [*shown, *fields, text_of, tabs])
    on(timer.tick, page.refresh, [chosen, parts["seen"]], shown)
    on(chosen.input, page.show, [chosen], [*shown, parts["done"]])
    on(parts["going"].change, lambda going: gr.Timer(active=going), [parts["going"]], [timer])
    on(parts["cancel"].click, page.cancel, [chosen], [*shown, parts["done"]])
    on(parts["resume"].click, page.resume, [chosen], [*shown, parts["done"]])
    # The last of quick changes counts; and since not every way to fill a field in tells of it, so does leaving one.
    # They are made one after the other, and what a button does waits for those before it: it reads the file.
    in_turn = {"concurrency_id": "recipe", "concurrency_limit": 1}
    left = [field.blur for field in fields if hasattr(field, "blur")]
    changed = [field.input for field in fields]
    last = {**in_turn, "trigger_mode": "always_last"}
    on([*changed, *left], page.form_changed, fields, [text_of, state], **last)
    on(text_of.input, page.file_changed, [text_of], [*fields, state], **last)
    on(
        parts["preset"].input,
        page.preset_chosen,
        [parts["preset"], *fields],
        [*fields, text_of, state],
        **in_turn,
    )
    answer, then = parts["answer"], {"concurrency_limit": None, "api_visibility": "private"}
    on(parts["estimate"].click, _settled, [], [], **in_turn).then(
        page.estimate, [text_of], [answer], show_progress="minimal", **then
    )
    on(parts["start"].click, _settled, [], [], **in_turn).then(
        page.start, [text_of, *fields], [answer, parts["done"], tabs, *shown], show_progress="hidden", **then
    )


def _settled() -> None:
    """Changes of the recipe that were asked for before have been made when this is."""


class _Training:
    """The handlers. All of them ask for the operator."""

    def __init__(self, context: PageContext, parts: dict[str, Any], fields: Sequence[Any]) -> None:
        self._store, self._roster, self._parts = context.store, context.roster, parts
        self._fields = {field.key: component for field, component in zip(FIELDS, fields, strict=True)}

    async def arrive(self, request: gr.Request) -> Updates:
        """The queue, the training that the address names, and what a recipe may start from."""

        def found() -> Updates:
            query = request.query_params
            given = {key: query[key] for key in ("base", "dataset") if query.get(key)}
            updates = self._shown(query.get("job"), locale_of(request))
            for key, choices in _choices(self._store).items():
                more = {"value": given[key]} if key in given else {}
                updates[self._fields[key]] = gr.update(choices=choices, **more)
            if given:
                updates[self._parts["yaml"]] = recipe_text([given.get(field.key, "") for field in FIELDS])
                updates[self._parts["tabs"]] = gr.Tabs(selected=NEW)
            return updates

        return await self._guarded(found, "queue", request)

    async def refresh(self, chosen: str | None, seen: str, request: gr.Request) -> Updates:
        """What has changed since; nothing is drawn again where nothing has."""

        def found() -> Updates:
            updates = self._shown(chosen, locale_of(request))
            if updates[self._parts["seen"]] == seen:
                return {}
            if chosen:  # somebody may have chosen another one since this was asked
                updates[self._parts["chosen"]].pop("value")
            return updates

        return _or_skip(await self._guarded(found, "queue", request), self._parts["seen"])

    async def show(self, chosen: str | None, request: gr.Request) -> Updates:
        """Another training."""
        shown = partial(self._shown, chosen, locale_of(request))
        return await self._guarded(lambda: {**shown(), self._parts["done"]: ""}, "queue", request)

    async def cancel(self, chosen: str | None, request: gr.Request) -> Updates:
        """Ask a training to stop."""
        return await self._do(
            lambda job: queue.cancel(self._store, job.id), chosen, "training.cancelled", request
        )

    async def resume(self, chosen: str | None, request: gr.Request) -> Updates:
        """Let a training go on from its last checkpoint."""
        return await self._do(
            lambda job: queue.resume(self._store, job.id), chosen, "training.resumed", request
        )

    async def form_changed(self, request: gr.Request, *values: Any) -> Updates:
        """The file follows the form."""

        def followed() -> Updates:
            written = recipe_text(values)
            return {self._parts["yaml"]: written, self._parts["state"]: self._judged(written, request)}

        return await self._guarded(followed, "state", request)

    async def file_changed(self, written: str, request: gr.Request) -> Updates:
        """The form follows the file, as soon as that is a recipe."""

        def followed() -> Updates:
            recipe = recipe_from(written)
            values = dict(zip(self._fields.values(), values_of(recipe), strict=True))
            return {**values, self._parts["state"]: self._judged(written, request)}

        return await self._guarded(followed, "state", request)

    async def preset_chosen(self, name: str, request: gr.Request, *values: Any) -> Updates:
        """A preset over everything but the names that were given."""

        def filled() -> Updates:
            named = {key: value for key, value in zip(self._fields, values, strict=True) if key in _NAMES}
            if name == NO_PRESET:
                return {self._parts["state"]: ""}
            # A form may be filled in from above or from below: names that are still missing stand for themselves.
            stand_in: dict[str, Any] = {"preset": name}
            for key, value in named.items():
                section, _, field = key.rpartition(".")
                place = stand_in.setdefault(section, {}) if section else stand_in
                place[field] = str(value or "").strip() or "missing"
            made = values_of(make_recipe(stand_in))
            made = [named.get(key, value) for key, value in zip(self._fields, made, strict=True)]
            locale = locale_of(request)
            about = message_html(text(locale, f"training.preset.{name}"), locale, good=True)
            # Names are left alone: somebody may be writing one.
            filled_in = {
                component: value
                for (key, component), value in zip(self._fields.items(), made, strict=True)
                if key not in named
            }
            return {**filled_in, self._parts["yaml"]: recipe_text(made), self._parts["state"]: about}

        return await self._guarded(filled, "state", request)

    async def estimate(self, written: str, request: gr.Request) -> Updates:
        """What the recipe needs, before it starts."""

        def made() -> Updates:
            recipe = recipe_from(written)
            found, methods = estimate_plan(self._store, make_plan(self._store, self._store.data_dir, recipe))
            return {self._parts["answer"]: estimate_html(found, methods, locale_of(request))}

        return await self._guarded(made, "answer", request)

    async def start(self, written: str, request: gr.Request, *values: Any) -> Updates:
        """Queue the recipe, and show how it goes. A change may still be on its way from form to file, or back: then
        nothing starts."""
        locale = locale_of(request)

        def queued() -> Updates:
            recipe = recipe_from(written)
            if values_of(recipe) != values_of(recipe_from(recipe_text(values))):
                return {self._parts["answer"]: message_html(text(locale, "training.differ"), locale)}
            job = queue.enqueue(self._store, recipe)
            queue.advance(self._store)
            told = message_html(text(locale, "training.started", name=job.name), locale, good=True)
            return {
                self._parts["answer"]: "",
                self._parts["done"]: told,
                self._parts["tabs"]: gr.Tabs(selected=WATCH),
                **self._shown(str(job.id), locale),
            }

        return await self._guarded(queued, "answer", request)

    async def _do(
        self, what: Callable[[StoredJob], StoredJob], chosen: str | None, said: str, request: gr.Request
    ) -> Updates:
        locale = locale_of(request)

        def done() -> Updates:
            job = next((each for each in jobs(self._store) if str(each.id) == chosen), None)
            if job is None:
                return {self._parts["done"]: message_html(text(locale, "training.gone"), locale)}
            what(job)
            queue.advance(self._store)
            told = message_html(text(locale, said, name=job.name), locale, good=True)
            return {self._parts["done"]: told, **self._shown(chosen, locale)}

        return await self._guarded(done, "done", request)

    def _shown(self, chosen: str | None, locale: str) -> Updates:
        """The queue, and the training asked for (the newest where there is none of that id)."""
        parts, found = self._parts, jobs(self._store)
        by_id = {str(each.id): each for each in found}
        job = by_id.get(chosen or "") or (found[-1] if found else None)
        if job is not None and "model" in job.result:
            self._let_take_part(job.result["model"])
        data_dir = self._store.data_dir
        value = str(job.id) if job is not None else None
        listed = queue_html(found, value, locale)
        detail = job_html(data_dir, job, locale) if job is not None else ""
        log = log_html(queue.log_text(data_dir, job.id), locale) if job is not None else ""
        choices = [
            (f"{each.name} · {each.created_at:%m-%d %H:%M:%S}", str(each.id)) for each in reversed(found)
        ]
        seen = hashlib.sha256("\0".join((listed, detail, log)).encode()).hexdigest()
        return {
            parts["queue"]: listed,
            parts["chosen"]: gr.update(choices=choices, value=value),
            parts["detail"]: detail,
            parts["log"]: log,
            parts["cancel"]: gr.update(
                interactive=job is not None and job.state not in FINISHED and not job.cancel_asked
            ),
            parts["resume"]: gr.update(interactive=job is not None and job.state in ("failed", "cancelled")),
            parts["seen"]: seen,
        }

    def _let_take_part(self, model: str) -> None:
        """A finished model is there as soon as this page says so, not when the queue is next looked after."""
        if model not in (each.version.label for each in self._roster.contestants()):
            self._roster.update(current(self._store))

    def _judged(self, written: str, request: gr.Request) -> str:
        """Whether the file is a whole recipe, and what is wrong where it is not."""
        locale = locale_of(request)
        try:
            recipe_from(written)
        except BadRecipe as error:
            return message_html(str(error), locale)
        return message_html(text(locale, "training.complete"), locale, good=True)

    async def _guarded(self, work: Callable[[], Updates], where: str, request: gr.Request) -> Updates:
        """What `work` gives, for the operator alone; what goes wrong is told at `where`."""
        locale = locale_of(request)

        def allowed() -> Updates:
            require(request)
            return work()

        try:
            return await asyncio.to_thread(allowed)
        except _EXPECTED as error:
            return {self._parts[where]: message_html(str(error), locale)}
        except StoreError:
            return {self._parts[where]: message_html(text(locale, "error.store"), locale)}


def _choices(store: Store) -> dict[str, list[str]]:
    """What this arena has for the fields of a recipe that name something, the newest first where there are versions."""
    local = [
        each.spec.name
        for each in current(store)
        if each.spec.kind == "local" and each.spec.quantisation == "none"
    ]
    done = [each for each in reversed(jobs(store)) if each.state == "done"]
    rates = [each.name for each in done if queue.plan_of(each).recipe.objective == "reward"]
    return {
        "base": local,
        "distillation.teacher": local,
        "dataset": [version.label for version in reversed(dataset_versions(store))],
        "reinforcement.reward_model": list(dict.fromkeys(rates)),
    }


def _or_skip(updates: Updates, part: Any) -> Updates:
    """Gradio wants at least one output."""
    return updates or {part: gr.skip()}


PAGE = Page(PATH, "training", build, routes)
