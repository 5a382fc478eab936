"""Recipes: one typed document makes the form, the file and the command line of a training run."""

from trainers.recipes.reading import (
    BadRecipe,
    make_recipe,
    merged,
    preset,
    presets,
    read_recipe,
    write_recipe,
)
from trainers.recipes.recipe import (
    DATASET_KINDS,
    METHODS,
    OBJECTIVES,
    OBJECTIVES_OF,
    Method,
    Objective,
    Recipe,
)

__all__ = [
    "DATASET_KINDS",
    "METHODS",
    "OBJECTIVES",
    "OBJECTIVES_OF",
    "BadRecipe",
    "Method",
    "Objective",
    "Recipe",
    "make_recipe",
    "merged",
    "preset",
    "presets",
    "read_recipe",
    "write_recipe",
]
