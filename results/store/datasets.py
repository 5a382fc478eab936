"""Datasets as the store knows them: immutable versions of named row sets, whose rows lie in files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from results.records import Record, UtcTime, now
from results.store._audit import note
from results.store._operations import Nothing, Operation
from results.store._transaction import Transaction, one
from results.store.errors import BadWrite

if TYPE_CHECKING:  # the store itself imports the catalogue of operations
    from results.store import Store

DatasetKind = Literal["chat", "preference", "kto", "text", "labelled", "prompts"]


class DatasetRecord(Record):
    """A dataset version to be known to the store; `digest` is the hash of its kind, rows and split.

    `origin` says where the rows come from (file, format, or the votes they were built from, with licences).
    """

    name: str = Field(min_length=1, max_length=120, pattern=r"^[^\s@/][^@/\n]*$")
    digest: str = Field(min_length=1)
    kind: DatasetKind
    row_count: int = Field(ge=1)
    held_out_count: int = Field(ge=0)
    licence: str | None = None
    origin: dict[str, Any] = Field(default_factory=dict)
    statistics: dict[str, Any] = Field(default_factory=dict)


class StoredDataset(DatasetRecord):
    """A dataset version as the store knows it; `label` is `name@number`."""

    dataset_key: int
    number: int
    created_at: UtcTime

    @property
    def label(self) -> str:
        return f"{self.name}@{self.number}"


class DatasetName(Record):
    """A dataset by name, or one version of it."""

    name: str
    number: int | None = None


def add_dataset_version(store: Store, dataset: DatasetRecord) -> StoredDataset:
    """Find or make a dataset version: a new digest under a name becomes its version number n+1."""
    return store.perform(ADD_DATASET, dataset)


def dataset_versions(store: Store) -> list[StoredDataset]:
    """All dataset versions that were not removed, in the order in which they were made."""
    return store.perform(LIST_DATASETS, Nothing())


def remove_dataset(store: Store, name: str, number: int | None = None) -> int:
    """Take a dataset (or one version) off the list; the number of versions this changed. Its record stays, since
    jobs and models refer to it."""
    return store.perform(REMOVE_DATASET, DatasetName(name=name, number=number))


_COLUMNS = "dataset_key, name, number, digest, kind, row_count, held_out_count, licence, origin, statistics, created_at"


def _add(tx: Transaction, dataset: DatasetRecord) -> StoredDataset:
    known = tx.row(
        "SELECT dataset_key FROM datasets WHERE name = ? AND digest = ?", dataset.name, dataset.digest
    )
    if known is not None:
        # Said again of the same rows: what is known of them may have grown.
        if tx.row("SELECT 1 FROM datasets WHERE dataset_key = ? AND removed_at IS NOT NULL", known[0]):
            note(tx, "dataset add", ("dataset", dataset.name), {}, {"dataset": dataset.name, "again": True})
        tx.write(
            "UPDATE datasets SET removed_at = NULL, licence = coalesce(?, licence), origin = ?, statistics = ? "
            "WHERE dataset_key = ?",
            dataset.licence, _text(dataset.origin), _text(dataset.statistics), known[0],
        )  # fmt: skip
        return _one(tx, int(known[0]))
    key = int(one(tx.row("SELECT coalesce(max(dataset_key), 0) + 1 FROM datasets")))
    number = int(
        one(tx.row("SELECT coalesce(max(number), 0) + 1 FROM datasets WHERE name = ?", dataset.name))
    )
    tx.insert(
        "datasets",
        {
            **dataset.model_dump(exclude={"origin", "statistics"}),
            "origin": _text(dataset.origin),
            "statistics": _text(dataset.statistics),
            "dataset_key": key,
            "number": number,
            "created_at": now(),
        },
    )
    note(tx, "dataset add", ("dataset", dataset.name), {}, {"dataset": dataset.name, "number": number})
    return _one(tx, key)


def _one(tx: Transaction, key: int) -> StoredDataset:
    row = tx.row(f"SELECT {_COLUMNS} FROM datasets WHERE dataset_key = ?", key)  # noqa: S608
    if row is None:
        raise BadWrite(f"there is no dataset version {key}")
    return _stored(row)


def _list(tx: Transaction, payload: Nothing) -> list[StoredDataset]:
    rows = tx.rows(f"SELECT {_COLUMNS} FROM datasets WHERE removed_at IS NULL ORDER BY dataset_key")  # noqa: S608
    return [_stored(row) for row in rows]


def _stored(row: tuple[Any, ...]) -> StoredDataset:
    values = dict(zip(_COLUMNS.split(", "), row, strict=True))
    for name in ("origin", "statistics"):
        values[name] = json.loads(values[name])
    return StoredDataset.model_validate(values)


def _remove(tx: Transaction, which: DatasetName) -> int:
    removed = tx.write(
        "UPDATE datasets SET removed_at = ? WHERE name = ? AND (?::INTEGER IS NULL OR number = ?) "
        "AND removed_at IS NULL",
        now(), which.name, which.number, which.number,
    )  # fmt: skip
    if removed:
        gone = {"dataset": which.name, "number": which.number}
        note(tx, "dataset remove", ("dataset", which.name), gone, {"versions": removed})
    return removed


def _text(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


ADD_DATASET = Operation("add_dataset", DatasetRecord, StoredDataset, _add)
LIST_DATASETS = Operation("datasets", Nothing, list[StoredDataset], _list, kind="read")
REMOVE_DATASET = Operation("remove_dataset", DatasetName, int, _remove)
