"""Model specs of what people write: `[[models]]` tables of `arena.toml`, and words on the command line."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from arena.config import ConfigError, nearest
from arena.engines.spec import ModelSpec
from prompt_formats import Registry, UnknownFormat


def specs_from_tables(tables: Sequence[Mapping[str, Any]], where: str = "arena.toml") -> list[ModelSpec]:
    """Model specs of `[[models]]` tables.

    Raises:
        ConfigError: an entry has an unknown key or a bad value, or a name stands twice.
    """
    specs: dict[str, ModelSpec] = {}
    for number, table in enumerate(tables, start=1):
        entry = f"{where}: models[{number}] ({table.get('name', 'no name')})"
        try:
            spec = ModelSpec.model_validate(table)
        except ValidationError as error:
            raise ConfigError("\n".join(explain(entry, error))) from None
        if spec.name in specs:
            raise ConfigError(f"{entry}: this name stands twice")
        specs[spec.name] = spec
    return list(specs.values())


def spec_from_text(text: str) -> ModelSpec:
    """A model spec of one word: a folder, a hub id, or `openai:MODEL@BASE_URL`.

    The key of an endpoint is read from the environment variable OPENAI_API_KEY, where that is set.

    Raises:
        ConfigError: the text is none of these.
    """
    if text.startswith("openai:"):
        model, at, url = text.removeprefix("openai:").rpartition("@")
        if not at or not model or not url.startswith(("http://", "https://")):
            raise ConfigError(
                f"'{text}': write openai:MODEL@BASE_URL, for example openai:qwen3@http://localhost:8000/v1"
            )
        name = model.replace("/", "-")
        # A server of one's own needs no key; OpenAI's does, and says so where there is none.
        needed = url.startswith("https://api.openai.com/") or bool(os.environ.get("OPENAI_API_KEY"))
        key = "OPENAI_API_KEY" if needed else None
        return ModelSpec(name=name, kind="openai", source=model, base_url=url, api_key_env=key)
    name = text.rstrip("/").rsplit("/", 1)[-1]
    if not name:
        raise ConfigError(
            f"'{text}': name a folder, a hub id such as Qwen/Qwen3-0.6B, or openai:MODEL@BASE_URL"
        )
    return ModelSpec(name=name, kind="local", source=text)


def check_formats(specs: Sequence[ModelSpec], registry: Registry) -> None:
    """Refuse prompt formats that the registry does not hold before a voter meets them.

    Raises:
        ConfigError: naming the model, and the nearest known formats.
    """
    for spec in specs:
        try:
            if spec.prompt_format is not None:
                registry[spec.prompt_format]
        except UnknownFormat as error:
            raise ConfigError(f"{spec.name}: prompt_format: {error}") from None


def explain(entry: str, error: ValidationError) -> Iterable[str]:
    """What is wrong with an entry, a line for each problem."""
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"]
        if problem["type"] == "extra_forbidden":
            message = "unknown key" + nearest(key, list(ModelSpec.model_fields))
        yield f"{entry}: {key}: {message}"
