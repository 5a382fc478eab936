"""A trained model as a roster entry: what it is made of, and whose restrictions it inherits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from arena.engines.spec import ModelSpec
from trainers.plan import TrainingPlan


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
        if plan.recipe.qat == "int8":
            changes["quantisation"] = "torchao-int8"  # the rounding that it was trained under
    return base.model_copy(update=changes)
