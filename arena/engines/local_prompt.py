"""A conversation becomes the ids that the model sees. Runs in worker processes only."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jinja2.exceptions import TemplateError

from prompt_formats.conversation import Conversation


class CannotRender(Exception):
    """The model's template cannot take this conversation; the message is for people."""


@dataclass(frozen=True)
class Rendered:
    """A prompt: its text, the ids sent to the model, and how it was made."""

    text: str
    ids: list[int]
    log: dict[str, Any]


def render(tokenizer: Any, conversation: Conversation, adapter_template: str | None = None) -> Rendered:
    """The conversation by the template saved beside the adapter, or else the tokenizer's own chat template.

    Control tokens that a person typed stay text: they do not become control tokens in `ids`.
    Raises `CannotRender` where the model has no chat template, or its template refuses the conversation.
    """
    template = adapter_template or tokenizer.chat_template
    if template is None:
        raise CannotRender(
            "this model has no chat template (a base model, or its tokenizer_config.json or "
            "chat_template.jinja is missing): send raw text, or set a prompt format"
        )
    clock = datetime.now(UTC)
    messages = conversation.as_chat()
    try:
        text = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, chat_template=adapter_template
        )
        ids = tokenizer.apply_chat_template(
            messages,
            tokenize=True,
            add_generation_prompt=True,
            return_dict=False,
            chat_template=adapter_template,
            sanitize_control_tokens=True,
        )
    except TemplateError as error:
        raise CannotRender(f"the model's chat template refuses this conversation: {error}") from error
    naive = tokenizer(text, add_special_tokens=False)["input_ids"]
    log = {
        "template": "adapter" if adapter_template else "tokenizer",
        "template_sha256": _template_hash(template),
        "control_tokens_kept_as_text": ids != naive,
        "clock": clock.isoformat(),
    }
    return Rendered(text=text, ids=_one_bos(ids, tokenizer.bos_token_id), log=log)


def encode_text(tokenizer: Any, text: str) -> Rendered:
    """Raw text as it stands: control tokens in it are control tokens; the tokenizer adds its BOS if any."""
    ids = tokenizer(text, add_special_tokens=True)["input_ids"]
    if len(ids) > 1 and ids[-1] == tokenizer.eos_token_id and not text.endswith(str(tokenizer.eos_token)):
        ids = ids[:-1]  # an end-of-text that the tokenizer appended would end the answer before it began
    log = {"template": None, "clock": datetime.now(UTC).isoformat()}
    return Rendered(text=text, ids=_one_bos(ids, tokenizer.bos_token_id), log=log)


def _one_bos(ids: list[int], bos: int | None) -> list[int]:
    """The same ids without a second BOS at their beginning (a template and a tokenizer that both add one)."""
    start = 0
    while bos is not None and ids[start : start + 2] == [bos, bos]:
        start += 1
    return ids[start:]


def _template_hash(template: str | Mapping[str, str]) -> str:
    text = (
        template if isinstance(template, str) else "\n".join(f"{k}\n{v}" for k, v in sorted(template.items()))
    )
    return hashlib.sha256(text.encode()).hexdigest()
