"""Writing rows to CSV, JSONL, JSON, Parquet and Arrow files, which appear when they are complete."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from results.interchange.errors import BadFile
from results.interchange.reading import Format, format_of

JSON_COLUMNS = ("conversation_a", "conversation_b")
"""Columns of JSON text in tables, which JSON files hold as values."""

Writer = Callable[[list[dict[str, Any]]], None]


@contextmanager
def open_writer(path: Path, columns: Sequence[str]) -> Iterator[Writer]:
    """A function that appends rows to the file at `path`, which appears when all is written. Tables need texts;
    JSON files take any values. Raises BadFile."""
    kind = format_of(path)
    part = path.with_name(path.name + ".part")
    make = _MAKERS[kind]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with make(part, columns) as write:
            yield write
        os.replace(part, path)
    except OSError as error:
        raise BadFile(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _csv_writer(path: Path, columns: Sequence[str]) -> Iterator[Writer]:
    with path.open("w", encoding="utf-8", newline="") as file:
        delimiter = "\t" if path.name.lower().endswith(".tsv.part") else ","
        writer = csv.DictWriter(
            file, columns, extrasaction="ignore", delimiter=delimiter, lineterminator="\n"
        )
        writer.writeheader()
        yield writer.writerows


@contextmanager
def _jsonl_writer(path: Path, columns: Sequence[str]) -> Iterator[Writer]:
    with path.open("w", encoding="utf-8", newline="\n") as file:

        def write(rows: list[dict[str, Any]]) -> None:
            for row in rows:
                file.write(json.dumps(_plain(row, columns), ensure_ascii=False) + "\n")

        yield write


@contextmanager
def _json_writer(path: Path, columns: Sequence[str]) -> Iterator[Writer]:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        before = "[\n"

        def write(rows: list[dict[str, Any]]) -> None:
            nonlocal before
            for row in rows:
                file.write(before + json.dumps(_plain(row, columns), ensure_ascii=False))
                before = ",\n"

        yield write
        file.write("[]\n" if before == "[\n" else "\n]\n")


def _plain(row: dict[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    return {
        name: json.loads(row[name]) if name in JSON_COLUMNS and isinstance(row[name], str) else row[name]
        for name in columns
    }


@contextmanager
def _parquet_writer(path: Path, columns: Sequence[str]) -> Iterator[Writer]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.string()) for name in columns])
    with pq.ParquetWriter(path, schema, compression="zstd") as parquet:

        def write(rows: list[dict[str, Any]]) -> None:
            parquet.write_table(pa.table({name: [row[name] for row in rows] for name in columns}, schema))

        yield write


@contextmanager
def _arrow_writer(path: Path, columns: Sequence[str]) -> Iterator[Writer]:
    import pyarrow as pa

    schema = pa.schema([(name, pa.string()) for name in columns])
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema, options=options) as arrow:

        def write(rows: list[dict[str, Any]]) -> None:
            arrow.write_table(pa.table({name: [row[name] for row in rows] for name in columns}, schema))

        yield write


_MAKERS: dict[Format, Callable[[Path, Sequence[str]], AbstractContextManager[Writer]]] = {
    "csv": _csv_writer,
    "jsonl": _jsonl_writer,
    "json": _json_writer,
    "parquet": _parquet_writer,
    "arrow": _arrow_writer,
}
