"""Rows of a leaderboard (or of pairs, differences, histories) as CSV, Markdown, Arrow and Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel

if TYPE_CHECKING:
    import pyarrow as pa

_MARKDOWN_SIGNS = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_[]<>|#"})


def to_csv(kind: type[BaseModel], rows: Iterable[BaseModel]) -> str:
    """CSV with a header; the columns are the fields of `kind`, empty where there is no value."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(kind.model_fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.model_dump(mode="json") for row in rows)
    return out.getvalue()


def to_markdown(kind: type[BaseModel], rows: Iterable[BaseModel]) -> str:
    """A Markdown table; figures are rounded to three places, names are escaped."""
    names = list(kind.model_fields)
    lines = [names, ["---:" if _is_figure(kind, name) else "---" for name in names]]
    lines += [[_cell(getattr(row, name)) for name in names] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def to_arrow(kind: type[BaseModel], rows: Sequence[BaseModel]) -> pa.Table:
    """An Arrow table; its types follow the fields of `kind`, so that an empty or unrated table has the same."""
    import pyarrow as pa

    types: dict[type, pa.DataType] = {
        bool: pa.bool_(), int: pa.int64(), float: pa.float64(), datetime: pa.timestamp("us", "UTC"),
    }  # fmt: skip
    columns = {
        name: pa.array([getattr(row, name) for row in rows], types.get(_type_of(kind, name), pa.string()))
        for name in kind.model_fields
    }
    return pa.table(columns)


def to_parquet(kind: type[BaseModel], rows: Sequence[BaseModel]) -> bytes:
    """The Arrow table as a Parquet file."""
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(to_arrow(kind, rows), out)
    return out.getvalue()


def _type_of(kind: type[BaseModel], name: str) -> Any:
    annotation = kind.model_fields[name].annotation
    options = [option for option in get_args(annotation) if option is not NoneType]
    return options[0] if NoneType in get_args(annotation) and len(options) == 1 else annotation


def _is_figure(kind: type[BaseModel], name: str) -> bool:
    return _type_of(kind, name) in (int, float)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    return " ".join(str(value).split()).translate(_MARKDOWN_SIGNS)
