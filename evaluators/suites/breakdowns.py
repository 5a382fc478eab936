"""A run's scores divided: by metric and language, by how difficult items are, and which labels are taken for which."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from evaluators.suites.catalogue import find_suite, suite_folders
from evaluators.suites.errors import SuiteError
from evaluators.suites.items import DIFFICULTIES
from evaluators.suites.results_of import Row, per_item
from evaluators.suites.scorers import Scored, ScoredItem
from evaluators.suites.scorers.choice import confusion, f1_by_label
from evaluators.suites.statistics import mean
from results.store import Store

MOST_LABELS = 40
"""A matrix of more labels than this is told to nobody."""

_SAMPLES = """
SELECT s.suite, s.version_key, m.name || '@' || v.number AS model, s.item, s.item_hash, s.item_group, s.repeat,
       s.language, s.category, s.score, s.metrics, s.detail
FROM samples s JOIN model_versions v USING (version_key) JOIN models m USING (model_key)
WHERE s.run_id::VARCHAR = ? AND s.score IS NOT NULL ORDER BY s.suite, s.version_key, s.item, s.repeat
"""


def breakdowns(store: Store, run_id: UUID) -> dict[str, list[dict[str, Any]]]:
    """`difficulties`: for each suite and model the score by the items' difficulty tags (items as the suite has them
    now). `confusions`: for each suite with labels, model, category and language the matrix (right label, label
    given) with each label's F1."""
    rows = store.query(_SAMPLES, [str(run_id)]).to_pylist()
    by_suite: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        row["metrics"], row["detail"] = json.loads(row["metrics"]), json.loads(row["detail"])
        by_suite[row["suite"], row["model"]].append(row)
    tags = {suite: _tags(suite, store.data_dir) for suite in {suite for suite, _ in by_suite}}
    difficulties: list[dict[str, Any]] = []
    confusions: list[dict[str, Any]] = []
    for (suite, model), own in by_suite.items():
        difficulties += _by_difficulty(suite, model, own, tags[suite])
        confusions += _confusions(suite, model, own)
    return {"difficulties": difficulties, "confusions": confusions}


def by_metric(results: Sequence[Row]) -> list[dict[str, Any]]:
    """Results (`suite_results`) with one row a suite, model and metric, a suite's score first: `by` language ('' for
    all), and `is_score`. Models stand in the order in which they came to the store."""
    found: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in sorted(results, key=lambda row: (row["suite"], row["version_key"], not row["is_score"])):
        found.setdefault((row["suite"], row["model"], row["metric"]), {})[row["language"]] = row
    return [
        {"suite": suite, "model": model, "metric": metric, "by": by, "is_score": by[""]["is_score"]}
        for (suite, model, metric), by in found.items()
        if "" in by
    ]


def by_difficulty(difficulties: Sequence[Row]) -> list[dict[str, Any]]:
    """`difficulties` with one row a suite, model and language ('' for all): `by` difficulty."""
    found: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in difficulties:
        found.setdefault((row["suite"], row["model"], row["language"]), {})[row["difficulty"]] = row
    return [
        {"suite": suite, "model": model, "language": language, "by": by}
        for (suite, model, language), by in found.items()
    ]


def _tags(suite: str, data_dir: Path) -> dict[str, str]:
    """The difficulty of each of a suite's items, by the item's hash; of suites elsewhere nothing is known."""
    if suite not in suite_folders(data_dir):
        return {}
    try:
        return {item.digest: item.difficulty for item in find_suite(suite, data_dir).items}
    except SuiteError:  # it was edited since, and cannot be read: its scores still can
        return {}


def _by_difficulty(suite: str, model: str, rows: list[Row], tags: dict[str, str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for difficulty in DIFFICULTIES[:-1]:
        part = [
            {**row, "metrics": {"score": row["score"]}}
            for row in rows
            if tags.get(row["item_hash"]) == difficulty
        ]
        for language in ("", *sorted({row["language"] for row in part if row["language"]})):
            estimate = mean(*per_item([row for row in part if language in ("", row["language"])], "score"))
            if estimate is not None:
                found.append(
                    {
                        "suite": suite, "model": model, "difficulty": difficulty, "language": language,
                        "value": estimate.value, "stderr": estimate.stderr, "items": estimate.items,
                    }
                )  # fmt: skip
    return found


def _confusions(suite: str, model: str, rows: list[Row]) -> list[dict[str, Any]]:
    parts: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if (
            row["repeat"] == 0
            and "accuracy" in row["metrics"]
            and isinstance(row["detail"].get("target"), str)
        ):
            parts[row["category"], row["language"]].append(row)
    found: list[dict[str, Any]] = []
    for (category, language), part in sorted(parts.items()):
        matrix = confusion([(row["detail"]["target"], row["detail"].get("read")) for row in part])
        labels = list(
            dict.fromkeys([*matrix, *sorted({read for given in matrix.values() for read in given})])
        )
        if len(labels) > MOST_LABELS:
            continue
        scores = f1_by_label([ScoredItem("", Scored(row["metrics"], row["detail"])) for row in part])
        found.append(
            {
                "suite": suite, "model": model, "category": category, "language": language, "labels": labels,
                "matrix": matrix, "f1": {label: f1 for label, (f1, _) in scores.items()}, "items": len(part),
            }
        )  # fmt: skip
    return found
