"""Rows of CSV, JSONL, JSON, Parquet and Arrow files, one at a time, with the line each begins on.

A row that cannot be read is reported and the next one is read: nothing of a file is lost to one bad line.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, NamedTuple, Self

from results.interchange.errors import BadFile

Format = Literal["csv", "jsonl", "json", "parquet", "arrow"]

FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}

# One conversation can be long; what stops a quote that is never closed from eating memory is this limit.
_LONGEST_FIELD = 64 * 1024 * 1024
_PEEKED_ROWS = 200
_PARQUET_ROWS = 5_000
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")


class Row(NamedTuple):
    """A row as the file has it; `line` is the physical line it begins on (Parquet and JSON arrays: its number),
    from 1. `inconsistent`: its verdict is a tie because a judge's two orders disagree."""

    line: int
    values: dict[str, Any]
    inconsistent: bool = False


class BadRow(NamedTuple):
    """A row that cannot be used, why, and what of it could be read."""

    line: int
    reason: str
    content: Any


def format_of(path: Path) -> Format:
    """The format that a file's name says it has. Raises BadFile for any other name."""
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        raise BadFile(
            f"{path.name}: cannot tell the format by the name; use a name that ends in {', '.join(FORMATS)}"
        ) from None


class RowSource:
    """An open file of rows: `columns` are the names it has (JSONL: those of its first rows), iterating yields
    rows, `position` of `size` (bytes; Parquet: rows) tells how far that has come.

    Raises BadFile where it is no file of that format at all.
    """

    columns: tuple[str, ...]
    size: int

    def __init__(self, path: Path) -> None:
        self.path = path
        self.format = format_of(path)
        try:
            self._file: BinaryIO = path.open("rb")
        except OSError as error:
            raise BadFile(f"{path}: cannot be read ({error.strerror or error})") from error
        self.size = path.stat().st_size
        self._parquet_rows = 0
        try:
            if self.format == "csv":
                self._rows = self._open_csv()
            elif self.format == "jsonl":
                self._rows = self._open_jsonl()
            elif self.format == "json":
                self._rows = self._open_json()
            elif self.format == "parquet":
                self._rows = self._open_parquet()
            else:
                self._rows = self._open_arrow()
        except BaseException:
            self._file.close()
            raise

    def __iter__(self) -> Iterator[Row | BadRow]:
        return self._rows

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def position(self) -> int:
        """How much of `size` has been read."""
        return self._parquet_rows if self.format == "parquet" else self._file.tell()

    def _open_csv(self) -> Iterator[Row | BadRow]:
        head = self._file.read(4)
        if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise BadFile(f"{self.path.name}: is UTF-16; save it as UTF-8 and import that")
        self._file.seek(0)
        # Bytes that are not UTF-8 come through as lone surrogates, so that only their row is bad.
        text = io.TextIOWrapper(self._file, encoding="utf-8-sig", errors="surrogateescape", newline="")
        csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))
        first = text.readline()
        delimiter = max(",\t;", key=first.count)
        reader = csv.reader(itertools.chain([first], text), delimiter=delimiter, strict=True)
        try:
            header = next(reader, [])
        except csv.Error as error:
            raise BadFile(f"{self.path.name}: the header cannot be read ({error})") from error
        if not any(header):
            raise BadFile(f"{self.path.name}: is empty; the first line must name the columns")
        if _ESCAPED_BYTE.search("".join(header)):
            raise BadFile(f"{self.path.name}: line 1 is not UTF-8; save the file as UTF-8 and import that")
        twice = {name for name in header if name and header.count(name) > 1}
        if twice:
            raise BadFile(f"{self.path.name}: line 1 names {', '.join(sorted(twice))} more than once")
        self.columns = tuple(header)
        return _csv_rows(reader, header, text)

    def _open_jsonl(self) -> Iterator[Row | BadRow]:
        if self._file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            raise BadFile(f"{self.path.name}: is UTF-16; save it as UTF-8 and import that")
        self._file.seek(0)
        rows = _jsonl_rows(self._file)
        peeked = list(itertools.islice(rows, _PEEKED_ROWS))
        names = {name: None for row in peeked if isinstance(row, Row) for name in row.values}
        if not names and peeked:
            bad = peeked[0]
            hint = (
                "; a file that is one JSON array must be called .json, or written as one object per line"
                * (isinstance(bad, BadRow) and str(bad.content).lstrip().startswith("["))
            )
            raise BadFile(
                f"{self.path.name}: no line among the first {len(peeked)} is a JSON object{hint}"
                + (f" (line {bad.line}: {bad.reason})" if isinstance(bad, BadRow) else "")
            )
        self.columns = tuple(names)
        return itertools.chain(peeked, rows)

    def _open_json(self) -> Iterator[Row | BadRow]:
        """One array of objects, read as a whole; objects one a line are read as in .jsonl."""
        if not self._file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
            self._file.seek(0)
            return self._open_jsonl()
        self._file.seek(0)
        try:
            values = json.loads(self._file.read().decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise BadFile(f"{self.path.name}: is not JSON ({error})") from error
        rows: list[Row | BadRow] = [
            Row(number, each)
            if isinstance(each, dict)
            else BadRow(number, f"a JSON {type(each).__name__} where an object is needed", each)
            for number, each in enumerate(values, start=1)
        ]
        self.columns = tuple({name: None for row in rows if isinstance(row, Row) for name in row.values})
        if rows and not self.columns:
            raise BadFile(f"{self.path.name}: is a JSON array in which nothing is an object")
        return iter(rows)

    def _open_parquet(self) -> Iterator[Row | BadRow]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            parquet = pq.ParquetFile(self._file)
        except (pa.ArrowException, OSError) as error:
            raise BadFile(f"{self.path.name}: is not a Parquet file ({error})") from error
        self.size = parquet.metadata.num_rows
        self.columns = tuple(parquet.schema_arrow.names)
        return self._parquet_row_iterator(parquet)

    def _parquet_row_iterator(self, parquet: Any) -> Iterator[Row | BadRow]:
        for batch in parquet.iter_batches(batch_size=_PARQUET_ROWS):
            for values in batch.to_pylist():
                self._parquet_rows += 1
                yield Row(self._parquet_rows, values)

    def _open_arrow(self) -> Iterator[Row | BadRow]:
        """An Arrow IPC file (Feather 2), or a stream of record batches under the same name."""
        import pyarrow as pa

        try:
            is_file = self._file.read(6) == b"ARROW1"
            self._file.seek(0)
            reader = pa.ipc.open_file(self._file) if is_file else pa.ipc.open_stream(self._file)
        except (pa.ArrowException, OSError) as error:
            raise BadFile(f"{self.path.name}: is not an Arrow file ({error})") from error
        self.columns = tuple(reader.schema.names)
        return self._arrow_row_iterator(reader, is_file)

    def _arrow_row_iterator(self, reader: Any, is_file: bool) -> Iterator[Row | BadRow]:
        import pyarrow as pa

        number = 0
        try:
            batches = map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader
            for batch in batches:
                for start in range(0, batch.num_rows, _PARQUET_ROWS):
                    for values in batch.slice(start, _PARQUET_ROWS).to_pylist():
                        number += 1
                        yield Row(number, values)
        except (pa.ArrowException, OSError) as error:
            raise BadFile(f"{self.path.name}: is broken after row {number} ({error})") from error


def _csv_rows(reader: Any, header: list[str], keep_open: io.TextIOWrapper) -> Iterator[Row | BadRow]:
    width = len(header)
    try:
        while True:
            line = reader.line_num + 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                reason = (
                    f"a quote that opens here is not closed by line {reader.line_num}"
                    if "unexpected end" in str(error) or "field larger" in str(error)
                    else f"not a CSV row: {error}"
                )
                yield BadRow(line, reason, None)
                continue
            if not fields:
                continue
            if len(fields) != width:
                yield BadRow(line, f"{len(fields)} fields where the header names {width}", fields)
                continue
            if bad := _ESCAPED_BYTE.search("".join(fields)):
                yield BadRow(line, _not_utf8(ord(bad[0]) - 0xDC00), dict(zip(header, fields, strict=True)))
                continue
            yield Row(line, dict(zip(header, fields, strict=True)))
    finally:
        # The byte file stays ours to close; the wrapper would close it when collected.
        if not keep_open.closed:
            keep_open.detach()


def _jsonl_rows(file: BinaryIO) -> Iterator[Row | BadRow]:
    for line, raw in enumerate(file, start=1):
        data = raw.removeprefix(b"\xef\xbb\xbf") if line == 1 else raw
        if not data.strip():
            continue
        try:
            text = data.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            yield BadRow(
                line, _not_utf8(data[error.start]), data.decode("utf-8", "backslashreplace").rstrip()
            )
            continue
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            yield BadRow(line, f"not JSON: {error}", text)
            continue
        if isinstance(values, dict):
            yield Row(line, values)
        else:
            yield BadRow(line, f"a JSON {type(values).__name__} where an object is needed", text)


def _not_utf8(byte: int) -> str:
    return f"not UTF-8 (byte 0x{byte:02x}); Korean text from an old program may be CP949: save it as UTF-8"


class FolderSource:
    """All files of rows below a folder, one after another in the order of their paths; otherwise like
    `RowSource`. `columns` are those of the first file."""

    def __init__(self, path: Path) -> None:
        self._files = content_files(path)
        if not self._files:
            raise BadFile(f"{path}: has no file that ends in {', '.join(FORMATS)}")
        with RowSource(self._files[0]) as first:
            self.columns = first.columns
        self.size = sum(each.stat().st_size for each in self._files)
        self.position = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def __iter__(self) -> Iterator[Row | BadRow]:
        for file in self._files:
            with RowSource(file) as rows:
                yield from rows
            self.position += file.stat().st_size


def open_rows(path: Path) -> RowSource | FolderSource:
    """The rows of a file, or of all files in a folder. Raises BadFile."""
    return FolderSource(path) if path.is_dir() else RowSource(path)


def content_files(path: Path) -> list[Path]:
    """The files whose content `open_rows` reads."""
    return (
        sorted(each for each in path.rglob("*") if each.suffix.lower() in FORMATS)
        if path.is_dir()
        else [path]
    )
