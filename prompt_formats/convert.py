"""Conversations between the shapes in which the world stores them, without a silent loss.

Shapes: `openai` (messages), `gradio` (Chatbot messages, and the pairs of old versions), `sharegpt`
(`conversations` of from and value), `alpaca` (instruction, input, output, history), `fastchat` (a saved
`Conversation`: roles and [role, text] messages).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from prompt_formats.conversation import Conversation, Message
from prompt_formats.errors import InvalidInput

Shape = Literal["openai", "gradio", "sharegpt", "alpaca", "fastchat"]
SHAPES: tuple[str, ...] = get_args(Shape)

_FROM_SHAREGPT = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant",
    "bard": "assistant", "bing": "assistant", "model": "assistant", "system": "system", "tool": "tool",
    "observation": "tool", "function_call": "call",
}  # fmt: skip
_THINKING_TITLE = "Thinking"


@dataclass(frozen=True)
class Converted:
    """The conversation in its new shape, and what that shape could not hold, one line each."""

    data: Any
    lost: tuple[str, ...]


def convert(data: Any, source: Shape, target: Shape) -> Converted:
    """Convert one conversation. Raises `InvalidInput` where `data` is not of the shape `source`."""
    for shape in (source, target):
        if shape not in SHAPES:
            raise InvalidInput(f"unknown shape {shape!r}; shapes are {', '.join(SHAPES)}")
    lost: list[str] = []
    conversation = read(data, source, lost)
    return Converted(_WRITERS[target](conversation, lost), tuple(lost))


def read(data: Any, source: Shape, lost: list[str] | None = None) -> Conversation:
    """A conversation from `data` of a shape; what the conversation cannot hold is added to `lost`."""
    notes = [] if lost is None else lost
    try:
        return _READERS[source](data, notes)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise InvalidInput(
            f"not a conversation of shape {source}: {type(error).__name__}: {error}"
        ) from error


def _read_openai(data: Any, lost: list[str]) -> Conversation:
    messages = data["messages"] if isinstance(data, Mapping) else data
    if isinstance(data, Mapping):
        lost += [f"{key} beside the messages" for key in data if key != "messages"]
    return Conversation.from_chat(messages)


def _write_openai(conversation: Conversation, lost: list[str]) -> Any:
    return {"messages": conversation.as_chat()}


def _read_gradio(data: Any, lost: list[str]) -> Conversation:
    chat: list[dict[str, Any]] = []
    thoughts: list[str] = []
    for number, item in enumerate(data, start=1):
        if isinstance(item, list | tuple):  # [user, answer] of Gradio before 5
            question, answer = item
            chat += [{"role": "user", "content": question}] if question is not None else []
            chat += [{"role": "assistant", "content": answer}] if answer is not None else []
            continue
        metadata = item.get("metadata") or {}
        if item["role"] == "assistant" and metadata.get("title"):
            if metadata["title"] == _THINKING_TITLE:
                thoughts.append(_gradio_text(item["content"]))
                continue
            lost.append(f"metadata of message {number}: {metadata['title']}")
        if item.get("options"):
            lost.append(f"options of message {number}")
        message = {"role": item["role"], "content": _gradio_text(item["content"])}
        if thoughts and item["role"] == "assistant":
            message["reasoning_content"] = "\n".join(thoughts)
            thoughts = []
        chat.append(message)
    if thoughts:
        chat.append({"role": "assistant", "content": "", "reasoning_content": "\n".join(thoughts)})
    return Conversation.from_chat(chat)


def _gradio_text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(p, str) or "text" in p for p in content):
        return "".join(p if isinstance(p, str) else p["text"] for p in content)
    raise InvalidInput(f"only text of a Gradio chat can be converted, got {content!r:.80}")


def _write_gradio(conversation: Conversation, lost: list[str]) -> Any:
    chat: list[dict[str, Any]] = []
    for number, message in enumerate(conversation.messages, start=1):
        if message.role == "tool":
            lost.append(f"message {number}: a tool message became an assistant message titled Tool")
            chat.append({"role": "assistant", "content": message.content, "metadata": {"title": "Tool"}})
            continue
        if message.reasoning_content is not None:
            title = {"title": _THINKING_TITLE}
            chat.append({"role": "assistant", "content": message.reasoning_content, "metadata": title})
        _lose(message, number, lost, tool_calls="tool calls", name="name")
        chat.append({"role": message.role, "content": message.content})
    return chat


def _read_sharegpt(data: Any, lost: list[str]) -> Conversation:
    turns = data["conversations"] if isinstance(data, Mapping) else data
    chat: list[dict[str, Any]] = []
    if isinstance(data, Mapping):
        lost += [f"{key} beside the conversations" for key in data if key not in ("conversations", "system")]
        if data.get("system"):
            chat.append({"role": "system", "content": data["system"]})
    for number, turn in enumerate(turns, start=1):
        role = _FROM_SHAREGPT.get(str(turn["from"]).lower())
        if role is None:
            raise InvalidInput(f"turn {number}: unknown speaker {turn['from']!r}")
        if role == "call":
            try:
                call = json.loads(turn["value"])
            except ValueError as error:
                raise InvalidInput(f"turn {number}: the function call is not JSON: {error}") from error
            calls = [{"type": "function", "function": call}]
            chat.append({"role": "assistant", "content": "", "tool_calls": calls})
        else:
            chat.append({"role": role, "content": turn["value"]})
    return Conversation.from_chat(chat)


def _write_sharegpt(conversation: Conversation, lost: list[str]) -> Any:
    names = {"user": "human", "assistant": "gpt", "system": "system", "tool": "observation"}
    turns: list[dict[str, str]] = []
    for number, message in enumerate(conversation.messages, start=1):
        _lose(message, number, lost, tool_call_id="id of the tool call", name="name")
        text = message.content
        if message.reasoning_content is not None:
            lost.append(f"message {number}: thinking is inline, between <think> marks")
            text = f"<think>\n{message.reasoning_content}\n</think>\n\n{text}"
        if text or not message.tool_calls:
            turns.append({"from": names[message.role], "value": text})
        for call in message.tool_calls:
            body = call.get("function", call)
            lost += [f"message {number}: {key} of the tool call" for key in call if key in ("id",)]
            turns.append({"from": "function_call", "value": json.dumps(body, ensure_ascii=False)})
    return {"conversations": turns}


def _read_alpaca(data: Any, lost: list[str]) -> Conversation:
    known = {"instruction", "input", "output", "system", "history"}
    lost += [f"{key} beside the instruction" for key in data if key not in known]
    conversation = Conversation()
    if data.get("system"):
        conversation = conversation.add("system", data["system"])
    for question, answer in data.get("history") or []:
        conversation = conversation.add("user", question).add("assistant", answer)
    question = data["instruction"]
    if data.get("input"):
        # Alpaca has no rule of its own for the seam; a blank line is what its trainers use.
        question = f"{question}\n\n{data['input']}"
        lost.append("the border between instruction and input")
    conversation = conversation.add("user", question)
    return conversation.add("assistant", data["output"]) if data.get("output") else conversation


def _write_alpaca(conversation: Conversation, lost: list[str]) -> Any:
    system = [m.content for m in conversation.messages if m.role == "system"]
    if len(system) > 1:
        lost.append("the places of later system messages")
    pairs: list[list[str]] = []
    for number, message in enumerate(conversation.messages, start=1):
        _lose(message, number, lost, tool_calls="tool calls", reasoning_content="thinking", name="name")
        if message.role == "user":
            pairs.append([message.content, ""])
        elif message.role == "assistant":
            if not pairs or pairs[-1][1]:
                lost.append(f"message {number}: an answer without a question of its own")
                pairs.append(["", message.content])
            else:
                pairs[-1][1] = message.content
        elif message.role == "tool":
            lost.append(f"message {number}: a tool message")
    if not pairs:
        raise InvalidInput("an Alpaca record needs at least one user message")
    record: dict[str, Any] = {"instruction": pairs[-1][0], "input": "", "output": pairs[-1][1]}
    if system:
        record["system"] = "\n\n".join(system)
    if pairs[:-1]:
        record["history"] = pairs[:-1]
    return record


def _read_fastchat(data: Any, lost: list[str]) -> Conversation:
    first, second = data["roles"][:2]
    known = {"template_name", "system_message", "roles", "messages", "offset"}
    lost += [f"{key} beside the messages" for key in data if key not in known]
    if data.get("offset"):
        lost.append("offset: the first messages were examples that are not shown")
    conversation = Conversation()
    if data.get("system_message"):
        conversation = conversation.add("system", data["system_message"])
    for number, (role, text) in enumerate(data["messages"], start=1):
        if role not in (first, second):
            raise InvalidInput(f"message {number}: unknown role {role!r}; roles are {first!r} and {second!r}")
        if text is None:  # the answer that was to come
            continue
        conversation = conversation.add("user" if role == first else "assistant", text)
    return conversation


def _write_fastchat(conversation: Conversation, lost: list[str]) -> Any:
    head = conversation.messages[:1]
    system = head[0].content if head and head[0].role == "system" else ""
    messages: list[list[str]] = []
    for number, message in enumerate(conversation.messages, start=1):
        _lose(message, number, lost, tool_calls="tool calls", reasoning_content="thinking", name="name")
        if message.role in ("user", "assistant"):
            messages.append([message.role, message.content])
        elif not (number == 1 and message.role == "system"):
            lost.append(f"message {number}: a {message.role} message")
    return {
        "template_name": "one_shot",
        "system_message": system,
        "roles": ["user", "assistant"],
        "messages": messages,
        "offset": 0,
    }


def _lose(message: Message, number: int, lost: list[str], **fields: str) -> None:
    lost += [f"message {number}: {what}" for name, what in fields.items() if getattr(message, name)]


_READERS: dict[str, Callable[[Any, list[str]], Conversation]] = {
    "openai": _read_openai,
    "gradio": _read_gradio,
    "sharegpt": _read_sharegpt,
    "alpaca": _read_alpaca,
    "fastchat": _read_fastchat,
}
_WRITERS: dict[str, Callable[[Conversation, list[str]], Any]] = {
    "openai": _write_openai,
    "gradio": _write_gradio,
    "sharegpt": _write_sharegpt,
    "alpaca": _write_alpaca,
    "fastchat": _write_fastchat,
}
