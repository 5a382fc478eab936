"""The components of the Training page."""

from __future__ import annotations

from typing import Any

import gradio as gr

from arena.web._i18n import i18n, texts
from arena.web.pages.training_form import FIELDS, RecipeField, sections
from trainers.recipes import presets

REFRESH_SECONDS = 3
NO_PRESET = ""

_FIRST = ("name", "base", "dataset", "objective", "method")
_FROM_HERE = ("base", "dataset", "distillation.teacher", "reinforcement.reward_model")
"""Fields that name something of this arena, offered as choices."""


def lay_out_watching() -> dict[str, Any]:
    """One training of the queue, and what can be done about it."""
    found: dict[str, Any] = {}
    with gr.Row():
        found["chosen"] = gr.Dropdown([], label=i18n("training.training"), elem_id="job", filterable=False)
        # A page that changes by itself can be held still.
        found["going"] = gr.Checkbox(True, label=i18n("training.refreshing"), elem_id="refreshing")
    with gr.Row():
        found["cancel"] = gr.Button(
            i18n("training.cancel"),
            variant="stop",
            size="sm",
            interactive=False,
            elem_id="cancel",
            min_width=110,
        )
        found["resume"] = gr.Button(
            i18n("training.resume"), size="sm", interactive=False, elem_id="resume", min_width=110
        )
    found["done"] = gr.HTML(elem_id="job-message")
    found["detail"] = gr.HTML(elem_id="job-detail")
    with gr.Accordion(i18n("training.log"), open=False, elem_id="job-log"):
        found["log"] = gr.HTML(elem_id="log")
    return found


def lay_out_recipe() -> tuple[dict[str, Any], list[Any]]:
    """The form beside the file, and the fields in the order of `FIELDS`."""
    found: dict[str, Any] = {}
    made: dict[str, Any] = {}
    with gr.Row():
        with gr.Column(scale=1, min_width=320):
            found["preset"] = gr.Dropdown(
                [NO_PRESET, *presets()], value=NO_PRESET, label=i18n("training.preset"),
                info=i18n("training.preset.info"), elem_id="preset", filterable=False,
            )  # fmt: skip
            with gr.Row():
                made |= {field.key: _component(field) for field in FIELDS if field.key in _FIRST}
            gr.Markdown(_help(""), elem_classes="help")
            for section in sections():
                with gr.Accordion(_title(section), open=False, elem_id=f"section-{section or 'run'}"):
                    if section:
                        gr.Markdown(_help(section), elem_classes="help")
                    with gr.Row():
                        made |= {
                            field.key: _component(field)
                            for field in FIELDS
                            if field.section == section and field.key not in _FIRST
                        }
        with gr.Column(scale=1, min_width=320):
            found["yaml"] = gr.Code(
                "", language="yaml", label=i18n("training.file"), lines=18, max_lines=40, elem_id="yaml",
                interactive=True, buttons=["copy", "download"],
            )  # fmt: skip
            found["state"] = gr.HTML(elem_id="recipe-state")
            with gr.Row():
                found["estimate"] = gr.Button(i18n("training.estimate"), elem_id="estimate", min_width=120)
                found["start"] = gr.Button(
                    i18n("training.start"), variant="primary", elem_id="start", min_width=120
                )
            found["answer"] = gr.HTML(elem_id="answer")
    return found, [made[field.key] for field in FIELDS]


def _component(field: RecipeField) -> Any:
    """A field is called what it is called in the file, which its errors name."""
    more: dict[str, Any] = {
        "label": field.name, "elem_id": f"field-{field.key.replace('.', '-')}", "min_width": 150,
    }  # fmt: skip
    if field.key in _FROM_HERE:
        return gr.Dropdown([], value=field.default or None, allow_custom_value=True, **more)
    if field.kind == "choice":
        return gr.Dropdown(list(field.choices), value=field.default, filterable=False, **more)
    if field.kind == "flag":
        return gr.Checkbox(field.default, **{**more, "min_width": 200})
    bounds = field.bounds or None
    # Gradio turns an empty number into 0 once it is shown, so one that may be empty is text.
    if field.kind in ("number", "whole") and field.default is not None:
        whole = 0 if field.kind == "whole" else None
        return gr.Number(field.default, precision=whole, info=bounds, **more)
    shown = field.default if isinstance(field.default, str) else ", ".join(field.default or ())
    commas = i18n("training.commas") if field.kind in ("words", "wholes") else bounds
    return gr.Textbox(shown, info=commas, max_length=1_000, **more)


def _title(section: str) -> Any:
    """What a section is called; one that has no words yet by its key."""
    key = f"training.section.{section or 'run'}"
    return i18n(key) if key in texts("en") else section


def _help(section: str) -> Any:
    key = f"training.help.{section or 'run'}"
    return i18n(key) if key in texts("en") else sections()[section]
