"""Contamination in the store: checks of datasets against suites with their flags, probes of models, duplicates.

A check is of a dataset's digest and a suite's, so it holds for every dataset of the same rows and never for others.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import pyarrow as pa
from pydantic import Field

from results.ids import named_id
from results.records import Record, UtcTime, now
from results.store._models import require_versions
from results.store._operations import Nothing, Operation
from results.store._transaction import Transaction

if TYPE_CHECKING:  # the store itself imports the catalogue of operations
    from results.store._store import Store

_CHUNK = 20_000

Method = Literal["ngram", "embedding"]
Evidence = Literal["ngram", "whole", "embedding"]
Probe = Literal["completion", "order"]

PROOF: tuple[Evidence, ...] = ("ngram", "whole")
"""Evidence by which rows are refused and items count as contaminated; a likeness of meaning is a hint alone."""


class CheckRecord(Record):
    """One comparison of a dataset's rows with a suite's items; `settings` are the method's, with its version."""

    dataset_digest: str
    suite: str
    suite_digest: str
    method: Method
    settings: dict[str, Any]
    row_count: int = Field(ge=0)
    item_count: int = Field(ge=0)
    flagged_rows: int = Field(ge=0)
    flagged_items: int = Field(ge=0)
    created_at: UtcTime = Field(default_factory=now)

    @property
    def id(self) -> UUID:
        """v5 over what was compared, and how."""
        return check_id(self.dataset_digest, self.suite, self.suite_digest, self.method, self.settings)


class FlagRecord(Record):
    """A row that overlaps an item. `row_number` counts from 0 over the whole dataset; `share` (0 to 1) is how much of
    the item's text the row has, for embeddings the cosine; `span` is the text that was found."""

    row_digest: str
    row_number: int = Field(ge=0)
    split: Literal["train", "held_out"]
    item: str
    item_hash: str
    field: str
    evidence: Evidence
    share: float
    span: str


class ProbeRecord(Record):
    """What a model version did with one item (see the schema for `value` and `control`)."""

    version_key: int
    suite: str
    item: str
    item_hash: str
    probe: Probe
    value: float
    control: float
    flagged: bool
    detail: dict[str, Any] = Field(default_factory=dict)
    created_at: UtcTime = Field(default_factory=now)

    @property
    def id(self) -> UUID:
        """v5 over model, item and probe: a repeated probe replaces the one before."""
        return named_id("model probe", str(self.version_key), self.suite, self.item_hash, self.probe)


class DuplicatesRecord(Record):
    """Near-duplicates inside a dataset: clusters of row numbers (from 0), the largest first, at most a thousand of
    `cluster_count`. `extra_rows` would go if each cluster kept one row."""

    dataset_digest: str
    settings: dict[str, Any]
    row_count: int = Field(ge=0)
    cluster_count: int = Field(ge=0)
    extra_rows: int = Field(ge=0)
    clusters: list[list[int]]
    created_at: UtcTime = Field(default_factory=now)


class _Checks(Record):
    checks: list[CheckRecord]


class _Probes(Record):
    probes: list[ProbeRecord]


def check_id(
    dataset_digest: str, suite: str, suite_digest: str, method: Method, settings: dict[str, Any]
) -> UUID:
    """The id of a check."""
    return named_id(
        "contamination check",
        dataset_digest,
        suite,
        suite_digest,
        method,
        json.dumps(settings, sort_keys=True),
    )


def record_checks(store: Store, found: Sequence[tuple[CheckRecord, Sequence[FlagRecord]]]) -> None:
    """Keep checks with their flags; a check is known once all its flags are. The same check again changes nothing."""
    rows = [
        {
            "id": str(
                named_id("contamination flag", str(check.id), flag.row_digest, flag.item_hash, flag.field)
            ),
            "check_id": str(check.id),
            **flag.model_dump(),
        }
        for check, flags in found
        for flag in flags
    ]
    unique = list({row["id"]: row for row in rows}.values())
    for begin in range(0, len(unique), _CHUNK):
        store.perform(RECORD_FLAGS, Nothing(), pa.Table.from_pylist(unique[begin : begin + _CHUNK], _FLAGS))
    store.perform(RECORD_CHECKS, _Checks(checks=[check for check, _ in found]))


def record_probes(store: Store, probes: Sequence[ProbeRecord]) -> None:
    """Keep what models did with items; an earlier probe of the same item is replaced. Raises BadWrite for an unknown
    version."""
    store.perform(RECORD_PROBES, _Probes(probes=list(probes)))


def record_duplicates(store: Store, found: DuplicatesRecord) -> None:
    """Keep the near-duplicates of a dataset, in place of what was kept before."""
    store.perform(RECORD_DUPLICATES, found)


def known_checks(store: Store, dataset_digest: str | None = None) -> dict[UUID, CheckRecord]:
    """The checks of a dataset's rows (or all), the oldest first."""
    rows = store.query(
        "SELECT * REPLACE (id::VARCHAR AS id) FROM contamination_checks WHERE ? IS NULL OR dataset_digest = ? "
        "ORDER BY created_at, suite",
        [dataset_digest, dataset_digest],
    ).to_pylist()
    return {
        UUID(row.pop("id")): CheckRecord.model_validate({**row, "settings": json.loads(row["settings"])})
        for row in rows
    }


