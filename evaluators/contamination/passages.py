"""The texts of suite items that must not be found in training data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from jinja2 import Environment, meta

from evaluators.suites.definition import Definition, Suite
from evaluators.suites.items import Item

Role = Literal["asked", "reference"]

_ABOUT = {
    "id",
    "language",
    "category",
    "group",
    "tags",
    "label_set",
    "labels",
    "check",
    "derived",
    "expected",
}
_ALWAYS_ASKED = {"input", "messages"}
_LONG = 60


@dataclass(frozen=True)
class Passage:
    """One text of an item. `asked`: the suite's prompt shows it; `reference`: answers, choices and the like, of which
    short ones ("Paris") are no evidence."""

    suite: str
    item: str
    item_hash: str
    field: str
    role: Role
    text: str


def passages(suite: Suite) -> list[Passage]:
    """The texts of all items of a suite."""
    asked = asked_fields(suite.definition)
    return [
        Passage(suite.name, item.id, digest, field, "asked" if field in asked else "reference", text)
        for item, digest in ((item, item.digest) for item in suite.items)
        for field, text in _texts(item)
    ]


def asked_fields(definition: Definition) -> frozenset[str]:
    """The fields of an item that the suite's prompt shows."""
    prompt = definition.prompt or ""
    sources = [prompt] if isinstance(prompt, str) else list(prompt.values())
    environment = Environment(autoescape=False)  # noqa: S701  (parsed only, never rendered)
    named = (meta.find_undeclared_variables(environment.parse(source)) for source in sources)
    return frozenset().union(_ALWAYS_ASKED, *named)


def items_digest(suite: Suite) -> str:
    """SHA-256 over what contamination depends on: the items and which of their fields are asked."""
    content = [sorted(asked_fields(suite.definition)), [item.digest for item in suite.items]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def never_texts(suites: Sequence[Suite]) -> frozenset[str]:
    """What may never be a text of a training row: all that items ask, and references that are no mere word or phrase
    (60 characters or more)."""
    return frozenset(
        passage.text
        for suite in suites
        for passage in passages(suite)
        if passage.role == "asked" or len(passage.text) >= _LONG
    )


def _texts(item: Item) -> Iterator[tuple[str, str]]:
    for field, value in item.values.items():
        if field == "messages":
            yield from (("messages", text) for text in _leaves([m.get("content") for m in value]))
        elif field not in _ABOUT:
            yield from ((field, text) for text in _leaves(value))


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if value.strip():
            yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _leaves(each)
    elif isinstance(value, Iterable):
        for each in value:
            yield from _leaves(each)
