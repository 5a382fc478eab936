"""The rows of dataset versions on disk: one Parquet file for each digest, written once and never changed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from results.store.datasets import DatasetKind
from trainers.datasets.rows import ROW_OF, Row, Split

SCHEMA = pa.schema(
    [
        pa.field("digest", pa.string()),
        pa.field("split", pa.string()),
        pa.field("row", pa.string()),
    ]
)
_CHUNK = 2_000


class MissingRows(RuntimeError):
    """The file of a dataset version is gone or damaged. The message says which, and what to do."""


def held_out(row: Row, share: float, seed: int) -> bool:
    """Whether a row is kept apart for evaluation: by the hash of its prompt, so that equal prompts stay together
    and adding rows moves none that were there."""
    key = hashlib.sha256(f"{seed}:{row.split_key()}".encode()).digest()
    return int.from_bytes(key[:8], "big") < share * 2**64


def write_rows(data_dir: Path, kind: DatasetKind, rows: Iterable[tuple[Row, Split]]) -> tuple[str, int, int]:
    """Write rows to the data directory; (digest, rows in training, rows held out). The same rows give the same
    digest and the same file, which appears when it is complete."""
    folder = data_dir / "datasets"
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{os.getpid()}.parquet.part"
    total = hashlib.sha256(kind.encode())
    counts = {"train": 0, "held_out": 0}
    try:
        with pq.ParquetWriter(part, SCHEMA, compression="zstd") as writer:
            for chunk in _chunks(rows):
                digests = [row.digest() for row, _ in chunk]
                for digest, (_, split) in zip(digests, chunk, strict=True):
                    total.update(f"{digest}{split}".encode())
                    counts[split] += 1
                texts = [
                    json.dumps(row.model_dump(mode="json", exclude_none=True), ensure_ascii=False)
                    for row, _ in chunk
                ]
                columns = [digests, [split for _, split in chunk], texts]
                writer.write_table(pa.table([pa.array(c, pa.string()) for c in columns], schema=SCHEMA))
        digest = total.hexdigest()
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(rows_path(data_dir, digest))
    finally:
        part.unlink(missing_ok=True)
    return digest, counts["train"], counts["held_out"]


def rows_path(data_dir: Path, digest: str) -> Path:
    """Where the rows of a dataset version lie."""
    return data_dir / "datasets" / f"{digest[:32]}.parquet"


def read_rows(
    data_dir: Path, digest: str, kind: DatasetKind, split: Split | None = None, limit: int | None = None
) -> Iterator[tuple[Row, Split]]:
    """Rows of a dataset version in order, each with the part it belongs to; of one `split` alone where given.

    Raises `MissingRows`.
    """
    path = rows_path(data_dir, digest)
    shape = ROW_OF[kind]
    left = limit
    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=_CHUNK, columns=["split", "row"]):
            for part, text in zip(batch["split"].to_pylist(), batch["row"].to_pylist(), strict=True):
                if split is not None and part != split:
                    continue
                if left is not None:
                    if left == 0:
                        return
                    left -= 1
                yield shape.model_validate_json(text), part
    except (OSError, pa.ArrowException) as error:
        raise MissingRows(
            f"the rows of this dataset version cannot be read from {path} ({error}): add its file again"
        ) from error


def row_digests(data_dir: Path, digest: str) -> list[str]:
    """The hashes of a version's rows, in order. Raises `MissingRows`."""
    try:
        column = pq.read_table(rows_path(data_dir, digest), columns=["digest"])["digest"]
    except (OSError, pa.ArrowException) as error:
        raise MissingRows(
            f"the rows of this dataset version cannot be read ({error}): add its file again"
        ) from error
    return [str(value) for value in column.to_pylist()]


def _chunks(rows: Iterable[tuple[Row, Split]]) -> Iterator[list[tuple[Row, Split]]]:
    chunk: list[tuple[Row, Split]] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
