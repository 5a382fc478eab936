"""Items: the test cases of a suite, one JSON object a line. The format is described in docs/suites.md."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from evaluators.suites.case_files import json_row
from evaluators.suites.errors import SuiteError

DIFFICULTIES = ("easy", "medium", "hard", "")
"""What items may be tagged as; '' for those that are not."""


_OURS = "Value error, "
"""What pydantic puts before the messages of our own checks."""


class BadItem(SuiteError):
    """An item lacks a field that its scorer reads, or holds a wrong one."""


class Item(BaseModel):
    """One test case. Further keys are kept: prompts and scorers read them (`values`).

    `group` names the cluster of items that hang together (paraphrases of one question, questions on one
    document): standard errors and paired comparisons treat a group as one draw.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    id: str = Field(min_length=1, max_length=200)
    language: str = Field(default="", max_length=16)
    category: str = ""
    group: str | None = None
    tags: tuple[str, ...] = ()
    input: str | None = None
    messages: tuple[dict[str, Any], ...] | None = None

    @field_validator("id", "category", "group", mode="before")
    @classmethod
    def _numbers_are_names(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @property
    def values(self) -> dict[str, Any]:
        """All fields that are set, by name."""
        return self.model_dump(exclude_none=True)

    @property
    def difficulty(self) -> str:
        """The tag that says how difficult its author expected it to be."""
        return next((tag for tag in self.tags if tag in DIFFICULTIES), "")

    @property
    def digest(self) -> str:
        """SHA-256 over the whole item; any edit makes another one."""
        text = json.dumps(self.values, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def read_items(path: Path, needed: type[BaseModel] | None = None) -> list[Item]:
    """The items of a JSONL file, in order.

    `needed` is the model of the fields that the suite's scorer reads: every item is checked against it.
    Raises SuiteError naming file and line for what is no JSON object, for missing or wrong fields, and for an
    id that stands twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(f"{path}: cannot be read: {error}") from error
    return check_items(_objects(path, text), needed)


def check_items(
    rows: Iterable[tuple[str, Mapping[str, Any]]], needed: type[BaseModel] | None = None
) -> list[Item]:
    """Items of plain objects, each beside the place it came from (for messages). Raises SuiteError."""
    items: list[Item] = []
    places: dict[str, str] = {}
    for place, row in rows:
        try:
            item = Item.model_validate(row)
            if needed is not None:
                needed.model_validate(item.values)
        except ValidationError as error:
            raise BadItem(f"{place}: {explained(error)}") from error
        if item.id in places:
            raise SuiteError(f"{place}: the id '{item.id}' stands already at {places[item.id]}")
        places[item.id] = place
        items.append(item)
    if not items:
        raise SuiteError("the suite has no items")
    return items


def explained(error: ValidationError) -> str:
    """What pydantic found, in one line."""
    return "; ".join(
        ": ".join(
            filter(None, (".".join(str(part) for part in problem["loc"]), problem["msg"].removeprefix(_OURS)))
        )
        for problem in error.errors()
    )


def write_items(path: Path, items: Sequence[Item]) -> None:
    """Write items as JSONL, UTF-8 without escapes; the file appears in one step."""
    partial = path.with_name(f"new-{path.name}")
    lines = [json.dumps(item.values, ensure_ascii=False) for item in items]
    partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    partial.replace(path)


def _objects(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    # str.splitlines would also break lines at U+2028, which may stand inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        yield place, json_row(place, line)
