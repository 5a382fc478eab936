"""Checks, flags, probes and duplicates in the store: idempotent, and tied to what was compared."""

from __future__ import annotations

from typing import Any

import pytest

from results.store import BadWrite, Store
from results.store.contamination import (
    CheckRecord,
    DuplicatesRecord,
    FlagRecord,
    ProbeRecord,
    contamination_flags,
    dataset_duplicates,
    flagged_rows,
    known_checks,
    model_probes,
    record_checks,
    record_duplicates,
    record_probes,
)


def check(suite: str = "산수", **values: Any) -> CheckRecord:
    fields = {
        "dataset_digest": "d1", "suite": suite, "suite_digest": "s1", "method": "ngram", "settings": {"words": 13},
        "row_count": 10, "item_count": 3, "flagged_rows": 1, "flagged_items": 1,
    }  # fmt: skip
    return CheckRecord.model_validate({**fields, **values})


def flag(row: str = "r1", item: str = "i1", **values: Any) -> FlagRecord:
    fields = {
        "row_digest": row, "row_number": 4, "split": "train", "item": item, "item_hash": f"h-{item}", "field": "input",
        "evidence": "ngram", "share": 0.5, "span": "민준이는 딱지 17장을",
    }  # fmt: skip
    return FlagRecord.model_validate({**fields, **values})


def test_a_check_is_kept_once_with_its_flags(store: Store) -> None:
    first, other = check(), check("요약", method="embedding", settings={"threshold": 0.94})
    hint = flag("r2", evidence="embedding", share=0.95)
    for _ in range(2):
        record_checks(store, [(first, [flag(), flag(item="i2")]), (other, [hint])])
    assert set(known_checks(store, "d1")) == {first.id, other.id}
    assert known_checks(store, "another") == {}
    rows = contamination_flags(store, [first.id, other.id]).to_pylist()
    assert [(row["suite"], row["item"], row["span"]) for row in rows] == [
        ("산수", "i1", "민준이는 딱지 17장을"),
        ("산수", "i2", "민준이는 딱지 17장을"),
    ]
    assert contamination_flags(store, [other.id], ["embedding"])["row_digest"].to_pylist() == ["r2"]
    # A likeness of meaning proves nothing.
    assert flagged_rows(store, known_checks(store)) == {"r1"}


def test_other_items_settings_or_rows_are_another_check() -> None:
    ids = {
        check().id, check(suite_digest="s2").id, check(settings={"words": 8}).id, check(dataset_digest="d2").id,
        check("요약").id,
    }  # fmt: skip
    assert len(ids) == 5
    assert check(row_count=11).id == check().id


def test_a_probe_is_replaced_by_the_next(store: Store, own_arena: Any) -> None:
    version = own_arena.versions[0]
    probe = ProbeRecord(
        version_key=version, suite="산수", item="i1", item_hash="h1", probe="completion", value=1.0, control=0.0,
        flagged=True, detail={"continued": "딱지 17장"},
    )  # fmt: skip
    record_probes(own_arena.store, [probe])
    record_probes(own_arena.store, [probe.model_copy(update={"value": 0.2, "flagged": False})])
    (kept,) = model_probes(own_arena.store, version, "산수")
    assert (kept.value, kept.flagged, kept.detail) == (0.2, False, {"continued": "딱지 17장"})
    with pytest.raises(BadWrite, match="no model version 999"):
        record_probes(own_arena.store, [probe.model_copy(update={"version_key": 999})])


def test_duplicates_are_kept_by_the_digest_of_the_rows(store: Store) -> None:
    found = DuplicatesRecord(
        dataset_digest="d1", settings={"jaccard": 0.8}, row_count=9, cluster_count=2, extra_rows=3,
        clusters=[[0, 4, 5], [1, 2]],
    )  # fmt: skip
    record_duplicates(store, found)
    record_duplicates(store, found.model_copy(update={"extra_rows": 2}))
    kept = dataset_duplicates(store, "d1")
    assert kept is not None
    assert (kept.extra_rows, kept.clusters) == (2, [[0, 4, 5], [1, 2]])
    assert dataset_duplicates(store, "d2") is None
