"""The form of a recipe: its fields, taken from the typed recipe, and the way between a form's values and YAML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from trainers.recipes import BadRecipe, Recipe, make_recipe

Kind = Literal["text", "number", "whole", "choice", "flag", "words", "wholes"]


@dataclass(frozen=True)
class RecipeField:
    """One field: `key` as in the file ("optimiser.learning_rate"), `section` ("" at the top) and how it is filled in.

    `words` and `wholes` are lists, written with commas; `choices` are those of a choice, or the words that may stand
    in place of a list.
    """

    key: str
    section: str
    kind: Kind
    default: Any
    required: bool
    choices: tuple[str, ...] = ()
    bounds: str = ""

    @property
    def name(self) -> str:
        """The key without its section."""
        return self.key.rpartition(".")[2]


def sections() -> dict[str, str]:
    """The sections of a recipe with their docstrings, "" being its top, in order."""
    found = {"": _docstring(Recipe)}
    for name, info in Recipe.model_fields.items():
        section = _section(info)
        if section is not None:
            found[name] = _docstring(section)
    return found


def recipe_fields() -> tuple[RecipeField, ...]:
    """All fields of a recipe, in order."""
    return tuple(_fields(Recipe, ""))


def values_of(recipe: Recipe) -> list[Any]:
    """The values of a form for a recipe, in the order of `FIELDS`."""
    plain = recipe.model_dump(mode="json")
    return [_shown(field, _at(plain, field.key)) for field in FIELDS]


def recipe_text(values: Sequence[Any]) -> str:
    """The YAML of a form's values, without what stands at its default. It may not be a whole recipe yet."""
    made: dict[str, Any] = {}
    for field, shown in zip(FIELDS, values, strict=True):
        value = _meant(field, shown)
        if value == field.default and not field.required:
            continue
        place = made.setdefault(field.section, {}) if field.section else made
        place[field.name] = value
    return yaml.safe_dump(made, sort_keys=False, allow_unicode=True)


def recipe_from(text: str) -> Recipe:
    """The recipe that YAML means, presets filled in. Raises `BadRecipe`, naming each key that is wrong."""
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadRecipe(f"not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise BadRecipe("a recipe is a list of `key: value` lines, such as `base: NAME`")
    try:
        return make_recipe(values)
    except BadRecipe as error:
        raise BadRecipe(str(error).replace("recipe: ", "")) from None


def _fields(model: type[BaseModel], section: str) -> Iterator[RecipeField]:
    for name, info in model.model_fields.items():
        below = _section(info)
        if below is not None:
            yield from _fields(below, name)
            continue
        kind, choices = _kind(info.annotation)
        yield RecipeField(
            key=f"{section}.{name}" if section else name,
            section=section,
            kind=kind,
            default=_listed(info.default) if not info.is_required() else "",
            required=info.is_required(),
            choices=choices,
            bounds=_bounds(info),
        )


def _kind(annotation: Any) -> tuple[Kind, tuple[str, ...]]:
    origin = get_origin(annotation)
    if origin is Literal:
        return "choice", get_args(annotation)
    if origin in (Union, UnionType):
        parts = [part for part in get_args(annotation) if part is not type(None)]
        words = [word for part in parts if get_origin(part) is Literal for word in get_args(part)]
        rest = [part for part in parts if get_origin(part) is not Literal]
        return _kind(rest[0])[0], tuple(words)
    if origin is tuple:
        return ("words" if get_args(annotation)[0] is str else "wholes"), ()
    kinds: dict[Any, Kind] = {bool: "flag", int: "whole", float: "number", str: "text"}
    return kinds[annotation], ()


def _section(info: FieldInfo) -> type[BaseModel] | None:
    kind = info.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _bounds(info: FieldInfo) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = ((sign, getattr(part, name, None)) for part in info.metadata for name, sign in signs.items())
    return ", ".join(f"{sign} {value:,}" for sign, value in found if value is not None)


def _docstring(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())


def _at(plain: Mapping[str, Any], key: str) -> Any:
    value: Any = plain
    for part in key.split("."):
        value = value[part]
    return value


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _shown(field: RecipeField, value: Any) -> Any:
    if field.kind in ("words", "wholes"):
        return value if isinstance(value, str) else ", ".join(map(str, value))
    if field.kind in ("number", "whole") and field.default is None:
        return "" if value is None else str(value)
    return "" if value is None and field.kind == "text" else value


def _meant(field: RecipeField, shown: Any) -> Any:
    """The value that a component holds; what is left empty stands at its default."""
    if field.kind in ("words", "wholes"):
        words = [word.strip() for word in str(shown or "").split(",") if word.strip()]
        if len(words) == 1 and words[0] in field.choices:
            return words[0]
        if field.kind == "wholes":
            return [int(word) if word.isdecimal() else word for word in words]
        return words or field.default
    if shown is None or (isinstance(shown, str) and not shown.strip()):
        return field.default
    if isinstance(shown, str):
        shown = shown.strip()
        return int(shown) if field.kind == "whole" and shown.isdecimal() else shown
    return shown


FIELDS = recipe_fields()
