"""The same data by several methods, or one recipe over a grid of values: plain jobs of the queue, set side by side.

Asking again for the same comparison takes up the jobs that there are: finished ones are read, failed ones resumed.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from arena.config import nearest
from evaluators.suites.comparing import Comparison, Side, compare
from results.store import Store
from results.store.jobs import FINISHED, StoredJob, jobs
from trainers.jobs import advance, enqueue, metrics, plan_of, resume
from trainers.plan import make_plan
from trainers.recipes import METHODS, Method, Recipe, make_recipe, presets

MOST = 64
"""Variants of one comparison."""

_NOT_IN_NAMES = re.compile(r"[@/\s]+")


class CannotCompare(ValueError):
    """There is nothing to compare, or too much. The message says what to change."""


@dataclass(frozen=True)
class Variant:
    """One recipe of a comparison; `label` tells it from the others."""

    label: str
    recipe: Recipe


class Forgetting(BaseModel):
    """A suite before and after training: scores, the paired difference with its 95% interval, and what it shows
    (`better`, `worse` or `inconclusive`), corrected over the suites of a model."""

    model_config = ConfigDict(frozen=True)

    suite: str
    items: int
    before: float
    after: float
    difference: float
    lower: float
    upper: float
    verdict: str


class Row(BaseModel):
    """One variant as it came out. `memory` is the resident peak of its process in bytes, `quality` held-out figures
    after training, `before` those of the untrained base."""

    model_config = ConfigDict(frozen=True)

    label: str
    job: UUID
    state: str
    error: str | None = None
    model: str | None = None
    learning_rate: float
    trained_parameters: int | None = None
    parameters: int | None = None
    steps: int | None = None
    tokens: int | None = None
    seconds: float | None = None
    memory: int | None = None
    before: dict[str, float] = {}
    quality: dict[str, float] = {}
    forgetting: tuple[Forgetting, ...] = ()


def variants_by_method(recipe: Recipe, methods: Sequence[str]) -> list[Variant]:
    """The recipe by each method. A method other than the recipe's own takes the learning rate of its preset for small
    models, since one rate for all would decide the comparison. Raises `CannotCompare`, `BadRecipe`."""
    unknown = next((method for method in methods if method not in METHODS), None)
    if unknown is not None:
        raise CannotCompare(f"there is no method '{unknown}'{nearest(unknown, list(METHODS))}")
    made = []
    for method in dict.fromkeys(methods):
        changes = [f"method={method}", f"name={recipe.name}-{method}"]
        if method != recipe.method:
            rate = _usual_rate(method)  # type: ignore[arg-type]  # checked above
            changes += [f"optimiser.learning_rate={rate}"] if rate is not None else []
        values = _values(recipe)
        if method != "full":
            values.pop("frozen_layers", None)  # adapters choose their layers otherwise
            values.pop("qat", None)
        made.append(Variant(method, make_recipe(values, changes)))
    return _checked(made)


def variants_of_grid(recipe: Recipe, grid: Mapping[str, Sequence[str]]) -> list[Variant]:
    """The recipe with every combination of the grid's values ({"lora.rank": ["4", "16"]}). Raises `CannotCompare`,
    `BadRecipe`."""
    if not grid:
        raise CannotCompare("give at least one --grid KEY=VALUE,VALUE")
    made = []
    for values in itertools.product(*grid.values()):
        changes = [f"{key}={value}" for key, value in zip(grid, values, strict=True)]
        short = [(key.rpartition(".")[2], value) for key, value in zip(grid, values, strict=True)]
        name = "-".join([recipe.name, *(f"{key}{_NOT_IN_NAMES.sub('_', value)}" for key, value in short)])
        label = " ".join(f"{key}={value}" for key, value in short)
        made.append(Variant(label, make_recipe(_values(recipe), [*changes, f"name={name}"])))
    return _checked(made)


def queue_variants(store: Store, variants: Sequence[Variant]) -> list[StoredJob]:
    """The job of each variant, in order: one that there is already (resumed where it had failed), or a new one in the
    queue. Raises `CannotPlan` before anything is queued."""
    data_dir = store.data_dir
    plans = [make_plan(store, data_dir, variant.recipe) for variant in variants]
    known = jobs(store)
    found = []
    for variant, plan in zip(variants, plans, strict=True):
        same = [each for each in known if each.name == variant.recipe.name and plan_of(each) == plan]
        if not same:
            found.append(enqueue(store, variant.recipe))
        elif same[-1].state in ("failed", "cancelled"):
            found.append(resume(store, same[-1].id))
        else:
            found.append(same[-1])
    return found


def follow_all(store: Store, ids: Sequence[UUID], every: float = 1.0) -> Iterator[list[StoredJob]]:
    """The jobs as they change, until all have ended; looks after the queue meanwhile."""
    while True:
        by_id = {each.id: each for each in advance(store)}
        now = [by_id[each] for each in ids]
        yield now
        if all(each.state in FINISHED for each in now):
            return
        time.sleep(every)


def read_rows(store: Store, variants: Sequence[Variant], ids: Sequence[UUID]) -> list[Row]:
    """What became of each variant."""
    by_id = {each.id: each for each in jobs(store)}
    return [
        _row(store.data_dir, variant, by_id[job_id]) for variant, job_id in zip(variants, ids, strict=True)
    ]


def with_forgetting(store: Store, base: Side, rows: Sequence[Row], suites: Sequence[str]) -> list[Row]:
    """The rows with what each model forgot (or learned) of the suites, against the untrained base. Suite runs of the
    base and of all models must be in the store. Raises `SuiteError`."""
    made = []
    for row in rows:
        if row.model is None:
            made.append(row)
            continue
        after = Side(row.model, _version_key(store, row.job))
        made.append(row.model_copy(update={"forgetting": _forgetting(compare(store, base, after, suites))}))
    return made


def _forgetting(comparison: Comparison) -> tuple[Forgetting, ...]:
    return tuple(
        Forgetting(
            suite=each.suite, items=each.difference.items, before=each.difference.a, after=each.difference.b,
            difference=each.difference.difference, lower=each.difference.interval[0],
            upper=each.difference.interval[1], verdict=str(each.verdict),
        )
        for each in comparison.suites
    )  # fmt: skip


def _version_key(store: Store, job_id: UUID) -> int:
    found = next(each for each in jobs(store) if each.id == job_id)
    return int(found.result["version_key"])


def _row(data_dir: Path, variant: Variant, job: StoredJob) -> Row:
    result = job.result
    peak = max((line["memory"] for line in metrics(data_dir, job.id) if "memory" in line), default=None)
    return Row(
        label=variant.label, job=job.id, state=job.state, error=job.error, model=result.get("model"),
        learning_rate=variant.recipe.optimiser.learning_rate, trained_parameters=result.get("trained_parameters"),
        parameters=result.get("parameters"), steps=result.get("steps"), tokens=result.get("tokens"),
        seconds=result.get("seconds"), memory=peak, before=result.get("held_out_before") or {},
        quality=result.get("held_out_after") or {},
    )  # fmt: skip


def _values(recipe: Recipe) -> dict[str, object]:
    values: dict[str, object] = recipe.model_dump(mode="json", exclude_defaults=True)
    return values


def _usual_rate(method: Method) -> float | None:
    found = presets().get(f"{method}-small", {}).get("optimiser", {}).get("learning_rate")
    return None if found is None else float(found)


def _checked(variants: list[Variant]) -> list[Variant]:
    if len(variants) < 2:
        raise CannotCompare("a comparison needs two variants or more")
    if len(variants) > MOST:
        raise CannotCompare(f"{len(variants)} variants are too many for one comparison (at most {MOST})")
    return variants
