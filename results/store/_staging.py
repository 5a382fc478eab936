"""Cutting what an importer brings into chunks of the right size, shape and types."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

from results.store._imports import CHUNK_ROWS, IMPORT_SCHEMA
from results.store.errors import BadWrite


def chunks(batches: Iterable[pa.RecordBatch | pa.Table]) -> Iterator[pa.Table]:
    """Tables of CHUNK_ROWS rows (the last one fewer) in the order given. Raises BadWrite for wrong
    columns."""
    waiting: list[pa.Table] = []
    count = 0
    for batch in batches:
        table = _conform(batch)
        waiting.append(table)
        count += table.num_rows
        if count >= CHUNK_ROWS:
            joined = pa.concat_tables(waiting)
            full = count - count % CHUNK_ROWS
            for start in range(0, full, CHUNK_ROWS):
                yield joined.slice(start, CHUNK_ROWS).combine_chunks()
            waiting, count = [joined.slice(full)], count - full
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
