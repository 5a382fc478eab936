"""Cutting what an importer brings into chunks of the right size, shape and types."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

from results.store._imports import CHUNK_ROWS, IMPORT_SCHEMA
from results.store.errors import BadWrite

# A transaction of few rows takes nearly as long as one of a thousand.
_FEWEST_ROWS, _MOST_ROWS = 1_000, 10_000
_BUSY_SECONDS, _ALONE_SECONDS = 0.02, 0.1


class Pace:
    """How many rows the next chunk takes: as many as one transaction stages while a voter waits unaware, and more
    while nobody else writes."""

    def __init__(self) -> None:
        self.rows = CHUNK_ROWS

    def note(self, rows: int, seconds: float, *, busy: bool) -> None:
        """A chunk of `rows` took `seconds`; `busy`: others have been writing."""
        factor = (_BUSY_SECONDS if busy else _ALONE_SECONDS) / max(seconds, 1e-6)
        fitting = int(rows * min(max(factor, 0.5), 2.0))
        self.rows = min(max(fitting, _FEWEST_ROWS), _MOST_ROWS)


def chunks(batches: Iterable[pa.RecordBatch | pa.Table], pace: Pace) -> Iterator[pa.Table]:
    """Tables of as many rows as `pace` says at the time (the last one fewer) in the order given. Raises BadWrite for
    wrong columns."""
    waiting: list[pa.Table] = []
    count = 0
    for batch in batches:
        table = _conform(batch)
        waiting.append(table)
        count += table.num_rows
        if count >= pace.rows:
            joined = pa.concat_tables(waiting)
            while joined.num_rows >= pace.rows:
                rows = pace.rows
                yield joined.slice(0, rows).combine_chunks()
                joined = joined.slice(rows)
            waiting, count = [joined], joined.num_rows
    if count:
        yield pa.concat_tables(waiting).combine_chunks()


def _conform(batch: pa.RecordBatch | pa.Table) -> pa.Table:
    table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
    missing = [
        field.name for field in IMPORT_SCHEMA if not field.nullable and field.name not in table.column_names
    ]
    unknown = [name for name in table.column_names if name not in IMPORT_SCHEMA.names]
    if missing or unknown:
        raise BadWrite(f"an import batch lacks the columns {missing} and has unknown columns {unknown}")
    columns = []
    for field in IMPORT_SCHEMA:
        if field.name not in table.column_names:
            columns.append(pa.nulls(table.num_rows, field.type))
            continue
        try:
            column = table[field.name].cast(field.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise BadWrite(
                f"the import column {field.name} cannot be read as {field.type}: {error}"
            ) from error
        if not field.nullable and column.null_count:
            raise BadWrite(f"the import column {field.name} has {column.null_count} empty values")
        columns.append(column)
    return pa.table(columns, schema=IMPORT_SCHEMA)
