"""A trained model as a roster entry: what it is made of, and whose restrictions it inherits; and back, from a model to
the training that made it."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from arena.engines.base import EngineError
from arena.engines.sources import adapter_folder, resolve
from arena.engines.spec import ModelSpec
from results.store import Store
from results.store.datasets import dataset_versions
from results.store.jobs import jobs
from trainers.artifacts import MANIFEST
from trainers.plan import TrainingPlan
from trainers.recipes import Recipe


class Training(BaseModel):
    """What made a model, as its artifact tells: `recipe_digest` stands for all that shaped the weights. `job` and
    `dataset_here` say whether the training and the rows are known on this store (a model can come from elsewhere);
    losses are on held-out rows, before and after."""

    model_config = ConfigDict(frozen=True)

    name: str
    base: str
    dataset: str
    dataset_digest: str
    dataset_licence: str | None
    rows: int
    dataset_here: bool
    objective: str
    method: str
    recipe_digest: str
    made_at: datetime
    job: str | None
    steps: int | None
    seconds: float | None
    trained_parameters: int | None
    loss_before: float | None
    loss_after: float | None


def training_of(store: Store, spec: ModelSpec) -> Training | None:
    """The training that made a model's adapter or weights, by the files beside them; None where they tell of none, or
    are not here. Reads small files: call it from a thread."""
    if spec.kind != "local":
        return None
    try:
        folder = adapter_folder(spec) or resolve(spec, store.data_dir)
        told = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        recipe = Recipe.model_validate(told["plan"]["recipe"])
        base, data = told["plan"]["base"]["label"], told["plan"]["dataset"]
        result, made_at = told["result"], told["made_at"]
    except (EngineError, OSError, ValueError, KeyError, TypeError):
        return None  # not made by a training, or by a release whose manifest was another
    losses = [(result.get(f"held_out_{when}") or {}).get("loss") for when in ("before", "after")]
    return Training(
        name=recipe.name,
        base=base,
        dataset=data["label"],
        dataset_digest=data["digest"],
        dataset_licence=data.get("licence"),
        rows=data["row_count"],
        dataset_here=any(each.digest == data["digest"] for each in dataset_versions(store)),
        objective=recipe.objective,
        method=recipe.method,
        recipe_digest=recipe.digest(),
        made_at=made_at,
        job=_job_of(store, told.get("job"), folder),
        steps=result.get("steps"),
        seconds=result.get("seconds"),
        trained_parameters=result.get("trained_parameters"),
        loss_before=losses[0],
        loss_after=losses[1],
    )


def _job_of(store: Store, told: str | None, folder: Path) -> str | None:
    """The id of the training, where this store knows it: as the manifest says, else by where the artifact lies."""
    known = {str(each.id) for each in jobs(store)}
    return next((each for each in (told, folder.parent.name) if each in known), None)


_BY_NAME = ("registry", "parent", "plain")


def trained_spec(plan: TrainingPlan, result: dict[str, Any]) -> ModelSpec:
    """The spec of what a training left: the base's, with the new adapter or weights, named by the recipe, with the
    base as parent. It keeps the base's prompt format, since it was trained on that.
    """
    base = plan.base.spec
    folder = str(Path(result["artifact"]))
    changes: dict[str, Any] = {
        "name": plan.recipe.name,
        "parent": plan.base.label,
        "licence": plan.recipe.licence or base.licence,
        "data_licences": (*base.data_licences, plan.dataset.licence or "unknown"),
        "prompt_format": base.prompt_format,
        "tags": (*base.tags, plan.recipe.objective, plan.recipe.method),
        "note": plan.recipe.note or f"{plan.recipe.method} {plan.recipe.objective} on {plan.dataset.label}",
    }
    if result["artifact_kind"] == "adapter":
        changes["adapter"] = folder
        changes["quantisation"] = "nf4" if plan.recipe.method == "qlora" else base.quantisation
    else:
        changes |= {"source": folder, "adapter": None, "revision": None}
        if base.prompt_format is None and result.get("prompt_format_from") in _BY_NAME:
            # It followed from the base's name, and this folder has another one.
            changes["prompt_format"] = result["prompt_format"]
        if plan.recipe.qat == "int8":
            changes["quantisation"] = "torchao-int8"  # the rounding that it was trained under
    return base.model_copy(update=changes)
