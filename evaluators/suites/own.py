"""A file of one's own cases (spreadsheet, CSV, JSONL) becomes a suite in the data folder."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from arena._language import language_of
from evaluators.suites.catalogue import OWN
from evaluators.suites.definition import Definition, Suite, load_suite
from evaluators.suites.errors import SuiteError
from evaluators.suites.items import Item, check_items, explained, write_items
from evaluators.suites.scorers import scorer_named

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
_EMPTY_COLUMN = "column {}"


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
    rows = list(_rows(file))
    if not rows:
        raise SuiteError(f"{file}: there are no rows")
    known = list(dict.fromkeys(key for _, row in rows for key in row))
    fields = _fields(file, known, columns or {})
    shaped = [
        (place, _shaped(place, row, fields, number)) for number, (place, row) in enumerate(rows, start=1)
    ]
    chosen = scorer_named(scorer or _guess(shaped[0][1]))
    for place, row in shaped:
        if "input" not in row and "messages" not in row and prompt is None:
            raise SuiteError(
                f"{place}: there is no input. Columns: {', '.join(known)}. Say which one it is, for example "
                f"--column input={known[0]}"
            )
        if "input" in row:
            row.setdefault("language", language_of(str(row["input"])))
        if (
            chosen.name in ("contains", "grounded_answer", "consistency")
            and "answers" not in row
            and "target" in row
        ):
            row["answers"] = _listed(row.pop("target"))
        if chosen.name == "json_fields" and isinstance(row.get("target"), str):
            row["target"] = _json_target(place, row["target"])
    try:
        items = check_items(shaped, chosen.fields)
    except SuiteError as error:
        raise SuiteError(
            f"{error}. Scorer {chosen.name} needs: {', '.join(chosen.fields.model_fields)}; this file gives: "
            f"{', '.join(f'{field} (column {column})' for column, field in fields.items())}"
        ) from error
    definition = _definition(name or _name(file), chosen.name, items, prompt, options or {})
    return _write(definition, items, data_dir, replace=replace)


def _rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row beside the place that it came from."""
    if not file.is_file():
        raise SuiteError(f"{file}: no such file")
    match file.suffix.lower():
        case ".jsonl" | ".ndjson":
            for number, line in enumerate(_text(file).split("\n"), start=1):
                if line.strip():
                    yield f"{file}, line {number}", _json_row(f"{file}, line {number}", line)
        case ".json":
            try:
                rows = json.loads(_text(file))
            except ValueError as error:
                raise SuiteError(f"{file}: not valid JSON: {error}") from error
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise SuiteError(f"{file}: expected a list of objects")
            for number, row in enumerate(rows, start=1):
                yield f"{file}, entry {number}", row
        case ".csv" | ".tsv":
            text = _text(file)
            dialect = "excel-tab" if file.suffix == ".tsv" or "\t" in text.split("\n", 1)[0] else "excel"
            reader = csv.reader(io.StringIO(text, newline=""), dialect=dialect, strict=True)
            yield from _table(file, reader, lambda: reader.line_num)
        case ".xlsx":
            yield from _sheet(file)
        case other:
            raise SuiteError(
                f"{file}: a {other or 'file without an ending'} cannot be read; give .csv, .tsv, .xlsx, .json, .jsonl "
                "or a suite's .yaml"
            )


def _sheet(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        from openpyxl import load_workbook
        from openpyxl.utils.exceptions import InvalidFileException
    except ImportError as error:
        raise SuiteError(f"{file}: spreadsheets need openpyxl: pip install 'palaestra[eval]'") from error
    try:
        book = load_workbook(file, read_only=True, data_only=True)
    except (InvalidFileException, OSError, KeyError, ValueError) as error:
        raise SuiteError(f"{file}: not readable as a spreadsheet: {error}") from error
    try:
        numbers = {"line": 0}

        def cells() -> Iterator[list[Any]]:
            for row in book.worksheets[0].iter_rows(values_only=True):
                numbers["line"] += 1
                yield ["" if cell is None else cell for cell in row]

        yield from _table(file, cells(), lambda: numbers["line"])
    finally:
        book.close()


def _table(file: Path, rows: Iterator[Sequence[Any]], line: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        header = next(rows, None)
        if header is None:
            return
        names = [
            str(cell).strip() or _EMPTY_COLUMN.format(place) for place, cell in enumerate(header, start=1)
        ]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise SuiteError(f"{file}, line 1: two columns are named '{twice}'")
        for row in rows:
            if not any(str(cell).strip() for cell in row):
                continue
            if len(row) > len(names):
                raise SuiteError(
                    f"{file}, line {line()}: {len(row)} cells, but {len(names)} columns in the first line"
                )
            values = {name: cell for name, cell in zip(names, row, strict=False) if str(cell).strip()}
            yield f"{file}, line {line()}", values
    except csv.Error as error:
        raise SuiteError(f"{file}, line {line()}: not readable as CSV: {error}") from error


def _text(file: Path) -> str:
    raw = file.read_bytes()
    for encoding in ("utf-8-sig", "cp949"):  # Korean spreadsheets on Windows save CSV as CP949
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise SuiteError(f"{file}: neither UTF-8 nor CP949 text")


def _json_row(place: str, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise SuiteError(f"{place}: not valid JSON: {error}") from error
    if not isinstance(row, dict):
        raise SuiteError(f"{place}: expected a JSON object")
    return row


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


def _shaped(place: str, row: Mapping[str, Any], fields: Mapping[str, str], number: int) -> dict[str, Any]:
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
    if "choices" in shaped and isinstance(shaped.get("target"), str):
        shaped["target"] = _choice(place, shaped["target"], shaped["choices"])
    return shaped


def _choice(place: str, target: str, choices: list[Any]) -> str:
    """The right choice by its text, its letter or its number from 1."""
    texts = [str(choice) for choice in choices]
    stripped = target.strip()
    if stripped in texts:
        return stripped
    if re.fullmatch(r"[A-Za-z]", stripped) and ord(stripped.upper()) - 65 < len(texts):
        return texts[ord(stripped.upper()) - 65]
    if stripped.isdigit() and 1 <= int(stripped) <= len(texts):
        return texts[int(stripped) - 1]
    raise SuiteError(f"{place}: the answer '{target}' is none of the choices ({', '.join(texts)})")


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
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", file.stem).strip("-_")
    if not name:
        raise SuiteError(f"{file}: give the suite a name (--name): letters, digits, - and _")
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
    if folder.exists() and not replace:
        raise SuiteError(f"there is a suite '{definition.suite}' already: give --name, or --replace")
    # Checked under another name first: nothing half-made or broken takes the place of what works.
    Suite(definition, tuple(items), folder, tools=tools).request(items[0])
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
