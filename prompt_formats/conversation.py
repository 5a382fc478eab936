"""Conversations: the one shape in which every part of Palaestra holds what was said."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict

Role = Literal["system", "user", "assistant", "tool"]


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
        """The message as chat templates and OpenAI-compatible servers expect it: absent fields are left out."""
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
