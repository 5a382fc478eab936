"""The form that puts a model on the roster, after the same checks as `arena models add` makes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import gradio as gr

from arena.config import ConfigError
from arena.engines import embedded
from arena.engines.base import EngineError
from arena.engines.spec import Quantisation
from arena.roster import current, needs_embedded
from arena.roster.adding import add, parse_examples, propose
from arena.roster.checking import check
from arena.web._frame import PageContext
from arena.web._i18n import i18n, locale_of, text
from arena.web.operators import NotOperator, require
from arena.web.pages.models_operator import said
from prompt_formats import PromptFormatError, load_registry
from results.store import BadWrite, StoreError

TEXTS = (
    "source", "name", "revision", "adapter", "base", "licence", "parent", "data_licences", "tags", "note",
    "api_key_env",
)  # fmt: skip
LISTS = ("data_licences", "tags")
NUMBERS = (
    "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens", "context_length",
)  # fmt: skip
LONG = ("system_prompt", "few_shot")
SAMPLING = NUMBERS[:-1]
CHOICES = ("quantisation", "prompt_format", "endpoint")
FIELD_NAMES = (*TEXTS, *CHOICES, *LONG, *NUMBERS, "check")
EVERY = 1.0

Running = dict[str, asyncio.Task[dict[str, str]]]
"""Models that are being looked at and can still be stopped, by the browser's session."""


@dataclass(frozen=True)
class Form:
    """The fields, in the order in which `connect` hands them on, and the buttons."""

    panel: gr.Accordion
    fields: dict[str, Any]
    add: gr.Button
    stop: gr.Button

    def connect(self, context: PageContext, status: gr.HTML, options: dict[str, Any]) -> list[Any]:
        """Connect the buttons; gives the events after which the page should be shown again."""

        running: Running = {}

        async def adding(request: gr.Request, *values: Any) -> AsyncIterator[str]:
            told = dict(zip(self.fields, values, strict=True))
            async for line in _add(context, told, request, running):
                yield line

        async def stop(request: gr.Request) -> None:
            work = running.get(str(request.session_hash))
            if work is not None:
                work.cancel()

        # Not by Gradio's `cancels`: it would show a stopped event as an error.
        self.stop.click(stop, None, None, **options)
        return [self.add.click(adding, list(self.fields.values()), [status], **options)]


def lay_out_form() -> Form:
    """The form, not shown yet."""
    fields: dict[str, Any] = {}

    def line(name: str, **more: Any) -> None:
        fields[name] = gr.Textbox(
            label=i18n(f"models.add.{name}"), elem_id=f"add-{name}", max_length=1000, min_width=200, **more
        )

    with gr.Accordion(i18n("models.add.title"), open=False, visible=False, elem_id="add-model") as panel:
        gr.Markdown(i18n("models.add.intro"))
        with gr.Row():
            line("source", placeholder="openai:qwen3@http://localhost:8000/v1", scale=2)
            line("name")
        with gr.Row():
            for name, known in {
                "quantisation": get_args(Quantisation),
                "prompt_format": sorted(load_registry()),
                "endpoint": ("chat", "completions"),
            }.items():
                fields[name] = gr.Dropdown(
                    [("–", ""), *((each, each) for each in known)], value="", label=i18n(f"models.add.{name}"),
                    elem_id=f"add-{name}", allow_custom_value=name == "prompt_format", min_width=150,
                )  # fmt: skip
        with gr.Accordion(i18n("models.add.more"), open=False, elem_id="add-more"):
            for names in (TEXTS[2:5], TEXTS[5:8], TEXTS[8:]):
                with gr.Row():
                    for name in names:
                        line(name)
            for name in LONG:
                fields[name] = gr.Textbox(
                    label=i18n(f"models.add.{name}"), elem_id=f"add-{name}", lines=2, max_lines=12,
                    max_length=20_000,
                )  # fmt: skip
            with gr.Row():
                for name in NUMBERS:
                    fields[name] = gr.Textbox(
                        label=i18n(f"models.add.{name}"), placeholder=i18n("playground.default"),
                        elem_id=f"add-{name}", max_length=20, min_width=140,
                    )  # fmt: skip
        fields["check"] = gr.Checkbox(True, label=i18n("models.add.check"), elem_id="add-check")
        with gr.Row(elem_classes="buttons"):
            button = gr.Button(
                i18n("models.add.button"), variant="primary", size="sm", elem_id="add", scale=0, min_width=140
            )
            stop = gr.Button(i18n("models.add.stop"), size="sm", elem_id="add-stop", scale=0, min_width=110)
    return Form(panel, fields, button, stop)


