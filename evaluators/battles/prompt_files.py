"""Files of prompts: text lines, JSON objects a line (or one JSON list), FastChat's question.jsonl."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from arena._language import language_of

_TEXT_KEYS = ("prompt", "instruction", "question", "input")
_ID_KEYS = ("id", "question_id", "uid")


class BadPrompts(Exception):
    """A file of prompts cannot be used; the message names file, line and what would be right."""


class Prompt(BaseModel):
    """One prompt: what the user says, turn by turn. `reference` holds a good answer to each turn ('' for none)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1, max_length=200)
    turns: tuple[str, ...] = Field(min_length=1)
    category: str = ""
    language: str = ""
    reference: tuple[str, ...] | None = None


def read_prompts(path: Path) -> list[Prompt]:
    """The prompts of a file, in order.

    `.txt`: every line that is not blank. `.jsonl` and `.json`: objects with `prompt` (or `instruction`,
    `question`), `turns` (a list of the user's messages) or `messages` (user messages only), and where there are
    any `id`, `category`, `language` and `reference` (a text, or a list with one for each turn). Where no language
    is given it is recognised. Raises BadPrompts.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadPrompts(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadPrompts(f"{path}: not UTF-8 (byte {error.start:,}): save it as UTF-8") from error
    prompts: list[Prompt] = []
    places: dict[str, str] = {}
    for place, row in _rows(path, text):
        prompt = _prompt(place, row, len(prompts) + 1)
        if prompt.id in places:
            raise BadPrompts(f"{place}: the id '{prompt.id}' stands already at {places[prompt.id]}")
        places[prompt.id] = place
        prompts.append(prompt)
    if not prompts:
        raise BadPrompts(f"{path}: there is no prompt in it")
    return prompts


def _rows(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    if path.suffix == ".json":
        try:
            rows = json.loads(text)
        except ValueError as error:
            raise BadPrompts(f"{path}: not valid JSON: {error}") from error
        if not isinstance(rows, list):
            raise BadPrompts(
                f"{path}: expected a list of prompts; objects line by line belong in a .jsonl file"
            )
        yield from ((f"{path}, entry {number}", row) for number, row in enumerate(rows, start=1))
        return
    # str.splitlines would also break lines at U+2028, which may stand inside a text.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        if path.suffix not in (".jsonl", ".ndjson"):
            yield place, {"prompt": line.strip()}
            continue
        try:
            yield place, json.loads(line)
        except ValueError as error:
            raise BadPrompts(f"{place}: not valid JSON: {error}") from error


def _prompt(place: str, row: Any, number: int) -> Prompt:
    if isinstance(row, str):
        row = {"prompt": row}
    if not isinstance(row, Mapping):
        raise BadPrompts(f"{place}: expected a JSON object, got {str(row)[:60]}")
    turns = _turns(place, row)
    given = next((row[key] for key in _ID_KEYS if row.get(key) is not None), number)
    return Prompt(
        id=str(given),
        turns=turns,
        category=str(row.get("category") or ""),
        language=str(row.get("language") or language_of(" ".join(turns))),
        reference=_reference(place, row, len(turns)),
    )


def _turns(place: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    if "turns" in row:
        turns = row["turns"]
    elif "messages" in row:
        messages = row["messages"]
        if not isinstance(messages, list) or not all(isinstance(m, Mapping) for m in messages):
            raise BadPrompts(f"{place}: messages must be a list of objects with role and content")
        others = sorted({str(m.get("role")) for m in messages} - {"user"})
        if others:
            raise BadPrompts(
                f"{place}: messages may hold the user's only (found {', '.join(others)}): each model gives its own "
                "answers, and system prompts belong to models"
            )
        turns = [m.get("content") for m in messages]
    else:
        turns = [next((row[key] for key in _TEXT_KEYS if key in row), None)]
    if not isinstance(turns, list) or not turns or not all(isinstance(t, str) and t.strip() for t in turns):
        raise BadPrompts(
            f"{place}: expected a text under prompt, or a list of texts under turns (the keys here: "
            f"{', '.join(map(str, row)) or 'none'})"
        )
    return tuple(turns)


def _reference(place: str, row: Mapping[str, Any], turns: int) -> tuple[str, ...] | None:
    reference = row.get("reference")
    if reference is None or reference == []:
        return None
    texts = [reference] if isinstance(reference, str) else reference
    if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts) or len(texts) > turns:
        raise BadPrompts(
            f"{place}: reference must be a text, or a list of at most {turns} texts, one for each turn"
        )
    return (*texts, *[""] * (turns - len(texts)))
