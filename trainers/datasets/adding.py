"""Adding a file of training data: recognised, checked row by row, and kept as an immutable version."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from arena._language import language_of
from prompt_formats.errors import InvalidInput
from results.interchange import BadFile
from results.interchange.reading import BadRow as UnreadRow
from results.interchange.reading import Row as FileRow
from results.interchange.reading import content_files, open_rows
from results.store import Store
from results.store.datasets import DatasetRecord, StoredDataset, add_dataset_version, dataset_versions
from trainers.datasets.files import held_out, read_rows, write_rows
from trainers.datasets.rows import ROW_OF, Row, Split
from trainers.datasets.shapes import Shape, shape_of
from trainers.datasets.statistics import statistics

HELD_OUT = 0.05
_MOST_REJECTS = 1_000


class Reject(BaseModel):
    """A row that cannot be used: where it stands, why, and how it begins."""

    model_config = ConfigDict(frozen=True)

    line: int
    reason: str
    content: str


class BadRows(ValueError):
    """Some rows cannot be used, and nothing was added. `rejects` lists them (the first 1,000)."""

    def __init__(self, rejects: list[Reject], total: int, good: int) -> None:
        self.rejects, self.total, self.good = rejects, total, good
        super().__init__(f"{total} of {total + good} rows cannot be used, and nothing was added")


class Added(BaseModel):
    """What became of a file: the version, whether its rows were known already, and the rows left out."""

    model_config = ConfigDict(frozen=True)

    dataset: StoredDataset
    known: bool
    shape: str
    rejects: list[Reject] = []
    duplicates_left_out: int = 0


def add_dataset(
    store: Store,
    path: Path,
    name: str,
    *,
    shape: str | None = None,
    columns: Mapping[str, str] | None = None,
    licence: str | None = None,
    source: str | None = None,
    held_out_share: float = HELD_OUT,
    seed: int = 0,
    skip_bad: bool = False,
    keep_duplicates: bool = False,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Added:
    """Add a file (or folder) of rows as a new version of dataset `name`; the same rows again make none.

    `columns` renames fields of the file (`{"prompt": "Q"}`: what we call prompt is called Q there). A text file
    becomes rows of plain text, one for each block between blank lines. Rows whose content stood before are left out
    unless `keep_duplicates`.

    Raises:
        BadRows: a row is bad and `skip_bad` is not set; nothing was added.
        BadFile: the file cannot be read; `UnknownShape`: its fields fit nothing known.
    """
    check = _Check(path, shape, columns or {}, skip_bad, keep_duplicates, progress)
    split = ((row, _split(row, held_out_share, seed)) for row in check.rows())
    digest, train, apart = write_rows(store.data_dir, check.shape.kind, split)
    known = any(each.name == name and each.digest == digest for each in dataset_versions(store))
    facts = statistics((row for row, _ in read_rows(store.data_dir, digest, check.shape.kind)), language_of)
    origin = {
        "file": path.name,
        "sha256": _file_hash(path),
        "shape": check.shape.name,
        "columns": dict(columns or {}),
        "source": source,
        "rows_left_out": check.bad,
        "duplicates_left_out": check.duplicates,
        "split": {"held_out": held_out_share, "seed": seed},
    }
    record = DatasetRecord(
        name=name,
        digest=digest,
        kind=check.shape.kind,
        row_count=train + apart,
        held_out_count=apart,
        licence=licence,
        origin={key: value for key, value in origin.items() if value is not None},
        statistics=facts.model_dump(mode="json"),
    )
    return Added(
        dataset=add_dataset_version(store, record),
        known=known,
        shape=check.shape.name,
        rejects=check.rejects,
        duplicates_left_out=check.duplicates,
    )


class _Check:
    """One reading of a file: rows as they turn out good, the others listed."""

    def __init__(
        self,
        path: Path,
        shape: str | None,
        columns: Mapping[str, str],
        skip_bad: bool,
        keep_duplicates: bool,
        progress: Callable[[int, int], None],
    ) -> None:
        self._path, self._columns, self._progress = path, columns, progress
        self._skip_bad, self._keep_duplicates = skip_bad, keep_duplicates
        self._plain_text = path.suffix.lower() in (".txt", ".md")
        self.shape: Shape = shape_of(self._fields(), shape)
        self.rejects: list[Reject] = []
        self.bad = self.good = self.duplicates = 0

    def rows(self) -> Iterator[Row]:
        """Good rows; at the end raises BadRows where there were others that may not be skipped, BadFile where there
        was none."""
        model = ROW_OF[self.shape.kind]
        seen: set[str] = set()
        for line, values in self._values():
            if isinstance(values, str):
                self._reject(line, values, None)
                continue
            try:
                provenance = values.get("provenance")
                row = model.model_validate(
                    {
                        **self.shape.read(values),
                        "provenance": provenance if isinstance(provenance, dict) else None,
                    }
                )
            except ValidationError as error:
                reasons = [
                    f"{'.'.join(map(str, e['loc']))}: {e['msg']}".removeprefix(": ") for e in error.errors()
                ]
                self._reject(line, "; ".join(reasons).replace("Value error, ", ""), values)
                continue
            except (InvalidInput, ValueError, KeyError, TypeError) as error:
                self._reject(line, _reason(error), values)
                continue
            digest = row.digest()
            if digest in seen and not self._keep_duplicates:
                self.duplicates += 1
                continue
            seen.add(digest)
            self.good += 1
            yield row
        if self.bad and (not self._skip_bad or not self.good):
            raise BadRows(self.rejects, self.bad, self.good)
        if not self.good:
            raise BadFile(f"{self._path.name}: has no rows")

    def _fields(self) -> tuple[str, ...]:
        if self._plain_text:
            return ("text",)
        with open_rows(self._path) as rows:
            found = rows.columns
        if not found:
            raise BadFile(f"{self._path.name}: has no rows")
        missing = [theirs for theirs in self._columns.values() if theirs not in found]
        if missing:
            raise BadFile(
                f"--map names the column(s) {', '.join(missing)}; {self._path.name} has {', '.join(found)}"
            )
        renamed = {theirs: ours for ours, theirs in self._columns.items()}
        return tuple(renamed.get(name, name) for name in found)

    def _values(self) -> Iterator[tuple[int, dict[str, Any] | str]]:
        """Line and values of each row, or the reason why it cannot be read."""
        if self._plain_text:
            yield from ((line, {"text": block}) for line, block in _blocks(self._path))
            return
        renamed = {theirs: ours for ours, theirs in self._columns.items()}
        with open_rows(self._path) as rows:
            for number, row in enumerate(rows):
                if number % 1_000 == 0:
                    self._progress(rows.position, rows.size)
                if isinstance(row, UnreadRow):
                    yield row.line, row.reason
                elif isinstance(row, FileRow):
                    yield row.line, {renamed.get(key, key): value for key, value in row.values.items()}

    def _reject(self, line: int, reason: str, values: Any) -> None:
        self.bad += 1
        if len(self.rejects) < _MOST_REJECTS:
            self.rejects.append(
                Reject(line=line, reason=reason, content=f"{values!r:.160}" if values else "")
            )


def _split(row: Row, share: float, seed: int) -> Split:
    return "held_out" if held_out(row, share, seed) else "train"


def _reason(error: Exception) -> str:
    return f"the field {error} is missing" if isinstance(error, KeyError) else str(error)


def _blocks(path: Path) -> Iterator[tuple[int, str]]:
    """Blocks between blank lines, with the line that each begins on."""
    begun = 0
    block: list[str] = []
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    begun = begun if block else number
                    block.append(line)
                elif block:
                    yield begun, "".join(block).strip()
                    block = []
    except UnicodeDecodeError as error:
        raise BadFile(f"{path.name}: is not UTF-8 ({error}); save it as UTF-8 and add that") from error
    except OSError as error:
        raise BadFile(f"{path}: cannot be read ({error.strerror or error})") from error
    if block:
        yield begun, "".join(block).strip()


def _file_hash(path: Path) -> str:
    files = content_files(path) if path.is_dir() else [path]
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            total.update(hashlib.file_digest(opened, "sha256").digest())
    return total.hexdigest()
