"""A file of one's own cases (spreadsheet, CSV, JSONL) becomes a suite in the data folder."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from arena._language import language_of
from evaluators.suites.case_files import read_rows
from evaluators.suites.catalogue import OWN, STARTER
from evaluators.suites.definition import MOST_LETTERS, NAMES, Definition, Suite, load_suite
from evaluators.suites.errors import SuiteError
from evaluators.suites.items import BadItem, Item, check_items, explained, write_items
from evaluators.suites.scorers import scorer_named
from evaluators.suites.scorers.text import has_hangul

# What people call the columns, in the order in which a name is looked for.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "input": (
        "input",
        "prompt",
        "question",
        "instruction",
        "query",
        "text",
        "입력",
        "질문",
        "프롬프트",
        "문제",
    ),
    "target": (
        "target",
        "answer",
        "expected",
        "output",
        "reference",
        "label",
        "gold",
        "정답",
        "답",
        "기대값",
        "출력",
    ),
    "id": ("id", "key", "번호"),
    "language": ("language", "lang", "언어"),
    "category": ("category", "topic", "type", "분류", "범주", "유형"),
    "group": ("group", "그룹", "묶음"),
    "choices": ("choices", "options", "보기", "선택지"),
}
LISTS = ("targets", "answers", "choices", "references", "tags", "labels")
"""Fields that hold several texts: in a cell they are JSON, or divided by `|`."""
TELLING = 60
"""Characters from which on a text's language can be told by itself."""


def add_suite(
    file: Path,
    data_dir: Path,
    *,
    name: str | None = None,
    scorer: str | None = None,
    columns: Mapping[str, str] | None = None,
    prompt: str | None = None,
    options: Mapping[str, Any] | None = None,
    replace: bool = False,
) -> Suite:
    """Make a suite of a CSV, TSV, XLSX, JSON or JSONL file, or take in a suite's folder or YAML as it is.

    `columns` says which column is which field ({"input": "Frage"}); others are found by their usual names (English
    and Korean), and the rest is kept under its own name, for prompts. Without `scorer`, items with choices are scored
    by letter, with a column `answers` by containment, and others by normalised match.

    Raises:
        SuiteError: the file cannot be read, a column is missing, a row is wrong (naming file and line), or a suite of
            the name exists and `replace` is not set.
    """
    if file.is_dir() or file.suffix in (".yaml", ".yml"):
        return _take_in(load_suite(file), data_dir, replace=replace)
    rows = list(read_rows(file))
    if not rows:
        raise SuiteError(f"{file}: there are no rows")
    known = list(dict.fromkeys(key for _, row in rows for key in row))
    fields = _fields(file, known, columns or {})
    shaped = [(place, _shaped(row, fields, number)) for number, (place, row) in enumerate(rows, start=1)]
    chosen = scorer_named(scorer or _guess(shaped[0][1]))
    first = _first_number(file, shaped)
    _say_languages([row for _, row in shaped])
    for place, row in shaped:
        if "input" not in row and "messages" not in row and prompt is None:
            raise SuiteError(
                f"{place}: there is no input. Columns: {', '.join(known)}. Say which one it is, for example "
                f"--column input={known[0]}"
            )
        _fit(place, row, chosen.name, first)
    try:
        items = check_items(shaped, chosen.fields)
    except BadItem as error:
        raise SuiteError(
            f"{error}. Scorer {chosen.name} reads {', '.join(chosen.fields.model_fields)}; {file.name} has "
            f"{', '.join(_told(field, column) for column, field in fields.items())}: name another column with "
            "--column FIELD=COLUMN, or another scorer with --scorer"
        ) from error
    definition = _definition(name or _name(file), chosen.name, items, prompt, options or {})
    return _write(definition, items, data_dir, replace=replace)


def _told(field: str, column: str) -> str:
    return field if field == column else f"{field} (column {column})"


def _fit(place: str, row: dict[str, Any], scorer: str, first: int) -> None:
    """Put what people write into a row's fields into the form that its scorer reads."""
    if "choices" in row and isinstance(row.get("target"), str):
        row["target"] = _choice(place, row["target"], row["choices"], first)
    if scorer in ("contains", "grounded_answer", "consistency") and "answers" not in row and "target" in row:
        row["answers"] = _listed(row.pop("target"))
    if scorer == "json_fields" and isinstance(row.get("target"), str):
        row["target"] = _json_target(place, row["target"])


def _say_languages(rows: Sequence[dict[str, Any]]) -> None:
    """Give rows without a language theirs. Short texts are told by their letters where they are Korean, else by all of
    them together: one alone ("Question 1?") says too little."""
    unsaid = [row for row in rows if "input" in row and "language" not in row]
    usual = language_of(
        "\n".join(text for row in unsaid if not _is_korean(text := str(row["input"])))[:20_000]
    )
    for row in unsaid:
        text = str(row["input"])
        if _is_korean(text):
            row["language"] = "ko"
        elif len(text) >= TELLING:
            row["language"] = language_of(text)
        else:
            row["language"] = usual if any(letter.isalpha() for letter in text) else ""


def _is_korean(text: str) -> bool:
    letters = [letter for letter in unicodedata.normalize("NFC", text) if letter.isalpha()]
    return sum(has_hangul(letter) for letter in letters) > len(letters) / 2


