"""Conversations: the one shape in which every part of Palaestra holds what was said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from prompt_formats.errors import InvalidInput

Role = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[str, ...] = get_args(Role)

# Names that servers use for one of the four roles; everything else is an error, never a guess.
_ROLE_SYNONYMS = {"developer": "system", "function": "tool"}
_REASONING_SYNONYMS = ("reasoning_content", "thinking", "reasoning")


class Message(BaseModel):
    """One message. `reasoning_content` is the thinking of an assistant, kept apart from what it answered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Role
    content: str = ""
    reasoning_content: str | None = None
    tool_calls: tuple[dict[str, Any], ...] = ()
    tool_call_id: str | None = None
    name: str | None = None

    def as_chat(self) -> dict[str, Any]:
        """The message as chat templates and OpenAI-compatible servers expect it: absent fields are left
        out."""
        chat: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.reasoning_content is not None:
            chat["reasoning_content"] = self.reasoning_content
        if self.tool_calls:
            chat["tool_calls"] = list(self.tool_calls)
        if self.tool_call_id is not None:
            chat["tool_call_id"] = self.tool_call_id
        if self.name is not None:
            chat["name"] = self.name
        return chat


class Conversation(BaseModel):
    """Messages in order. Immutable: adding a message makes a new conversation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    messages: tuple[Message, ...] = ()

    def add(self, role: Role, content: str, **fields: Any) -> Self:
        """This conversation with one more message at its end."""
        return self.model_copy(
            update={"messages": (*self.messages, Message(role=role, content=content, **fields))}
        )

    def as_chat(self) -> list[dict[str, Any]]:
        """The messages as a list of plain dicts (see `Message.as_chat`)."""
        return [message.as_chat() for message in self.messages]

    @classmethod
    def from_chat(cls, messages: Iterable[Mapping[str, Any]]) -> Conversation:
        """Build a conversation from plain dicts as OpenAI-compatible servers and data sets hold them.

        `content` may be null or a list of text parts (joined). `developer` is read as system and `function`
        as tool; `thinking` and `reasoning` as `reasoning_content`. Raises `InvalidInput` naming the message
        for any other role, for parts that are not text, and for fields of the wrong type. Unknown fields are
        refused too: silently losing one would change the prompt.
        """
        return cls(messages=tuple(_message(index, raw) for index, raw in enumerate(messages, start=1)))


def _message(index: int, raw: Mapping[str, Any]) -> Message:
    if not isinstance(raw, Mapping):
        raise InvalidInput(f"message {index}: expected an object with role and content, got {raw!r:.80}")
    fields = dict(raw)
    role = fields.pop("role", None)
    role = _ROLE_SYNONYMS.get(role, role) if isinstance(role, str) else role
    if role not in ROLES:
        raise InvalidInput(f"message {index}: unknown role {role!r}; roles are {', '.join(ROLES)}")
    content = _text(index, fields.pop("content", None))
    for name in _REASONING_SYNONYMS:
        reasoning = fields.pop(name, None)
        if reasoning is not None:
            fields.setdefault("reasoning_content", reasoning)
    given = {key: value for key, value in fields.items() if value is not None}
    try:
        return Message(role=role, content=content, **given)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InvalidInput(f"message {index}: {problems}") from error


def _text(index: int, content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list | tuple):
        parts = []
        for part in content:
            text = part.get("text") if isinstance(part, Mapping) else part
            if not isinstance(text, str):
                raise InvalidInput(f"message {index}: only text parts can be rendered, got {part!r:.80}")
            parts.append(text)
        return "".join(parts)
    raise InvalidInput(f"message {index}: content must be text or a list of text parts, got {content!r:.80}")
