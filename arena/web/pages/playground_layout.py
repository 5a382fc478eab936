"""The components of the Playground."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from arena.web._i18n import i18n
from arena.web.pages.playground_settings import FIELDS, LIMITS, WINDOWS
from arena.web.pages.playground_views import TOKENS_SCRIPT

MOST_CHARACTERS = 20_000
NUMBERS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens", "seed")


@dataclass(frozen=True)
class Parts:
    """The components that show a conversation."""

    turns: gr.State
    chat: gr.Chatbot
    status: gr.Markdown
    error: gr.Markdown
    figures: gr.Markdown
    prompt: gr.Textbox
    send: gr.Button
    stop: gr.Button
    again: gr.Button
    clear: gr.Button
    seen: gr.HTML
    tokens: gr.HTML
    raw: gr.HTML
    curl: gr.Code
    python: gr.Code

    def all(self) -> list[Any]:
        """All of them, as outputs."""
        return list(self.__dict__.values())


def lay_out_settings() -> tuple[list[Any], gr.Button, gr.HTML]:
    """The controls in the order of `FIELDS`, the button for a link, and the link."""
    found: dict[str, Any] = {}
    with gr.Row():
        found["model"] = gr.Dropdown([], label=i18n("playground.model"), elem_id="model", min_width=240)
    with gr.Accordion(i18n("playground.settings"), open=False, elem_id="settings"):
        found["system"] = gr.Textbox(
            label=i18n("playground.system"),
            lines=2,
            max_lines=10,
            max_length=MOST_CHARACTERS,
            elem_id="system",
        )
        with gr.Row():
            for name in NUMBERS:
                low, high, whole = LIMITS[name]
                found[name] = gr.Number(
                    None, label=i18n(f"playground.{name}"), placeholder=i18n("playground.default"),
                    minimum=None, precision=0 if whole else None, step=1 if whole else 0.05,
                    info=f"{low:g} – {high:,.0f}" if whole else f"{low:g} – {high:g}",
                    elem_id=f"set-{name}", min_width=150,
                )  # fmt: skip
        with gr.Row():
            found["window"] = gr.Dropdown(
                list(WINDOWS), value="model", label=i18n("playground.window"), elem_id="window", min_width=200,
                filterable=False,
            )  # fmt: skip
            found["window_size"] = gr.Number(
                None, label=i18n("playground.window_size"), placeholder=i18n("playground.default"), precision=0,
                elem_id="window-size", min_width=150,
            )  # fmt: skip
            found["stop"] = gr.Textbox(
                label=i18n("playground.stop"), info=i18n("playground.stop.info"), lines=2, max_lines=6,
                max_length=2000, elem_id="set-stop", min_width=220,
            )  # fmt: skip
        found["prefill"] = gr.Textbox(
            label=i18n("playground.prefill"), info=i18n("playground.prefill.info"), lines=1, max_lines=6,
            max_length=MOST_CHARACTERS, elem_id="prefill",
        )  # fmt: skip
        found["probabilities"] = gr.Checkbox(
            True, label=i18n("playground.probabilities"), elem_id="probabilities"
        )
        with gr.Row():
            share = gr.Button(i18n("playground.share"), size="sm", elem_id="share", min_width=160, scale=0)
            link = gr.HTML(padding=False, elem_id="share-place")
    return [found[name] for name in FIELDS], share, link


def lay_out_conversation(most_characters: int) -> Parts:
    """The conversation, and beside it what is known of the last answer."""
    with gr.Row():
        with gr.Column(scale=1, min_width=320):
            chat = gr.Chatbot(
                label=i18n("playground.chat"), height="52vh", min_height=260, elem_id="chat-playground",
                buttons=["copy"], feedback_options=None, allow_tags=False,
            )  # fmt: skip
            status = gr.Markdown(i18n("playground.idle"), elem_id="status")
            error = gr.Markdown(visible=False, elem_id="playground-error")
            summary = gr.Markdown(elem_id="playground-figures")
            prompt = gr.Textbox(
                label=i18n("playground.message"), placeholder=i18n("battle.placeholder"), lines=1, max_lines=12,
                max_length=most_characters, elem_id="prompt",
            )  # fmt: skip
            with gr.Row():
                send = gr.Button(i18n("battle.send"), variant="primary", elem_id="send", min_width=90)
                stop = gr.Button(
                    i18n("battle.stop"), variant="stop", visible=False, elem_id="stop", min_width=90
                )
                again = gr.Button(i18n("playground.again"), interactive=False, elem_id="again", min_width=120)
                clear = gr.Button(i18n("playground.clear"), elem_id="clear", min_width=120)
        with gr.Column(scale=1, min_width=320), gr.Tabs(elem_id="playground-tabs"):
            with gr.Tab(i18n("playground.tab.prompt"), id="prompt"):
                seen = gr.HTML(_empty("prompt"), elem_id="seen", js_on_load=TOKENS_SCRIPT)
            with gr.Tab(i18n("playground.tab.tokens"), id="tokens"):
                tokens = gr.HTML(_empty("tokens"), elem_id="tokens", js_on_load=TOKENS_SCRIPT)
            with gr.Tab(i18n("playground.tab.raw"), id="raw"):
                raw = gr.HTML(_empty("raw"), elem_id="raw")
            with gr.Tab(i18n("playground.tab.call"), id="call"):
                gr.Markdown(i18n("playground.call.note"))
                curl = gr.Code(
                    label="curl", language="shell", elem_id="curl", wrap_lines=True, interactive=False
                )
                python = gr.Code(
                    label="Python", language="python", elem_id="python", wrap_lines=True, interactive=False
                )
    return Parts(
        gr.State([], time_to_live=24 * 3600), chat, status, error, summary, prompt, send, stop, again, clear,
        seen, tokens, raw, curl, python,
    )  # fmt: skip


def _empty(what: str) -> str:
    return f'<p class="empty">{i18n(f"playground.{what}.none")}</p>'
