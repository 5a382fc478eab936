"""Finished runs, read back: which run, its results, what changed since the last one, samples in full."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from arena.engines.base import OverContext
from evaluators.contamination.apart import scores_apart
from evaluators.suites.at_work import state_of
from evaluators.suites.breakdowns import breakdowns
from evaluators.suites.comparing import Side, compare
from evaluators.suites.errors import SuiteError, hint
from evaluators.suites.results_of import read_samples
from results.store import Store
from results.store.aliases import find_version
from results.store.suites import StoredSuiteRun, suite_results, suite_runs


def find_run(store: Store, which: str) -> StoredSuiteRun:
    """The run of an id (or at least 4 characters of it), of a name (its newest), or `last`. Raises SuiteError."""
    runs = suite_runs(store)
    if not runs:
        raise SuiteError("there is no run yet: `arena bench run --model MODEL --suite SUITE`")
    if which == "last":
        return runs[-1]
    named = [run for run in runs if run.name == which]
    if named:
        return named[-1]
    found = [run for run in runs if len(which) >= 4 and str(run.id).startswith(which.lower())]
    if len(found) == 1:
        return found[0]
    if found:
        raise SuiteError(
            f"'{which}' could be {' or '.join(str(run.id) for run in found[:5])}: give more of it"
        )
    names = {run.name for run in runs if run.name}
    raise SuiteError(
        f"there is no run '{which}'{hint(which, names) if names else ''} (`arena bench runs` lists all)"
    )


def find_side(store: Store, word: str) -> Side:
    """What `compare` is given: a model (its newest samples), a run with one model, or RUN:MODEL. Raises SuiteError."""
    found = find_version(store, word)
    if found.version is not None:
        return Side(found.version.label, found.version.version_key)
    which, colon, model = word.partition(":")
    try:
        run = find_run(store, which)
    except SuiteError:
        known = {row["model"].rsplit("@", 1)[0] for row in suite_results(store).to_pylist()}
        raise SuiteError(f"'{word}' is no model, version or alias, and no run{hint(word, known)}") from None
    labels = {row["model"]: row["version_key"] for row in suite_results(store, run.id).to_pylist()}
    chosen = [label for label in labels if not colon or model in (label, label.rsplit("@", 1)[0])]
    if len(chosen) != 1:
        raise SuiteError(f"the run {word} has {', '.join(labels) or 'no results'}: write RUN:MODEL")
    return Side(f"{chosen[0]} in {str(run.id)[:13]}", labels[chosen[0]], run.id)


def run_summary(store: Store, run: StoredSuiteRun) -> dict[str, Any]:
    """A run as plain JSON: its plan, state and results, with their `difficulties` and `confusions` (see `breakdowns`);
    how many samples are `missing` an answer, and why; and where models know items of a suite from their training, the
    score on these `apart` from that on the clean ones."""
    results = suite_results(store, run.id).to_pylist()
    return {
        "run": str(run.id),
        "name": run.name,
        "state": state_of(store, run),
        "note": run.note,
        "started": run.created_at.isoformat(),
        "finished": None if run.finished_at is None else run.finished_at.isoformat(),
        "plan": run.plan,
        "results": [{key: value for key, value in row.items() if key != "run_id"} for row in results],
        "missing": _missing(store, run.id),
        **breakdowns(store, run.id),
        "apart": scores_apart(store, run.id),
    }


def change_since(store: Store, run: StoredSuiteRun) -> dict[str, Any] | None:
    """What changed since the finished run of the same name before this one, model by model (by name, so that a new
    version is compared with the one before it); None where there is none."""
    earlier = [
        other
        for other in suite_runs(store)
        if other.name == run.name and other.state == "done" and other.created_at < run.created_at
    ]
    if not run.name or not earlier:
        return None
    last = earlier[-1]
    before, after = _by_name(store, last.id), _by_name(store, run.id)
    changes: list[dict[str, Any]] = []
    for name in sorted(before.keys() & after.keys()):
        a, b = Side(*before[name], last.id), Side(*after[name], run.id)
        try:
            comparison = compare(store, a, b)
        except SuiteError:
            continue
        changes.extend(
            {
                "model": b.label,
                "before_model": a.label,
                "suite": each.suite,
                "before": each.difference.a,
                "after": each.difference.b,
                "change": each.difference.difference,
                "interval": each.difference.interval,
                "p": each.adjusted_p,
                "verdict": each.verdict,
                "items": each.difference.items,
            }
            for each in comparison.suites
        )
    return {"run": str(last.id), "started": last.created_at.isoformat(), "changes": changes}


def suite_detail(store: Store, run: StoredSuiteRun, suite: str) -> dict[str, Any]:
    """One suite of a run: results by category and difficulty, confusion matrices of labels, its samples, worst first.
    Raises SuiteError where the run has no samples of it."""
    rows = read_samples(store, run.id, suite)
    if not rows:
        known = {row["suite"] for row in suite_results(store, run.id).to_pylist()}
        raise SuiteError(f"this run has no samples of '{suite}'{hint(suite, known)}")
    labels = {row["version_key"]: row["model"] for row in suite_results(store, run.id).to_pylist()}
    divided = breakdowns(store, run.id)
    detail: dict[str, Any] = {"run": str(run.id), "suite": suite, "models": []}
    for key in dict.fromkeys(row["version_key"] for row in rows):
        own = [row for row in rows if row["version_key"] == key]
        categories: dict[str, list[float]] = {}
        for row in own:
            if row["score"] is not None:
                categories.setdefault(row["category"], []).append(row["score"])
        detail["models"].append(
            {
                "model": labels.get(key, str(key)),
                "categories": {
                    name: {"score": sum(scores) / len(scores), "samples": len(scores)}
                    for name, scores in sorted(categories.items())
                },
                **{
                    name: [
                        {k: v for k, v in row.items() if k not in ("suite", "model")}
                        for row in rows_of
                        if row["suite"] == suite and row["model"] == labels.get(key)
                    ]
                    for name, rows_of in divided.items()
                },
                "samples": [
                    {
                        name: row[name]
                        for name in (
                            "item", "language", "category", "repeat", "score", "metrics", "detail", "rendered_prompt",
                            "text", "choices", "error_kind", "error",
                        )
                    }
                    for row in sorted(own, key=lambda row: (row["score"] is not None, row["score"] or 0.0, row["item"]))
                ],
            }
        )  # fmt: skip
    return detail


def _missing(store: Store, run_id: UUID) -> list[dict[str, Any]]:
    """How many samples have no answer, by suite, model and kind of error, with the message of one of them. `counted`
    ones do not fit the model's context and count as not solved; the others are left out of scores."""
    rows: list[dict[str, Any]] = store.query(
        "SELECT s.suite, m.name || '@' || v.number AS model, s.error_kind AS kind, count(*) AS samples, "
        "min(s.error) AS message FROM samples s JOIN model_versions v USING (version_key) "
        "JOIN models m USING (model_key) WHERE s.run_id::VARCHAR = ? AND s.error_kind IS NOT NULL "
        "GROUP BY ALL ORDER BY ALL",
        [str(run_id)],
    ).to_pylist()
    return [{**row, "counted": row["kind"] == OverContext.kind} for row in rows]


def _by_name(store: Store, run_id: UUID) -> dict[str, tuple[str, int]]:
    rows = suite_results(store, run_id).to_pylist()
    return {row["model"].rsplit("@", 1)[0]: (row["model"], row["version_key"]) for row in rows}
