"""What the Datasets page reads of a dataset's rows: some of them as stored or as a model sees them, and figures."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from arena.engines.spec import ModelSpec
from prompt_formats import PromptFormatError
from results.store.datasets import DatasetKind, StoredDataset
from trainers.datasets import (
    LabelledRow,
    RenderedRow,
    Row,
    TokenStatistics,
    preview,
    read_rows,
    token_statistics,
)
from trainers.datasets.preview import conversations_of
from trainers.datasets.rendering import format_and_tokenizer

ROWS_SHOWN = 5
MOST_MEASURED = 5_000
MOST_COUNTED = 200


class Part(BaseModel):
    """A message of a row as stored; `role` is empty where the row is plain text."""

    model_config = ConfigDict(frozen=True)

    role: str
    text: str


class ShownRow(BaseModel):
    """A row: its number from 1, its parts as stored, and as the chosen model sees it (or why it cannot)."""

    model_config = ConfigDict(frozen=True)

    number: int
    split: str
    parts: tuple[tuple[str, tuple[Part, ...]], ...]
    facts: dict[str, str] = {}
    rendered: tuple[RenderedRow, ...] = ()
    refused: str | None = None


class Measured(BaseModel):
    """Of the first rows (`rows` of them): characters of each, who wrote answers (a model's version, where the row says
    so), and how many say nothing of it."""

    model_config = ConfigDict(frozen=True)

    rows: int
    characters: tuple[int, ...]
    written_by: dict[str, int]
    unsaid: int


def shown_rows(
    data_dir: Path, dataset: StoredDataset, first: int, spec: ModelSpec | None, count: int = ROWS_SHOWN
) -> list[ShownRow]:
    """Rows `first` (from 1) to `first + count - 1`, rendered for `spec` where one is given.

    Raises:
        MissingRows: the rows are gone; EngineError or PromptFormatError: the model's format or tokenizer cannot be had.
    """
    rendering = format_and_tokenizer(spec, data_dir) if spec is not None else None
    rows = read_rows(data_dir, dataset.digest, dataset.kind, limit=first - 1 + count)
    return [
        _shown(number, row, split, rendering)
        for number, (row, split) in enumerate(islice(rows, first - 1, None), start=first)
    ]


@lru_cache(maxsize=16)
def measured(data_dir: Path, digest: str, kind: DatasetKind) -> Measured:
    """Figures of the first 5,000 rows, which never change. Raises `MissingRows`."""
    characters: list[int] = []
    wrote: Counter[str] = Counter()
    unsaid = 0
    for row, _ in read_rows(data_dir, digest, kind, limit=MOST_MEASURED):
        characters.append(sum(map(len, row.texts())))
        model = (row.provenance or {}).get("model")
        if isinstance(model, str):
            wrote[model] += 1
        else:
            unsaid += 1
    return Measured(
        rows=len(characters),
        characters=tuple(characters),
        written_by=dict(wrote.most_common()),
        unsaid=unsaid,
    )


def tokens_of(data_dir: Path, dataset: StoredDataset, spec: ModelSpec) -> TokenStatistics:
    """Tokens a row under a model, of the first 200 rows. Raises as `shown_rows` does."""
    return _tokens(data_dir, dataset.digest, dataset.kind, spec.model_dump_json())


@lru_cache(maxsize=16)
def _tokens(data_dir: Path, digest: str, kind: DatasetKind, spec: str) -> TokenStatistics:
    resolution, tokenizer = format_and_tokenizer(ModelSpec.model_validate_json(spec), data_dir)
    rows: Iterator[Row] = (row for row, _ in read_rows(data_dir, digest, kind, limit=MOST_COUNTED))
    return token_statistics(rows, resolution, tokenizer)


def _shown(number: int, row: Row, split: str, rendering: tuple[Any, Any] | None) -> ShownRow:
    conversations = conversations_of(row)
    if conversations:
        parts = tuple((name, tuple(_part(message) for message in said)) for name, said in conversations)
    else:
        parts = (("", tuple(Part(role="", text=each) for each in row.texts())),)
    facts = {"label": str(row.label)} if isinstance(row, LabelledRow) else {}
    rendered: tuple[RenderedRow, ...] = ()
    refused = None
    if rendering is not None:
        try:
            rendered = tuple(preview(row, *rendering))
        except PromptFormatError as error:
            refused = str(error)
    return ShownRow(number=number, split=split, parts=parts, facts=facts, rendered=rendered, refused=refused)


def _part(message: dict[str, Any]) -> Part:
    calls = message.get("tool_calls")
    called = "\n" + json.dumps(calls, ensure_ascii=False, indent=1) if calls else ""
    return Part(role=str(message["role"]), text=f"{message.get('content') or ''}{called}")
