"""Answers of models as other tools write them: AlpacaEval's outputs, FastChat's and Arena-Hard's model answers,
OpenAI chat messages.

Sources of the formats: AlpacaEval's `outputs.json`, FastChat's `fastchat/llm_judge` (question.jsonl,
model_answer/*.jsonl), Arena-Hard-Auto 0.1 (`choices`) and 2.0 (`messages`), OpenAI's fine-tuning files.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from results.interchange.errors import BadFile
from results.interchange.reading import BadRow, open_rows
from results.interchange.shapes import Message
from results.interchange.votes import Unusable

ANSWER_FILES = ("alpaca-outputs", "model-answers", "openai-chat")
"""Formats of files of answers."""

_COLUMNS: dict[str, tuple[frozenset[str], ...]] = {
    "alpaca-outputs": (frozenset({"instruction", "output"}),),
    "model-answers": (frozenset({"choices"}),),
    "openai-chat": (frozenset({"messages"}),),
}
_FAILED = "$ERROR$"
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})


class Question(NamedTuple):
    """What was asked under an id: the user's turns."""

    turns: tuple[str, ...]
    category: str


class Answer(NamedTuple):
    """A model's conversation; `model` is None where the row names none."""

    model: str | None
    messages: tuple[tuple[str, str], ...]
    category: str
    language: str

    @property
    def asked(self) -> tuple[tuple[str, str], ...]:
        """Everything that the model did not say: answers to the same are answers to each other's prompt."""
        return tuple(message for message in self.messages if message[0] != "assistant")

    @property
    def prompt(self) -> str:
        """The first thing that the user asked."""
        return next(text for role, text in self.messages if role == "user")

    @property
    def conversation(self) -> str:
        """Canonical JSON of the messages, as conversations of imported battles are stored."""
        messages: list[Message] = [{"role": role, "content": text} for role, text in self.messages]
        return json.dumps(messages, ensure_ascii=False, separators=(",", ":"))


class NoAnswer(Unusable):
    """The row is fine and says that the model gave no answer."""


@dataclass(frozen=True)
class AnswerReader:
    """Reads rows of one format. `questions` are those that rows refer to by id."""

    format: str
    questions: Mapping[str, Question]

    def read(self, values: dict[str, Any]) -> Answer:
        """A row's answer. Raises NoAnswer, and Unusable with the reason."""
        if self.format == "alpaca-outputs":
            answer = _alpaca(values)
        elif self.format == "model-answers":
            answer = self._chosen(values)
        else:
            answer = _chat(values)
        said = [text for role, text in answer.messages if role == "assistant"]
        if not any(role == "user" for role, _ in answer.messages):
            raise Unusable("nothing was asked: there is no user message")
        if answer.messages[-1][0] != "assistant" or _FAILED in said or not all(text.strip() for text in said):
            raise NoAnswer("holds no answer")
        return answer

    def _chosen(self, values: dict[str, Any]) -> Answer:
        """FastChat's and Arena-Hard's row: the answers alone, in turns; what was asked lies in another file."""
        identity = str(values.get("question_id", values.get("uid", "")))
        question = self.questions.get(identity)
        if question is None:
            raise Unusable(f"no question has the id {identity!r}")
        choices = values["choices"]
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            raise Unusable("choices is not a list of answers")
        turns = choices[0].get("turns")
        if not isinstance(turns, list) or len(turns) != len(question.turns):
            count = len(turns) if isinstance(turns, list) else "no"
            raise Unusable(f"has {count} turns where question {identity!r} has {len(question.turns)}")
        messages: list[tuple[str, str]] = []
        for asked, turn in zip(question.turns, turns, strict=True):
            messages += [("user", asked), ("assistant", _said(turn))]
        name = values.get("model_id") or values.get("model")
        return _answer(name, messages, {"category": question.category, **values})


def format_of_answers(name: str, columns: Collection[str], asked: str) -> str:
    """The format of a file with these columns, or the one `asked` for ("auto": recognised). Raises BadFile."""
    if asked != "auto" and asked not in ANSWER_FILES:
        raise BadFile(f"--format {asked}: there are auto, {', '.join(ANSWER_FILES)}")
    for known in ANSWER_FILES if asked == "auto" else (asked,):
        if any(wanted <= set(columns) for wanted in _COLUMNS[known]):
            return known
    if {"turns", "question_id"} <= set(columns):
        raise BadFile(f"{name}: holds questions and no answers; give it as --questions {name}")
    raise BadFile(
        f"{name}: holds no answers that are known here (instruction and output; choices; messages); it has "
        f"{', '.join(columns)}"
    )


def read_questions(path: Path) -> dict[str, Question]:
    """FastChat's or Arena-Hard's question.jsonl by id: `turns` (texts, or objects with `content`), or `prompt`.
    Raises BadFile."""
    found: dict[str, Question] = {}
    with open_rows(path) as rows:
        for row in rows:
            if isinstance(row, BadRow):
                raise BadFile(f"{path.name}: line {row.line}: {row.reason}")
            values = row.values
            turns = values.get("turns", [values["prompt"]] if isinstance(values.get("prompt"), str) else None)
            identity = values.get("question_id", values.get("uid"))
            if identity is None or not isinstance(turns, list) or not turns:
                raise BadFile(
                    f"{path.name}: line {row.line}: a question needs question_id (or uid) and turns"
                )
            found[str(identity)] = Question(tuple(map(_said, turns)), str(values.get("category") or ""))
    return found


def _alpaca(values: dict[str, Any]) -> Answer:
    asked = "\n\n".join(_text(values[name], name) for name in ("instruction", "input") if values.get(name))
    answer = values["output"]
    if answer is None:
        raise NoAnswer("holds no answer")
    return _answer(values.get("generator"), [("user", asked), ("assistant", _text(answer, "output"))], values)


def _chat(values: dict[str, Any]) -> Answer:
    rows = values["messages"]
    if not isinstance(rows, list) or not all(isinstance(each, dict) for each in rows):
        raise Unusable("messages is not a list of messages")
    messages = []
    for each in rows:
        if each.get("role") not in _ROLES:
            raise Unusable(f"a message has the role {str(each.get('role'))[:40]!r}")
        messages.append((str(each["role"]), _said(each.get("content"))))
    # Our own exports name the model beside where the messages come from.
    provenance = values.get("provenance")
    named = provenance.get("model") if isinstance(provenance, dict) else None
    return _answer(values.get("model") or named, messages, values)


def _answer(model: Any, messages: list[tuple[str, str]], values: Mapping[str, Any]) -> Answer:
    try:
        "".join(text for _, text in messages).encode()
    except UnicodeEncodeError as error:
        raise Unusable("has half a character (a lone surrogate) in its text") from error
    name = None if model is None else str(model).strip()
    if name is not None and (not name or not name.isprintable()):
        raise Unusable(f"the model's name {name[:80]!r} is empty or has a control character in it")
    return Answer(name, tuple(messages), str(values.get("category") or ""), str(values.get("language") or ""))


def _said(content: Any) -> str:
    """A text that some tools wrap: in `content`, in `answer` (Arena-Hard), or in text parts (OpenAI)."""
    if isinstance(content, dict):
        content = content.get("content", content.get("answer"))
        return _said(content)
    if isinstance(content, list) and all(
        isinstance(part, dict) and isinstance(part.get("text"), str) for part in content
    ):
        return "\n".join(part["text"] for part in content)
    if content is None:
        raise NoAnswer("holds no answer")
    return _text(content, "content")


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise Unusable(f"{field} is a {type(value).__name__} where text is needed")
    return value
