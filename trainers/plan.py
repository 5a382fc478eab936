"""A plan: a recipe with everything it names found and checked, ready to be run by a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from arena.config import ConfigError
from arena.engines.base import EngineError
from arena.engines.sources import adapter_folder, model_id
from arena.engines.sources import resolve as weights_of
from arena.engines.spec import ModelSpec
from arena.roster import Contestant, find, refusal_of_name
from results.store import Store
from results.store.datasets import DatasetKind, StoredDataset
from trainers.datasets import MissingRows, UnknownDataset, find_dataset
from trainers.datasets.files import rows_path
from trainers.recipes import DATASET_KINDS, OBJECTIVES, Recipe

_HELD_NEAR = ("dpo", "kto", "rloo", "grpo")
"""Objectives whose trainers load a reference of their own when all weights are trained."""


RATES_ONLY = ("classify", "reward")
"""Objectives whose models rate or classify texts: they answer nobody, and do not enter the roster."""


class CannotPlan(ValueError):
    """The recipe cannot be run as it stands. The message says which key, why, and what to do."""


class BasePlan(BaseModel):
    """The model that training starts from: its version, its weights here, and how it is prompted."""

    model_config = ConfigDict(frozen=True)

    label: str
    digest: str
    spec: ModelSpec
    path: Path
    adapter: Path | None = None
    model_id: str


class DatasetPlan(BaseModel):
    """The dataset version that is trained on."""

    model_config = ConfigDict(frozen=True)

    label: str
    digest: str
    kind: DatasetKind
    row_count: int
    held_out_count: int
    licence: str | None
    origin: dict[str, Any] = {}


class TrainingPlan(BaseModel):
    """All that a training process needs to know; nothing in it can change while the job waits."""

    model_config = ConfigDict(frozen=True)

    recipe: Recipe
    base: BasePlan
    dataset: DatasetPlan
    teacher: Path | None = None
    reward_model: Path | None = None


def make_plan(store: Store, data_dir: Path, recipe: Recipe) -> TrainingPlan:
    """Find what the recipe names, and refuse what cannot work before it waits in the queue.

    Raises:
        CannotPlan: the name cannot be given to a new model, the base is no local model of full precision, the dataset
            is of a kind that the objective does not learn from, or something is not there.
    """
    data_dir = data_dir.resolve()
    if recipe.objective not in RATES_ONLY and (why := refusal_of_name(store, recipe.name)) is not None:
        raise CannotPlan(f"name: {why}")
    base = _base(store, data_dir, recipe.base, "base")
    dataset = _dataset(store, data_dir, recipe)
    if base.adapter is not None and recipe.method != "full":
        raise CannotPlan(
            f"base: {base.label} is an adapter on {base.spec.source}; a second one would stand on the wrong weights. "
            "Merge it first (`arena models merge`) and train on the result, or use method full"
        )
    if base.adapter is not None and recipe.objective in _HELD_NEAR:
        raise CannotPlan(
            f"base: {base.label} is an adapter on {base.spec.source}; {recipe.objective} holds the model near "
            "its base, which would be read without the adapter. Merge it first (`arena models merge`) and train on the "
            "result"
        )
    teacher = reward = None
    if recipe.objective == "distill" and recipe.distillation.teacher is not None:
        teacher = _teacher(store, data_dir, recipe.distillation.teacher)
    if recipe.objective in ("rloo", "grpo") and recipe.reinforcement.reward_model is not None:
        reward = _reward_model(data_dir, recipe.reinforcement.reward_model)
    return TrainingPlan(recipe=recipe, base=base, dataset=dataset, teacher=teacher, reward_model=reward)


def _base(store: Store, data_dir: Path, reference: str, key: str) -> BasePlan:
    try:
        contestant: Contestant = find(store, reference)
        spec = contestant.spec
        if spec.kind != "local":
            raise CannotPlan(f"{key}: {reference} is an endpoint; training needs weights that lie here")
        if spec.quantisation != "none":
            raise CannotPlan(
                f"{key}: {reference} is quantised ({spec.quantisation}); name the model in full precision "
                "(method qlora quantises it for training)"
            )
        path, adapter = weights_of(spec, data_dir), adapter_folder(spec)
    except (ConfigError, EngineError) as error:
        raise CannotPlan(f"{key}: {error}") from None
    if path.suffix == ".gguf":
        raise CannotPlan(f"{key}: {reference} is a GGUF file; training needs a folder of safetensors")
    return BasePlan(
        label=contestant.version.label,
        digest=contestant.version.digest,
        spec=spec,
        path=path,
        adapter=adapter,
        model_id=model_id(spec),
    )


def _teacher(store: Store, data_dir: Path, reference: str) -> Path:
    found = _base(store, data_dir, reference, "distillation.teacher")
    if found.adapter is not None:
        raise CannotPlan(
            f"distillation.teacher: {found.label} is an adapter on {found.spec.source}, which alone would teach. Merge "
            "it first (`arena models merge`) and name the result"
        )
    return found.path


def _dataset(store: Store, data_dir: Path, recipe: Recipe) -> DatasetPlan:
    try:
        found: StoredDataset = find_dataset(store, recipe.dataset)
    except UnknownDataset as error:
        raise CannotPlan(f"dataset: {error.args[0]}") from None
    kinds = DATASET_KINDS[recipe.objective]
    if found.kind not in kinds:
        able = [objective for objective in OBJECTIVES if found.kind in DATASET_KINDS[objective]]
        raise CannotPlan(
            f"dataset: {found.label} holds {found.kind} rows; objective {recipe.objective} learns from "
            f"{' or '.join(kinds)} (this dataset suits {', '.join(able)})"
        )
    if not rows_path(data_dir, found.digest).is_file():
        raise CannotPlan(f"dataset: {MissingRows(f'the rows of {found.label} are gone: add its file again')}")
    if found.row_count == found.held_out_count:
        raise CannotPlan(f"dataset: all rows of {found.label} are held out; add it with a smaller --held-out")
    return DatasetPlan.model_validate(
        found.model_dump(include=set(DatasetPlan.model_fields) | {"label"}) | {"label": found.label}
    )


def _reward_model(data_dir: Path, name: str) -> Path:
    """A trained reward model: a folder, or the newest finished job of that name."""
    folder = Path(name).expanduser()
    if (folder / "config.json").is_file() or (folder / "adapter_config.json").is_file():
        return folder.resolve()
    from trainers.artifacts import newest_artifact

    found = newest_artifact(data_dir, name)
    if found is None:
        raise CannotPlan(
            f"reinforcement.reward_model: there is no finished training of '{name}'; train one with objective reward"
        )
    return found
