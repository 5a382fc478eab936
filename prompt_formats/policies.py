"""What to do where a family knows no system message or wants strict turns. Applied only when asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Literal

from prompt_formats.conversation import Conversation, Message
from prompt_formats.errors import InvalidInput
from prompt_formats.prompt_format import AlternationPolicy, SystemPolicy

ControlTextPolicy = Literal["keep", "reject", "escape"]

_JOIN = "\n\n"
_ZERO_WIDTH = "\u200b"


def apply_system(conversation: Conversation, policy: SystemPolicy) -> tuple[Conversation, tuple[str, ...]]:
    """Apply a system policy; returns the conversation and notes on what changed.

    `native` leaves it, `merge_first` and `merge_last` put the system text before the first or last user
    message (a system message later in the conversation goes to the user message after it), `none` leaves it
    out.
    """
    if policy == "native" or not any(m.role == "system" for m in conversation.messages):
        return conversation, ()
    head, rest = _split_head(conversation.messages)
    if policy == "none":
        kept = tuple(m for m in rest if m.role != "system")
        return Conversation(messages=kept), ("system: left out, the policy is none",)
    notes = [f"system: merged into the {'first' if policy == 'merge_first' else 'last'} user message"]
    messages = list(_merge_later_system(rest))
    if sum(m.role == "system" for m in rest):
        notes.append("system: a later system message was merged into the user message after it")
    text = _JOIN.join(m.content for m in head if m.content)
    users = [index for index, m in enumerate(messages) if m.role == "user"]
    if not head or not text:
        return Conversation(messages=tuple(messages)), tuple(notes)
    if not users:
        messages.insert(0, Message(role="user", content=text))
    else:
        index = users[0] if policy == "merge_first" else users[-1]
        messages[index] = _with_text(messages[index], text + _JOIN + messages[index].content)
    return Conversation(messages=tuple(messages)), tuple(notes)


def apply_alternation(
    conversation: Conversation, policy: AlternationPolicy
) -> tuple[Conversation, tuple[str, ...]]:
    """Apply an alternation policy; returns the conversation and notes.

    `free` leaves it, `merge` joins neighbours of one role (user or assistant without tool calls), `strict`
    raises `InvalidInput` naming the first message out of turn.
    """
    if policy == "free":
        return conversation, ()
    merged: list[Message] = []
    notes: list[str] = []
    for number, message in enumerate(conversation.messages, start=1):
        last = merged[-1] if merged else None
        if last is None or last.role != message.role or message.role not in ("user", "assistant"):
            merged.append(message)
            continue
        if policy == "strict":
            raise InvalidInput(
                f"message {number}: two {message.role} messages in a row; turns must alternate"
            )
        if last.tool_calls or message.tool_calls:
            merged.append(message)
            continue
        notes.append(f"alternation: message {number} was joined to the {message.role} message before it")
        merged[-1] = _with_text(last, last.content + _JOIN + message.content)
    if not notes:
        return conversation, ()
    return Conversation(messages=tuple(merged)), tuple(notes)


@lru_cache(maxsize=256)
def _pattern(texts: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, texts)) or "(?!)")


def find_control_texts(conversation: Conversation, texts: tuple[str, ...]) -> list[tuple[int, str]]:
    """(message number, control text) for each of `texts` (longest first) that system, user or tool messages
    hold."""
    pattern = _pattern(texts)
    found: list[tuple[int, str]] = []
    for number, message in enumerate(conversation.messages, start=1):
        if message.role != "assistant":
            found += [(number, text) for text in dict.fromkeys(pattern.findall(message.content))]
    return found


def list_control_texts(found: list[tuple[int, str]]) -> str:
    """The first few of what was found, for people."""
    listed = ", ".join(f"{text!r} in message {number}" for number, text in found[:5])
    return listed + (f" and {len(found) - 5} more" if len(found) > 5 else "")


def apply_control_text(
    conversation: Conversation, texts: tuple[str, ...], policy: ControlTextPolicy | None
) -> tuple[Conversation, tuple[str, ...]]:
    """For string-only endpoints: control texts typed by people are kept and logged (default), refused, or
    escaped.

    Escaping puts a zero-width space after the first character, which no tokenizer reads as the control token.
    Raises `InvalidInput` under `reject`.
    """
    found = find_control_texts(conversation, texts)
    if not found:
        return conversation, ()
    listed = list_control_texts(found)
    if policy == "reject":
        raise InvalidInput(f"control text of the prompt format in the conversation: {listed}; take it out")
    if policy != "escape":
        return conversation, (f"control_text: kept as typed: {listed}",)

    pattern = _pattern(texts)

    def escape(message: Message) -> Message:
        if message.role == "assistant":
            return message
        return _with_text(message, pattern.sub(lambda m: m[0][0] + _ZERO_WIDTH + m[0][1:], message.content))

    return _map(conversation, escape), (f"control_text: escaped: {listed}",)


def _map(conversation: Conversation, change: Callable[[Message], Message]) -> Conversation:
    return Conversation(messages=tuple(change(message) for message in conversation.messages))


def _split_head(messages: tuple[Message, ...]) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    count = next((i for i, m in enumerate(messages) if m.role != "system"), len(messages))
    return messages[:count], messages[count:]


def _merge_later_system(messages: Iterable[Message]) -> Iterable[Message]:
    waiting: list[str] = []
    for message in messages:
        if message.role == "system":
            waiting.append(message.content)
        elif message.role == "user" and waiting:
            yield _with_text(message, _JOIN.join((*waiting, message.content)))
            waiting = []
        else:
            yield message
    if waiting:
        yield Message(role="user", content=_JOIN.join(waiting))


def _with_text(message: Message, content: str) -> Message:
    return message.model_copy(update={"content": content})
