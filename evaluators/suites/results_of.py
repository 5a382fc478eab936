"""From samples to results: means with standard errors, per model, suite and language."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from evaluators.suites.definition import Suite
from evaluators.suites.scorers import Scored, ScoredItem
from evaluators.suites.statistics import Estimate, bootstrap_stderr, mean
from results.store import Store
from results.store.suites import ALL_LANGUAGES, SuiteResultRecord, suite_samples

Row = dict[str, Any]


def suite_result_records(store: Store, run_id: UUID, suite: Suite) -> list[SuiteResultRecord]:
    """The results of a run's samples of one suite, for each model version, for each language and for all."""
    rows = read_samples(store, run_id, suite.name)
    records: list[SuiteResultRecord] = []
    for version_key in dict.fromkeys(row["version_key"] for row in rows):
        own = [row for row in rows if row["version_key"] == version_key]
        languages = sorted({row["language"] for row in own if row["language"]})
        for language in (ALL_LANGUAGES, *languages):
            part = [row for row in own if language in (ALL_LANGUAGES, row["language"])]
            records.extend(_records(run_id, version_key, suite, language, part))
    return records


def read_samples(store: Store, run_id: UUID | None = None, suite: str | None = None) -> list[Row]:
    """Samples as dicts, their `metrics` and `detail` read."""
    rows: list[Row] = suite_samples(store, run_id, suite).to_pylist()
    for row in rows:
        row["metrics"], row["detail"] = json.loads(row["metrics"]), json.loads(row["detail"])
    return rows


def group_of(row: Row) -> str:
    """The cluster of a sample: its item's group, else the item itself."""
    return f"{row['language']}/{row['item_group']}" if row["item_group"] else row["item"]


def per_item(rows: Sequence[Row], metric: str) -> tuple[list[float], list[str]]:
    """One value an item (the mean over its repeats) and its group, of the items that have a value."""
    values: dict[str, list[float]] = defaultdict(list)
    groups: dict[str, str] = {}
    for row in rows:
        value = row["metrics"].get(metric)
        if value is not None:
            values[row["item"]].append(value)
            groups[row["item"]] = group_of(row)
    return [sum(each) / len(each) for each in values.values()], [groups[item] for item in values]


def _records(
    run_id: UUID, version_key: int, suite: Suite, language: str, rows: list[Row]
) -> Iterator[SuiteResultRecord]:
    errors = sum(row["error_kind"] is not None for row in rows)
    for metric in suite.metrics:
        if metric in suite.scorer.over_suite:
            estimate = _over_suite(suite, metric, rows)
        else:
            estimate = mean(*per_item(rows, metric))
        if estimate is None and metric != suite.score_metric:
            continue
        yield SuiteResultRecord(
            run_id=run_id,
            version_key=version_key,
            suite=suite.name,
            suite_version=rows[0]["suite_version"],
            language=language,
            metric=metric,
            value=None if estimate is None else estimate.value,
            stderr=None if estimate is None else estimate.stderr,
            items=0 if estimate is None else estimate.items,
            samples=len(rows),
            errors=errors,
            is_score=metric == suite.score_metric,
        )


def _over_suite(suite: Suite, metric: str, rows: list[Row]) -> Estimate | None:
    # Without detail there was no answer; with several answers to an item, the first stands for it.
    scored = [row for row in rows if row["repeat"] == 0 and row["detail"] and row["score"] is not None]
    if not scored:
        return None
    statistic = suite.scorer.over_suite[metric]
    items = [
        # A repeated group of a bootstrap draw stays one group only if its name says which draw it is: names are
        # made unique there.
        ScoredItem(group_of(row), Scored(row["metrics"], row["detail"]))
        for row in scored
    ]
    value = statistic(items)
    if value is None:
        return None

    def of_draw(places: Sequence[int]) -> float | None:
        seen: dict[int, int] = defaultdict(int)
        drawn = []
        for place in places:
            drawn.append(ScoredItem(f"{items[place].group}#{seen[place]}", items[place].scored))
            seen[place] += 1
        return statistic(drawn)

    return Estimate(value, bootstrap_stderr([item.group for item in items], of_draw), len(items))
