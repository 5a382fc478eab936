"""Thinking in history: taken out of the content where a model wrote it inline, and put where the format wants
it."""

from __future__ import annotations

from typing import Any

from prompt_formats.conversation import Conversation, Message
from prompt_formats.prompt_format import Thinking

_KNOWN_MARKS = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<|channel>thought", "<channel|>"),
    ("<seed:think>", "</seed:think>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
)


def split_inline(content: str, thinking: Thinking) -> tuple[str | None, str]:
    """Split `content` into (thinking, answer); thinking is None where the content does not begin with it.

    The opening mark may be missing: many prompts open the thinking themselves, so that the model only closes
    it. An opened block that never closes is all thinking.
    """
    text = content.lstrip()
    opened = text.startswith(thinking.start)
    if opened:
        text = text[len(thinking.start) :]
    before, mark, after = text.partition(thinking.end)
    if not mark:
        return (text.strip("\n"), "") if opened else (None, content)
    if not opened and thinking.start in before:
        return None, content
    return before.strip("\n"), after.lstrip("\n")


def place_thinking(
    conversation: Conversation, thinking: Thinking | None
) -> tuple[Conversation, tuple[str, ...]]:
    """Move thinking to where the format reads it; returns the conversation and notes on what changed.

    Inline thinking goes to `reasoning_content` (formats with `field: absent` get none at all). Thinking that
    the format cannot show is left out, and the notes say so.
    """
    changed: list[Message] = []
    notes: list[str] = []
    for number, message in enumerate(conversation.messages, start=1):
        if message.role != "assistant":
            changed.append(message)
            continue
        if thinking is None or thinking.field == "absent":
            if message.reasoning_content:
                notes.append(f"thinking: left out of message {number}, the format has no place for it")
                message = message.model_copy(update={"reasoning_content": None})
        elif message.reasoning_content is None:
            reasoning, answer = split_inline(message.content, thinking)
            if reasoning is not None:
                notes.append(f"thinking: moved out of the content of message {number}")
                message = message.model_copy(update={"reasoning_content": reasoning, "content": answer})
        changed.append(message)
    if not notes:
        return conversation, ()
    return Conversation(messages=tuple(changed)), tuple(notes)


def write_inline(messages: list[dict[str, Any]], thinking: Thinking | None) -> list[dict[str, Any]]:
    """For formats whose template reads thinking inside the content: write it there, between the marks.

    Works on the dicts that a template gets, after control tokens typed by people have been marked, so that
    these marks stay control tokens.
    """
    if thinking is None or thinking.field != "inline":
        # gpt-oss and others read the older name; transformers fills it in too.
        return [
            {**m, "thinking": m["reasoning_content"]} if "reasoning_content" in m else m for m in messages
        ]
    written = []
    for message in messages:
        reasoning = message.get("reasoning_content")
        if reasoning and thinking.history != "drop":
            content = f"{thinking.start}\n{reasoning}\n{thinking.end}\n\n{message['content']}"
            message = {**message, "content": content}
        written.append({key: value for key, value in message.items() if key != "reasoning_content"})
    return written


def detect(template: str) -> Thinking | None:
    """How a template that is not ours treats thinking, as far as its text tells."""
    for start, end in _KNOWN_MARKS:
        if start in template or end in template:
            field = "reasoning_content" if "reasoning_content" in template else "absent"
            return Thinking.model_validate(
                {
                    "start": start,
                    "end": end,
                    "field": field,
                    "history": "keep" if field != "absent" else "drop",
                }
            )
    return None
