"""Recipes from YAML, from presets and from `key=value` words, with errors that name the key and the nearest one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from arena.config import nearest
from trainers.recipes.recipe import Recipe


class BadRecipe(ValueError):
    """The recipe cannot be used. The message names the file, the key, what was wrong and what would be right."""


def read_recipe(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file; `preset: NAME` in it fills in what it does not say, and `changes` such as
    `optimiser.learning_rate=1e-4` win over both. Raises `BadRecipe`."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadRecipe(f"{path}: there is no such file") from None
    except OSError as error:
        raise BadRecipe(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise BadRecipe(f"{path}: cannot be read ({error}); save it as UTF-8") from error
    except yaml.YAMLError as error:
        raise BadRecipe(f"{path}: not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise BadRecipe(f"{path}: a recipe is a list of `key: value` lines, such as `base: NAME`")
    return make_recipe(values, changes, where=str(path))


def make_recipe(values: Mapping[str, Any], changes: Sequence[str] = (), where: str = "recipe") -> Recipe:
    """A recipe from plain values (see `read_recipe`). Raises `BadRecipe`."""
    given = dict(values)
    name = given.pop("preset", None)
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals:
            raise BadRecipe(f"{where}: '{change}': write KEY=VALUE, for example optimiser.learning_rate=1e-4")
        if key == "preset":
            name = text
            continue
        given = merged(given, _nested(key.split("."), _scalar(text)))
    if name is not None:
        given = merged(preset(str(name)), given)
    try:
        return Recipe.model_validate(given)
    except ValidationError as error:
        raise BadRecipe("\n".join(_told(where, problem) for problem in error.errors())) from None


def write_recipe(recipe: Recipe) -> str:
    """The recipe as YAML, without what stands at its default; reading it gives an equal recipe."""
    values = recipe.model_dump(mode="json", exclude_defaults=True)
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def preset(name: str) -> dict[str, Any]:
    """The values of a preset. Raises `BadRecipe` naming the nearest."""
    known = presets()
    if name not in known:
        raise BadRecipe(f"there is no preset '{name}'{nearest(name, list(known))}")
    return {key: value for key, value in known[name].items() if key != "about"}


@cache
def presets() -> dict[str, dict[str, Any]]:
    """All presets by name; `about` says what each is for."""
    folder = files("trainers.recipes").joinpath("presets")
    found = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name
    )
    return {
        file.name.removesuffix(".yaml"): yaml.safe_load(file.read_text(encoding="utf-8")) for file in found
    }


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`, section by section."""
    result = dict(below)
    for key, value in above.items():
        under = result.get(key)
        result[key] = (
            merged(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
        )
    return result


def _nested(keys: list[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    nested: dict[str, Any] = value
    return nested


def _scalar(text: str) -> Any:
    try:
        # YAML takes 1e-4 for text.
        return float(text) if "e" in text.lower() else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        return text


def _told(where: str, problem: Any) -> str:
    keys = [str(part) for part in problem["loc"] if part != "all-linear"]
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = "unknown key" + nearest(keys[-1], _known(keys[:-1]))
    elif problem["type"] == "missing":
        message = "is missing: every recipe says it"
    return f"{where}: {'.'.join(keys)}: {message}" if keys else f"{where}: {message}"


def _known(section: list[str]) -> list[str]:
    model: type[BaseModel] = Recipe
    for key in section:
        annotation = model.model_fields[key].annotation if key in model.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        model = annotation
    return [*model.model_fields, *(["preset"] if model is Recipe else [])]
