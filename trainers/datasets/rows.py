"""Rows of training data: what each kind of dataset holds, checked row by row."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from prompt_formats import Conversation
from prompt_formats.errors import InvalidInput
from results.store.datasets import DatasetKind

Messages = list[dict[str, Any]]

_TRUE = {"true", "1", "yes", "good", "chosen", "desirable"}
_FALSE = {"false", "0", "no", "bad", "rejected", "undesirable"}


def _messages(value: Any) -> Messages:
    """Messages in one spelling of roles and fields; raises ValueError naming the message that is wrong."""
    if not isinstance(value, list):
        raise ValueError(f"must be a list of messages, not {type(value).__name__}")
    try:
        return Conversation.from_chat(value).as_chat()
    except InvalidInput as error:
        raise ValueError(str(error)) from None


def _truth(value: Any) -> Any:
    """Labels as files write them: true, 1, "good"."""
    word = str(value).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(f"must be true or false (or 1/0, good/bad), not {value!r}")


MessageList = Annotated[Messages, BeforeValidator(_messages)]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    provenance: dict[str, Any] | None = None

    def content(self) -> dict[str, Any]:
        """The row without where it comes from: what makes two rows the same."""
        return self.model_dump(mode="json", exclude={"provenance"}, exclude_none=True)

    def digest(self) -> str:
        """SHA-256 of the content."""
        return _hash(self.content())

    def split_key(self) -> str:
        """What must not lie in both parts of a split: the hash of the prompt."""
        return _hash(self._asked())

    def _asked(self) -> Any:
        raise NotImplementedError

    def texts(self) -> list[str]:
        """Every text of the row, in order: for statistics and overlap checks."""
        raise NotImplementedError


class ChatRow(_Row):
    """A conversation to learn the answers of. `tools` are the functions that the system offered."""

    messages: MessageList
    tools: list[dict[str, Any]] | None = None

    @model_validator(mode="after")
    def _answered(self) -> Self:
        _require_turns(self.messages, "messages")
        if self.messages[-1]["role"] != "assistant":
            raise ValueError("the last message must be the assistant's: there is nothing to learn after it")
        _require_answer(self.messages, "messages")
        return self

    def _asked(self) -> Any:
        return [m for m in self.messages if m["role"] == "user"][:1]

    def texts(self) -> list[str]:
        return [m["content"] for m in self.messages]


class PreferenceRow(_Row):
    """A prompt, the better and the worse answer to it. `margin` (0 to 1) says by how much people agreed."""

    prompt: MessageList
    chosen: MessageList
    rejected: MessageList
    margin: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def _differ(self) -> Self:
        _require_prompt(self.prompt)
        _require_answer(self.chosen, "chosen")
        _require_answer(self.rejected, "rejected")
        if self.chosen == self.rejected:
            raise ValueError("chosen and rejected are equal")
        return self

    def _asked(self) -> Any:
        return self.prompt

    def texts(self) -> list[str]:
        return [m["content"] for m in (*self.prompt, *self.chosen, *self.rejected)]


class KtoRow(_Row):
    """A prompt, an answer, and whether that is wanted."""

    prompt: MessageList
    completion: MessageList
    label: Annotated[bool, BeforeValidator(_truth)]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        _require_prompt(self.prompt)
        _require_answer(self.completion, "completion")
        return self

    def _asked(self) -> Any:
        return self.prompt

    def texts(self) -> list[str]:
        return [m["content"] for m in (*self.prompt, *self.completion)]


class TextRow(_Row):
    """Plain text to go on learning the language of."""

    text: str = Field(min_length=1)

    def _asked(self) -> Any:
        return self.text

    def texts(self) -> list[str]:
        return [self.text]


class LabelledRow(_Row):
    """A text and its class."""

    text: str = Field(min_length=1)
    label: str = Field(min_length=1)

    def _asked(self) -> Any:
        return self.text

    def texts(self) -> list[str]:
        return [self.text]


class PromptRow(_Row):
    """A prompt without an answer: the model in training answers, and a teacher or a reward model judges."""

    prompt: MessageList

    @model_validator(mode="after")
    def _asks(self) -> Self:
        _require_prompt(self.prompt)
        return self

    def _asked(self) -> Any:
        return self.prompt

    def texts(self) -> list[str]:
        return [m["content"] for m in self.prompt]


Row = ChatRow | PreferenceRow | KtoRow | TextRow | LabelledRow | PromptRow

ROW_OF: dict[DatasetKind, type[Row]] = {
    "chat": ChatRow,
    "preference": PreferenceRow,
    "kto": KtoRow,
    "text": TextRow,
    "labelled": LabelledRow,
    "prompts": PromptRow,
}
"""The shape of a row, by kind of dataset."""

Split = Literal["train", "held_out"]


def _require_turns(messages: Messages, where: str) -> None:
    if not any(m["role"] == "user" and m["content"].strip() for m in messages):
        raise ValueError(f"{where}: no user message with text")


def _require_prompt(messages: Messages) -> None:
    _require_turns(messages, "prompt")
    if messages[-1]["role"] not in ("user", "tool"):
        raise ValueError("prompt: its last message must be the user's, the answer comes after it")


def _require_answer(messages: Messages, where: str) -> None:
    answers = [m for m in messages if m["role"] == "assistant"]
    if not answers:
        raise ValueError(f"{where}: no assistant message")
    if not all(m["content"].strip() or m.get("tool_calls") for m in answers):
        raise ValueError(f"{where}: an assistant message is empty")


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False, sort_keys=True).encode()).hexdigest()