def _fields(file: Path, known: list[str], columns: Mapping[str, str]) -> dict[str, str]:
    """The field of each column."""
    fields: dict[str, str] = {}
    for field, column in columns.items():
        if column not in known:
            raise SuiteError(f"{file}: there is no column '{column}'; there are {', '.join(known)}")
        fields[column] = field
    by_name = {column.casefold().strip(): column for column in known}
    for field, synonyms in SYNONYMS.items():
        if field in fields.values():
            continue
        found = [by_name[name] for name in synonyms if name in by_name and by_name[name] not in fields]
        if found:
            fields[found[0]] = field
    for column in known:
        fields.setdefault(column, re.sub(r"\W+", "_", column.strip()))
    return fields


def _shaped(row: Mapping[str, Any], fields: Mapping[str, str], number: int) -> dict[str, Any]:
    shaped: dict[str, Any] = {}
    for column, value in row.items():
        field = fields[column]
        if field in LISTS:
            shaped[field] = _listed(value)
        elif isinstance(value, float) and value.is_integer():  # spreadsheets hold whole numbers as such
            shaped[field] = str(int(value))
        elif isinstance(value, dict | list | str | bool) or value is None:
            shaped[field] = value
        else:
            shaped[field] = str(value)
    shaped.setdefault("id", f"{number:04d}")
    return shaped


def _first_number(file: Path, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> int:
    """Whether a file numbers its choices from 0 or from 1: from 0 where a 0 occurs, from 1 where a number is as large
    as there are choices. Where neither does, programs (JSON) count from 0 and people from 1."""
    numbered = [
        (int(target), len(row["choices"]))
        for _, row in rows
        if "choices" in row and (target := str(row.get("target", "")).strip()).isdigit()
    ]
    if any(number == 0 for number, _ in numbered):
        return 0
    if any(number == count for number, count in numbered):
        return 1
    return 0 if file.suffix.lower() in (".json", ".jsonl", ".ndjson") else 1


def _choice(place: str, target: str, choices: list[Any], first: int) -> str:
    """The right choice by its text, its letter or its number, counted from `first`."""
    texts = [str(choice) for choice in choices]
    stripped = target.strip()
    if stripped in texts:
        return stripped
    if re.fullmatch(r"[A-Za-z]", stripped) and ord(stripped.upper()) - 65 < len(texts):
        return texts[ord(stripped.upper()) - 65]
    if stripped.isdigit() and first <= int(stripped) < len(texts) + first:
        return texts[int(stripped) - first]
    raise SuiteError(
        f"{place}: the answer '{target}' is none of the choices ({', '.join(texts)}): write its text, its letter or "
        f"its number (counted from {first} in this file)"
    )


def _listed(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return list(value)
    text = str(value).strip()
    if text.startswith("["):
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if isinstance(found, list):
            return found
    return [part.strip() for part in text.split("|") if part.strip()]


def _json_target(place: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise SuiteError(f"{place}: scorer json_fields wants a JSON object as target: {error}") from error


def _guess(row: Mapping[str, Any]) -> str:
    if "choices" in row:
        return "choice_letter"
    if "answers" in row:
        return "contains"
    return "normalised"


def _name(file: Path) -> str:
    # Names of files come decomposed from some systems: one suite, one spelling.
    name = re.sub(r"[^\w-]+", "-", unicodedata.normalize("NFC", file.stem)).strip("-_")[:MOST_LETTERS]
    if not name:
        raise SuiteError(f"{file}: give the suite a name (--name): {NAMES}")
    return name


def _definition(
    name: str, scorer: str, items: list[Item], prompt: str | None, options: Mapping[str, Any]
) -> Definition:
    raw: dict[str, Any] = {"suite": name, "scorer": scorer, "scorer_options": dict(options)}
    if prompt is not None:
        raw["prompt"] = prompt
    elif scorer == "choice_letter":
        raw["prompt"] = {
            "en": "{{ input }}\n\n{{ lettered }}\n\nAnswer with the letter of the right choice alone.",
            "ko": "{{ input }}\n\n{{ lettered }}\n\n맞는 보기의 글자 하나로만 답하세요.",
        }
    elif scorer == "label":
        raw["prompt"] = {
            "en": "{{ input }}\n\nAnswer with one of: {{ labels | join(', ') }}",
            "ko": "{{ input }}\n\n다음 중 하나로만 답하세요: {{ labels | join(', ') }}",
        }
    if scorer == "label":
        raw["labels"] = sorted({str(item.values["target"]) for item in items})
    try:
        return Definition.model_validate(raw)
    except ValidationError as error:
        raise SuiteError(explained(error)) from error


def _take_in(suite: Suite, data_dir: Path, *, replace: bool) -> Suite:
    return _write(suite.definition, list(suite.items), data_dir, replace=replace, tools=suite.tools)


def _write(
    definition: Definition,
    items: list[Item],
    data_dir: Path,
    *,
    replace: bool,
    tools: Mapping[str, dict[str, Any]] | None = None,
) -> Suite:
    folder = data_dir / OWN / definition.suite
    if not replace and (folder.exists() or (STARTER / definition.suite).exists()):
        raise SuiteError(
            f"there is a suite '{definition.suite}' already: give yours another name (--name), or put it in the place "
            "of that one (--replace)"
        )
    # Checked before anything is written: nothing half-made or broken takes the place of what works.
    Suite(definition, tuple(items), folder, tools=tools).check(items)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("items*.jsonl"):
        old.unlink()
    write_items(folder / "items.jsonl", items)
    if tools is not None:
        lines = [json.dumps(tool, ensure_ascii=False) for tool in tools.values()]
        (folder / "tools.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = yaml.safe_dump(
        definition.model_dump(mode="json", exclude_defaults=True), allow_unicode=True, sort_keys=False
    )
    (folder / f"{definition.suite}.yaml").write_text(text, encoding="utf-8")
    return load_suite(folder)
