"""Scores on items that a model may have been trained on, apart from those on clean ones."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any
from uuid import UUID

from evaluators.suites.results_of import Row, per_item, read_samples
from evaluators.suites.statistics import mean
from results.store import Store
from results.store.contamination import contamination_flags, flagged_rows, known_checks, model_probes
from results.store.jobs import StoredJob, jobs

Exposures = dict[str, dict[str, set[str]]]
"""By suite and item hash: how the model came to know the item ("dataset NAME@1", "continues it")."""


def exposures(store: Store, version_key: int) -> Exposures:
    """The items that a model version, or what it was made from, was trained on or knows by heart.

    Trainings of this store are followed through bases and parents. Rows that a training left out do not count, nor do
    held-out rows; data shares do, since any row may have been in one.
    """
    found: Exposures = defaultdict(lambda: defaultdict(set))
    for key, trained_by in _lineage(store, version_key).items():
        for probe in model_probes(store, key):
            if probe.flagged:
                found[probe.suite][probe.item_hash].add("continues it word for word")
        for job in trained_by:
            _add_training(store, job, found)
    return {suite: dict(items) for suite, items in found.items()}


def scores_apart(store: Store, run_id: UUID) -> list[dict[str, Any]]:
    """For each model and suite of a run with contaminated items: the suite's score on these and on the clean ones.

    Each entry has `model`, `version_key`, `suite`, `metric`, `why` (reasons with the number of items), and for
    `contaminated` and `clean` each `value`, `stderr` and `items` (None where there is none).
    """
    names = {
        (row["version_key"], row["suite"]): (row["model"], row["metric"])
        for row in store.query(
            "SELECT DISTINCT r.version_key, r.suite, r.metric, m.name || '@' || v.number AS model FROM suite_results r "
            "JOIN model_versions v USING (version_key) JOIN models m USING (model_key) "
            "WHERE r.run_id::VARCHAR = ? AND r.is_score ORDER BY ALL",
            [str(run_id)],
        ).to_pylist()
    }
    known = {key: exposures(store, key) for key in dict.fromkeys(key for key, _ in names)}
    if not any(known.values()):
        return []
    samples: dict[tuple[int, str], list[Row]] = defaultdict(list)
    for row in read_samples(store, run_id):
        samples[row["version_key"], row["suite"]].append(row)
    found = []
    for (key, suite), (model, metric) in names.items():
        items = known[key].get(suite, {})
        rows = samples[key, suite]
        seen = [row for row in rows if row["item_hash"] in items]
        if not seen:
            continue
        why: dict[str, int] = defaultdict(int)
        for item_hash in {row["item_hash"] for row in seen}:
            for reason in items[item_hash]:
                why[reason] += 1
        clean = [row for row in rows if row["item_hash"] not in items]
        found.append(
            {
                "model": model, "version_key": key, "suite": suite, "metric": metric, "why": dict(sorted(why.items())),
                "contaminated": _score(seen, metric), "clean": _score(clean, metric),
            }
        )  # fmt: skip
    return found


def _score(rows: list[Row], metric: str) -> dict[str, Any] | None:
    estimate = mean(*per_item(rows, metric))
    if estimate is None:
        return None
    return {"value": estimate.value, "stderr": estimate.stderr, "items": estimate.items}


def _lineage(store: Store, version_key: int) -> dict[int, list[StoredJob]]:
    """The version and all that it was made from, each with the trainings that made it."""
    versions = {
        row["version_key"]: row
        for row in store.query(
            "SELECT v.version_key, v.digest, v.spec, m.name || '@' || v.number AS label, m.name "
            "FROM model_versions v JOIN models m USING (model_key) ORDER BY v.version_key"
        ).to_pylist()
    }
    by_digest = {row["digest"]: key for key, row in versions.items()}
    trainings = [job for job in jobs(store) if job.state == "done"]
    found: dict[int, list[StoredJob]] = {}
    waiting = [version_key]
    while waiting:
        key = waiting.pop()
        if key in found or key not in versions:
            continue
        spec = json.loads(versions[key]["spec"])
        # Its own version, and copies under other names or quantisations: they use what the training left.
        parts = {spec.get("source"), spec.get("adapter")} - {None}
        found[key] = [
            job
            for job in trainings
            if job.result.get("version_key") == key or job.result.get("artifact") in parts
        ]
        bases = [job.recipe["base"]["digest"] for job in found[key]]
        waiting += [by_digest[digest] for digest in bases if digest in by_digest]
        waiting += _versions_named(versions, spec.get("parent"))
    return found


def _versions_named(versions: dict[int, Row], reference: str | None) -> list[int]:
    """The version of `name@n`, or all versions of a name."""
    return [
        key
        for key, row in versions.items()
        if reference is not None and reference in (row["label"], row["name"])
    ]


def _add_training(store: Store, job: StoredJob, found: Exposures) -> None:
    data, told = job.recipe["dataset"], job.result.get("contamination") or {}
    checks = known_checks(store, data["digest"])
    if not checks:
        return
    refused = frozenset() if told.get("allowed") else flagged_rows(store, map(UUID, told.get("checks", ())))
    for flag in contamination_flags(store, checks).to_pylist():
        if flag["split"] == "train" and flag["row_digest"] not in refused:
            found[flag["suite"]][flag["item_hash"]].add(f"trained on {data['label']}")
