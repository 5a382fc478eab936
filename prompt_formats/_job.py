"""One rendering of messages: marks on control tokens, the template, the ids."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prompt_formats.conversation import Conversation
from prompt_formats.environment import Rendering, plain_data, render_template
from prompt_formats.mistral_ids import encode as encode_mistral
from prompt_formats.prompt_format import PromptFormat
from prompt_formats.sandbox import Limits, render_untrusted
from prompt_formats.thinking import write_inline
from prompt_formats.tokenizer import ChatTokenizer, Encoded, mark


@dataclass(frozen=True)
class Job:
    """One rendering: everything but the messages."""

    form: PromptFormat
    tokenizer: ChatTokenizer | None
    add_generation_prompt: bool
    continue_final_message: bool
    tools: Sequence[Mapping[str, Any]] | None
    documents: Sequence[Mapping[str, Any]] | None
    kwargs: Mapping[str, Any]
    now: datetime
    bos: str | None
    eos: str | None
    limits: Limits | None
    track_generation: bool = False
    encoder: str | None = None
    offsets: bool = False

    def run(self, conversation: Conversation) -> tuple[str, Rendering, Encoded | None]:
        """The text, the raw rendering (marks and spans included), and the ids where there is a tokenizer."""
        messages: Any = _with_read_arguments(conversation.as_chat())
        template = self.form.template
        if self.tools and self.form.tool_template:
            template = self.form.tool_template
        extra: Any = {"tools": self.tools, "documents": self.documents, **self.kwargs}
        if not self.form.trusted or self.tools or self.documents or self.kwargs:
            extra = plain_data(extra)
        if self.tokenizer is not None:
            tokens = self.tokenizer.control_tokens(template)
            messages, extra = mark(messages, tokens), mark(extra, tokens)
        messages = write_inline(messages, self.form.thinking)
        specials = dict(self.tokenizer.special_tokens) if self.tokenizer is not None else {}
        specials["bos_token"] = first(self.bos, self.form.bos, specials.get("bos_token"))
        specials["eos_token"] = first(self.eos, self.form.eos, specials.get("eos_token"))
        context = {
            **self.form.variables,
            **specials,
            "add_generation_prompt": self.add_generation_prompt,
            **extra,
            "messages": messages,
        }
        options: dict[str, Any] = {
            "now": self.now,
            "continue_final_message": self.continue_final_message,
            "track_generation": self.track_generation,
        }
        if self.form.trusted:
            rendering = render_template(template, context, **options)
        else:
            rendering = render_untrusted(template, plain_data(context), limits=self.limits, **options)
        if self.encoder is not None:
            ids = encode_mistral(
                self.encoder,
                conversation,
                continue_final_message=self.continue_final_message,
                tools=self.tools,
            )
            return rendering.text, rendering, Encoded(ids)
        if self.tokenizer is None:
            return rendering.text, rendering, None
        text, encoded = self.tokenizer.encode_marked(rendering.text, offsets=self.offsets)
        return text, rendering, encoded

    def count(self, conversation: Conversation) -> int:
        """Ids of the rendered conversation."""
        _, _, encoded = self.run(conversation)
        assert encoded is not None
        return len(encoded.ids)


def _with_read_arguments(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Arguments of tool calls as objects: servers hold them as JSON text, which templates would quote again."""
    if not any("tool_calls" in message for message in messages):
        return messages
    return [
        {**message, "tool_calls": [_read_arguments(call) for call in message["tool_calls"]]}
        if "tool_calls" in message
        else message
        for message in messages
    ]


def _read_arguments(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    arguments = function.get("arguments") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(arguments, str):
        return call
    try:
        read = json.loads(arguments)
    except ValueError:
        return call  # a model may write anything: then the text stands as it is
    return {**call, "function": {**function, "arguments": read}} if isinstance(read, dict) else call


def first(*values: str | None) -> str:
    return next((value for value in values if value), "")