async def _add(
    context: PageContext, told: dict[str, Any], request: gr.Request, running: Running
) -> AsyncIterator[str]:
    """Look at the model, try it and put it on the roster, telling where this stands."""
    locale = locale_of(request)
    stages: asyncio.Queue[str] = asyncio.Queue()
    work = asyncio.create_task(_work(context, told, request, stages, running))
    running[str(request.session_hash)] = work
    loop = asyncio.get_running_loop()
    stage, began = "looking", loop.time()
    try:
        while not work.done():
            yield said(text(locale, f"models.add.stage.{stage}"), seconds=loop.time() - began)
            await asyncio.wait([work], timeout=EVERY)
            while not stages.empty():
                stage = stages.get_nowait()
        if work.cancelled():
            yield said(text(locale, "models.add.stopped"), bad=True)
        else:
            yield said(text(locale, "models.add.done", **await work))
    except (NotOperator, ConfigError, PromptFormatError, BadWrite) as error:
        yield said(str(error), bad=True)
    except (EngineError, OSError) as error:
        yield said(text(locale, "models.add.nothing", reason=str(error)), bad=True)
    except StoreError:
        yield said(text(locale, "error.store"), bad=True)
    finally:
        work.cancel()  # the page was left, or the work is done
        running.pop(str(request.session_hash), None)


async def _work(
    context: PageContext,
    told: dict[str, Any],
    request: gr.Request,
    stages: asyncio.Queue[str],
    running: Running,
) -> dict[str, str]:
    await asyncio.to_thread(require, request)
    pool, store = context.engines, context.store
    assert pool is not None
    fields, sampling = spec_fields(told)
    source, base = str(fields.pop("source")), fields.pop("base")
    if not source:
        raise ConfigError(text(locale_of(request), "models.add.no_source"))
    words = [word for word in (source, base) if word]
    if await asyncio.to_thread(needs_embedded, store, context.settings, pool.data_dir, words):
        stages.put_nowait("fetching")
        await asyncio.to_thread(embedded.prepare, pool.data_dir)
    proposal = await asyncio.to_thread(
        propose, store, pool.data_dir, source, fields, sampling=sampling, base=base
    )
    length, answer = None, "–"
    if told["check"]:
        checked = await check(proposal.spec, stages.put_nowait, pool)
        length, answer = checked.context_length, checked.answer.strip() or "–"
    stages.put_nowait("hashing")
    running.pop(str(request.session_hash), None)  # what is being stored is not stopped half-way
    entered = await asyncio.to_thread(add, store, pool.data_dir, proposal, length)
    context.roster.update(await asyncio.to_thread(current, store))
    context.roster.set_usable(entered.spec.name)
    return {"model": entered.version.label, "answer": answer}


def spec_fields(told: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of a spec (with `source` and `base`) and of its sampling that the form's values set.

    Raises:
        ConfigError: the examples cannot be read.
    """
    fields: dict[str, Any] = {name: str(told[name] or "").strip() or None for name in TEXTS}
    for name in LISTS:
        fields[name] = _words(fields[name])
    # Numbers stay words: the spec reads them, and names the field of one that is none.
    for name in (*CHOICES, "system_prompt", *NUMBERS):
        fields[name] = str(told[name] or "").strip() or None
    sampling = {name: fields.pop(name) for name in SAMPLING}
    examples = str(told["few_shot"] or "").strip()
    if examples:
        suffix = ".json" if examples.startswith("[") else ".jsonl" if examples.startswith("{") else ".yaml"
        fields["few_shot"] = parse_examples(examples, "few-shot", suffix)
    fields["source"] = fields["source"] or ""
    return fields, {name: value for name, value in sampling.items() if value is not None}


def _words(given: str | None) -> Sequence[str] | None:
    words = tuple(word.strip() for word in (given or "").split(",") if word.strip())
    return words or None
