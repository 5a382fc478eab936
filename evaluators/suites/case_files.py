"""Rows of a file of cases: spreadsheet, CSV, JSON or JSONL, each beside the place that it stands at."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from evaluators.suites.errors import SuiteError

_EMPTY_COLUMN = "column {}"


def read_rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row beside the place that it came from, without its empty cells. Raises SuiteError, naming the place."""
    if not file.is_file():
        raise SuiteError(f"{file}: no such file")
    match file.suffix.lower():
        case ".jsonl" | ".ndjson":
            for number, line in enumerate(_text(file).split("\n"), start=1):
                if line.strip():
                    yield f"{file}, line {number}", json_row(f"{file}, line {number}", line)
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
            reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(file, text), strict=True)
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
    except (InvalidFileException, zipfile.BadZipFile, OSError, KeyError, ValueError) as error:
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


def _delimiter(file: Path, text: str) -> str:
    """A tab or a comma; a semicolon where the first line has no comma, as spreadsheets save CSV in many countries."""
    header = text.split("\n", 1)[0]
    if file.suffix.lower() == ".tsv" or "\t" in header:
        return "\t"
    return ";" if ";" in header and "," not in header else ","


def _text(file: Path) -> str:
    raw = file.read_bytes()
    for encoding in ("utf-8-sig", "cp949"):  # Korean spreadsheets on Windows save CSV as CP949
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise SuiteError(f"{file}: neither UTF-8 nor CP949 text")


def json_row(place: str, line: str) -> dict[str, Any]:
    """The object of one line of JSONL. Raises SuiteError, naming the place."""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise SuiteError(f"{place}: not valid JSON: {error}") from error
    if not isinstance(row, dict):
        raise SuiteError(f"{place}: expected a JSON object, got {line.strip()[:80]}")
    return row
