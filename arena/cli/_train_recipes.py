"""Recipes that the commands of `arena train` are given, and the models that they name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arena.cli._common import BadInput
from arena.cli._models import resolve_options, settings_of

if TYPE_CHECKING:
    from results.store import Store
    from results.store.jobs import StoredJob
    from trainers.recipes import Recipe

Job = Annotated[str, typer.Argument(help="A training's id (or how it begins), or its name (the newest).")]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="KEY=VALUE over the recipe, such as optimiser.learning_rate=1e-4; may be repeated."
    ),
]


def recipe_of(path: Path | None, changes: list[str] | None, preset: str | None) -> Recipe:
    """The recipe of a file, or of a preset and changes alone. Raises BadInput."""
    from trainers.recipes import BadRecipe, make_recipe, read_recipe

    words = [*([f"preset={preset}"] if preset else []), *(changes or [])]
    try:
        return read_recipe(path, words) if path is not None else make_recipe({}, words, where="--set")
    except BadRecipe as error:
        raise BadInput(str(error)) from None


def bring_in(store: Store, data: Path, recipe: Recipe) -> Recipe:
    """Put on the roster what the recipe names: entries of arena.toml, the embedded model, folders. Gives the recipe
    with a folder as base (or teacher) replaced by the name that it got."""
    from arena.config import ConfigError
    from arena.roster import find

    def named(word: str) -> str:
        (contestant,) = resolve_options(store, settings_of(data), data, [word])
        try:
            find(store, word)
        except ConfigError:
            return contestant.version.label
        return word

    changes: dict[str, object] = {"base": named(recipe.base)}
    if recipe.objective == "distill" and recipe.distillation.teacher:
        teacher = named(recipe.distillation.teacher)
        changes["distillation"] = recipe.distillation.model_copy(update={"teacher": teacher})
    return recipe.model_copy(update=changes)


def job_of(store: Store, reference: str) -> StoredJob:
    """The training that somebody means. Raises BadInput."""
    from trainers.jobs import UnknownJob, find_job

    try:
        return find_job(store, reference)
    except UnknownJob as error:
        raise BadInput(str(error.args[0])) from None
