"""The components of the Datasets page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from arena.web._i18n import i18n
from trainers.datasets import HELD_OUT, SHAPES

KINDS = ("chat", "preference", "kto")
SOURCES = ("human", "judge", "all")
FILES = [".jsonl", ".json", ".csv", ".tsv", ".parquet", ".txt", ".md", ".gz"]
AS_STORED = ""
"""The choice of no model: rows as they are stored."""


def lay_out_looking() -> dict[str, Any]:
    """The choice of a dataset, and the place where it is shown."""
    found: dict[str, Any] = {}
    with gr.Row():
        found["chosen"] = dropdown("dataset", (), min_width=200)
        found["model"] = dropdown("model", (AS_STORED,), min_width=200)
        found["first"] = gr.Number(
            1, label=i18n("datasets.first"), precision=0, minimum=1, elem_id="first", min_width=110
        )
    with gr.Row():
        for name in ("before", "after", "check", "remove"):
            found[name] = gr.Button(i18n(f"datasets.{name}"), size="sm", elem_id=name, min_width=110)
        found["sure"] = gr.Button("", size="sm", variant="stop", visible=False, elem_id="sure", min_width=160)
    found["work"] = gr.HTML(elem_id="checking")
    found["stop"] = gr.Button(
        i18n("work.stop"), variant="stop", size="sm", visible=False, elem_id="stop-check", min_width=110
    )
    found["detail"] = gr.HTML(elem_id="dataset")
    return found


def dropdown(name: str, values: Sequence[str], **more: Any) -> gr.Dropdown:
    value = values[0] if values and not more.get("multiselect") else None
    return gr.Dropdown(
        list(values),
        value=value,
        label=i18n(f"datasets.{name}"),
        elem_id=f"set-{name}",
        filterable=False,
        **more,
    )


def lay_out_adding() -> tuple[dict[str, Any], gr.Button, gr.HTML]:
    """The fields of a file to be added, in the order of `Datasets.add`."""
    gr.Markdown(i18n("datasets.add.note"))
    found: dict[str, Any] = {
        "file": gr.File(
            label=i18n("datasets.file"), type="filepath", file_types=FILES, elem_id="file", height=120
        )
    }
    with gr.Row():
        found["name"] = _textbox("name", 120)
        found["licence"] = _textbox("licence", 120)
        found["origin"] = _textbox("origin", 400)
    with gr.Accordion(i18n("datasets.more_options"), open=False, elem_id="more-options"):
        with gr.Row():
            found["shape"] = gr.Dropdown(
                ["", *(shape.name for shape in SHAPES)], value="", label=i18n("datasets.shape"), elem_id="set-shape",
                info=i18n("datasets.shape.info"), filterable=False, min_width=200,
            )  # fmt: skip
            found["columns"] = gr.Textbox(
                "", label=i18n("datasets.columns"), info=i18n("datasets.columns.info"), elem_id="set-columns",
                max_length=1000, min_width=240,
            )  # fmt: skip
            found["held_out"] = _held_out("add")
        with gr.Row():
            found["skip_bad"] = gr.Checkbox(label=i18n("datasets.skip_bad"), elem_id="skip-bad")
            found["keep_duplicates"] = gr.Checkbox(label=i18n("datasets.keep_duplicates"), elem_id="keep")
    button = gr.Button(i18n("datasets.add"), variant="primary", elem_id="add")
    return found, button, gr.HTML(elem_id="added")


def lay_out_building() -> tuple[dict[str, Any], gr.Button, gr.HTML]:
    """The fields of a dataset of votes, in the order of `Datasets.from_votes`."""
    gr.Markdown(i18n("datasets.votes.note"))
    found: dict[str, Any] = {}
    with gr.Row():
        found["name"] = _textbox("name", 120, "votes-name")
        found["kind"] = dropdown("votes_kind", KINDS, min_width=200)
        found["source"] = dropdown("votes_source", SOURCES, min_width=160)
    with gr.Row():
        found["agreement"] = gr.Slider(
            0.5, 0.95, value=0.5, step=0.05, label=i18n("datasets.agreement"), info=i18n("datasets.agreement.info"),
            elem_id="agreement", min_width=220,
        )  # fmt: skip
        found["least"] = gr.Number(
            1, precision=0, minimum=1, label=i18n("datasets.least"), elem_id="least", min_width=140
        )
        found["held_out"] = _held_out("votes")
        found["licence"] = _textbox("licence", 120, "votes-licence")
    with gr.Row():
        found["categories"] = dropdown("categories", (), multiselect=True, min_width=180)
        found["languages"] = dropdown("votes_languages", (), multiselect=True, min_width=180)
        found["models"] = dropdown("votes_models", (), multiselect=True, min_width=180)
    found["commercial"] = gr.Checkbox(label=i18n("datasets.commercial"), elem_id="commercial")
    button = gr.Button(i18n("datasets.build"), variant="primary", elem_id="build")
    return found, button, gr.HTML(elem_id="built")


def _textbox(name: str, longest: int, elem_id: str = "") -> gr.Textbox:
    return gr.Textbox(
        "", label=i18n(f"datasets.{name}"), info=i18n(f"datasets.{name}.info"), max_length=longest,
        elem_id=elem_id or f"set-{name}", min_width=180,
    )  # fmt: skip


def _held_out(where: str) -> gr.Number:
    return gr.Number(
        HELD_OUT, label=i18n("datasets.held_out_share"), info=i18n("datasets.held_out_share.info"), minimum=0,
        maximum=0.9, step=0.05, elem_id=f"held-out-{where}", min_width=160,
    )  # fmt: skip
