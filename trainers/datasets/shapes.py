"""The shapes in which the world stores training data, recognised by their fields and read into rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from arena.config import nearest
from prompt_formats.convert import read as read_conversation
from prompt_formats.errors import InvalidInput
from results.store.datasets import DatasetKind

Values = Mapping[str, Any]


class UnknownShape(ValueError):
    """The rows have no shape that is known. The message names the fields found and what would be right."""


@dataclass(frozen=True)
class Shape:
    """One way to store rows: the kind it gives, the fields it is known by, and how a row is read.

    `read` takes a row's values to the fields of that kind's row; it raises ValueError (or `InvalidInput`).
    """

    name: str
    kind: DatasetKind
    needs: tuple[str, ...]
    read: Callable[[Values], dict[str, Any]]


def shape_of(columns: Iterable[str], name: str | None = None) -> Shape:
    """The shape of rows with these fields (the first of `SHAPES` whose fields are all there), or the one of that
    name. Raises `UnknownShape`."""
    found = set(columns)
    if name is not None:
        shape = next((each for each in SHAPES if each.name == name), None)
        if shape is None:
            raise UnknownShape(f"there is no shape '{name}'{nearest(name, [each.name for each in SHAPES])}")
        missing = [field for field in shape.needs if field not in found]
        if missing:
            raise UnknownShape(
                f"shape {name} needs the field(s) {', '.join(missing)}; the file has {', '.join(sorted(found))}. "
                "Name the columns with --map, for example --map prompt=Q --map response=A"
            )
        return shape
    for shape in SHAPES:
        if found.issuperset(shape.needs):
            return shape
    known = "; ".join(f"{each.name}: {' + '.join(each.needs)}" for each in SHAPES)
    raise UnknownShape(
        f"the fields {', '.join(sorted(found)) or '(none)'} fit no known shape ({known}). Name the columns with "
        "--map, for example --map prompt=Q --map response=A"
    )


def _openai(values: Values) -> dict[str, Any]:
    tools = _value(values.get("tools"))
    return {"messages": _value(values["messages"]), **({"tools": tools} if tools else {})}


def _converted(shape: Any) -> Callable[[Values], dict[str, Any]]:
    def read(values: Values) -> dict[str, Any]:
        decoded = {key: _value(value) for key, value in values.items()}
        return {"messages": read_conversation(decoded, shape).as_chat()}

    return read


def _pair(question: str, answer: str) -> Callable[[Values], dict[str, Any]]:
    def read(values: Values) -> dict[str, Any]:
        system = values.get("system")
        head = [{"role": "system", "content": _text(values, "system")}] if system else []
        return {"messages": [*head, *_asked(values[question]), *_answer(values[answer])]}

    return read


def _preference(values: Values) -> dict[str, Any]:
    chosen, rejected = _said(values["chosen"]), _said(values["rejected"])
    margin = {"margin": float(values["margin"])} if values.get("margin") not in (None, "") else {}
    if "prompt" in values and values["prompt"] not in (None, ""):
        prompt = _asked(values["prompt"])
        return {
            "prompt": prompt,
            "chosen": _answer(chosen, prompt),
            "rejected": _answer(rejected, prompt),
            **margin,
        }
    if not (isinstance(chosen, list) and isinstance(rejected, list)):
        raise ValueError(
            "without a prompt, chosen and rejected must be whole conversations (lists of messages)"
        )
    common = 0
    while common < min(len(chosen), len(rejected)) and chosen[common] == rejected[common]:
        common += 1
    while common and chosen[common - 1].get("role") not in ("user", "tool"):
        common -= 1
    return {"prompt": chosen[:common], "chosen": chosen[common:], "rejected": rejected[common:], **margin}


def _openai_preference(values: Values) -> dict[str, Any]:
    asked = _value(values["input"])
    return {
        "prompt": asked["messages"] if isinstance(asked, Mapping) else asked,
        "chosen": _value(values["preferred_output"]),
        "rejected": _value(values["non_preferred_output"]),
    }


def _kto(values: Values) -> dict[str, Any]:
    prompt = _asked(values["prompt"])
    return {"prompt": prompt, "completion": _answer(values["completion"], prompt), "label": values["label"]}


def _labelled(values: Values) -> dict[str, Any]:
    return {"text": _text(values, "text"), "label": _text(values, "label")}


def _plain(values: Values) -> dict[str, Any]:
    return {"text": _text(values, "text")}


def _prompts(values: Values) -> dict[str, Any]:
    return {"prompt": _asked(values["prompt"])}


SHAPES: tuple[Shape, ...] = (
    Shape(
        "openai-preference",
        "preference",
        ("input", "preferred_output", "non_preferred_output"),
        _openai_preference,
    ),
    Shape("preference", "preference", ("chosen", "rejected"), _preference),
    Shape("kto", "kto", ("prompt", "completion", "label"), _kto),
    Shape("openai", "chat", ("messages",), _openai),
    Shape("sharegpt", "chat", ("conversations",), _converted("sharegpt")),
    Shape("alpaca", "chat", ("instruction", "output"), _converted("alpaca")),
    Shape("pairs", "chat", ("prompt", "response"), _pair("prompt", "response")),
    Shape("pairs-completion", "chat", ("prompt", "completion"), _pair("prompt", "completion")),
    Shape("questions", "chat", ("question", "answer"), _pair("question", "answer")),
    Shape("labelled", "labelled", ("text", "label"), _labelled),
    Shape("text", "text", ("text",), _plain),
    Shape("prompts", "prompts", ("prompt",), _prompts),
)
"""Known shapes, the more particular first."""


def _value(value: Any) -> Any:
    """A field of a table may hold JSON."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _text(values: Values, field: str) -> str:
    value = values[field]
    if value is None or isinstance(value, list | dict):
        raise InvalidInput(f"{field} must be text, not {type(value).__name__}")
    return str(value)


def _asked(value: Any) -> list[Any]:
    value = _said(value)
    if isinstance(value, list):
        return value
    if not isinstance(value, str) or not value.strip():
        raise InvalidInput(f"the prompt must be text or a list of messages, not {value!r:.60}")
    return [{"role": "user", "content": value}]


def _answer(value: Any, prompt: Sequence[Any] = ()) -> list[Any]:
    value = _said(value)
    if isinstance(value, list):
        # Some files repeat the prompt at the head of each answer.
        return value[len(prompt) :] if prompt and value[: len(prompt)] == list(prompt) else value
    if not isinstance(value, str):
        raise InvalidInput(f"the answer must be text or a list of messages, not {value!r:.60}")
    return [{"role": "assistant", "content": value}]


def _said(value: Any) -> Any:
    """Messages that a table holds as JSON; any other text, also one that is JSON, is what was said."""
    decoded = _value(value)
    messages = (
        isinstance(decoded, list) and decoded and all(isinstance(m, dict) and "role" in m for m in decoded)
    )
    return decoded if messages else value