def contamination_flags(
    store: Store, checks: Iterable[UUID], evidence: Sequence[Evidence] = PROOF
) -> pa.Table:
    """The flags of checks with such evidence: columns of `FlagRecord` with `suite`; ordered by row, then suite."""
    return store.query(
        "SELECT c.suite, f.* EXCLUDE (id, check_id) FROM contamination_flags f "
        "JOIN contamination_checks c ON c.id = f.check_id "
        "WHERE f.check_id IN (SELECT unnest(?::UUID[])) AND f.evidence IN (SELECT unnest(?::VARCHAR[])) "
        "ORDER BY f.row_number, c.suite, f.share DESC, f.item",
        [[str(each) for each in checks], list(evidence)],
    )


def flagged_rows(store: Store, checks: Iterable[UUID]) -> frozenset[str]:
    """The digests of rows that these checks prove to overlap an item."""
    return frozenset(contamination_flags(store, checks)["row_digest"].to_pylist())


def model_probes(store: Store, version_key: int | None = None, suite: str | None = None) -> list[ProbeRecord]:
    """What models did with items: of one version, of one suite, or all."""
    rows = store.query(
        "SELECT * EXCLUDE (id) FROM model_probes WHERE (? IS NULL OR version_key = ?) AND (? IS NULL OR suite = ?) "
        "ORDER BY version_key, suite, probe, item",
        [version_key, version_key, suite, suite],
    ).to_pylist()
    return [ProbeRecord.model_validate({**row, "detail": json.loads(row["detail"])}) for row in rows]


def dataset_duplicates(store: Store, dataset_digest: str) -> DuplicatesRecord | None:
    """The near-duplicates of a dataset, where they were looked for."""
    rows = store.query(
        "SELECT * FROM dataset_duplicates WHERE dataset_digest = ?", [dataset_digest]
    ).to_pylist()
    if not rows:
        return None
    values = {name: json.loads(rows[0][name]) for name in ("settings", "clusters")}
    return DuplicatesRecord.model_validate({**rows[0], **values})


def _record_flags(tx: Transaction, payload: Nothing, flags: pa.Table) -> None:
    with tx.table("new_flags", flags):
        columns = ", ".join(_FLAGS.names)
        picked = ", ".join(f"{name}::UUID" if name in ("id", "check_id") else name for name in _FLAGS.names)
        tx.write(
            f"INSERT INTO contamination_flags ({columns}) SELECT {picked} FROM new_flags ON CONFLICT DO NOTHING"  # noqa: S608
        )


def _record_checks(tx: Transaction, payload: _Checks) -> None:
    for check in payload.checks:
        if tx.row("SELECT 1 FROM contamination_checks WHERE id = ?", check.id) is None:
            values = {**check.model_dump(), "settings": json.dumps(check.settings, sort_keys=True)}
            tx.insert("contamination_checks", {"id": check.id, **values})


def _record_probes(tx: Transaction, payload: _Probes) -> None:
    require_versions(tx, *{probe.version_key for probe in payload.probes})
    for probe in payload.probes:
        tx.write(
            "INSERT INTO model_probes (id, version_key, suite, item, item_hash, probe, value, control, flagged, "
            "detail, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "value = excluded.value, control = excluded.control, flagged = excluded.flagged, detail = excluded.detail, "
            "created_at = excluded.created_at",
            probe.id, probe.version_key, probe.suite, probe.item, probe.item_hash, probe.probe, probe.value,
            probe.control, probe.flagged, json.dumps(probe.detail, ensure_ascii=False), probe.created_at,
        )  # fmt: skip


def _record_duplicates(tx: Transaction, found: DuplicatesRecord) -> None:
    tx.write(
        "INSERT INTO dataset_duplicates (dataset_digest, settings, row_count, cluster_count, extra_rows, clusters, "
        "created_at) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET settings = excluded.settings, "
        "row_count = excluded.row_count, cluster_count = excluded.cluster_count, extra_rows = excluded.extra_rows, "
        "clusters = excluded.clusters, created_at = excluded.created_at",
        found.dataset_digest, json.dumps(found.settings, sort_keys=True), found.row_count, found.cluster_count,
        found.extra_rows, json.dumps(found.clusters), found.created_at,
    )  # fmt: skip


_FLAGS = pa.schema(
    [
        ("id", pa.string()), ("check_id", pa.string()), ("row_digest", pa.string()), ("row_number", pa.int64()),
        ("split", pa.string()), ("item", pa.string()), ("item_hash", pa.string()), ("field", pa.string()),
        ("evidence", pa.string()), ("share", pa.float64()), ("span", pa.string()),
    ]
)  # fmt: skip

RECORD_FLAGS = Operation("record_contamination_flags", Nothing, None, _record_flags, takes_rows=True)
RECORD_CHECKS = Operation("record_contamination_checks", _Checks, None, _record_checks)
RECORD_PROBES = Operation("record_model_probes", _Probes, None, _record_probes)
RECORD_DUPLICATES = Operation("record_dataset_duplicates", DuplicatesRecord, None, _record_duplicates)
