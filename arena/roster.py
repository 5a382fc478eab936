"""The roster: which models take part, each as an immutable version that the store knows.

Entries come from `arena.toml` (owned by the file), from the command line, and from the embedded default model.
A model that cannot be used stays on the roster with the reason, and battles are drawn among the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from arena.config import ConfigError, Settings, nearest
from arena.engines.base import EngineError
from arena.engines.spec import ModelSpec
from prompt_formats import Registry, UnknownFormat
from results.records import ModelVersionRecord, ModelVersionRef
from results.store import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Contestant:
    """A model of the roster and the version of it that answers now."""

    spec: ModelSpec
    version: ModelVersionRef


class Roster:
    """The models of one arena, by name, in the order of their entry."""

    def __init__(self, contestants: Iterable[Contestant], unusable: Mapping[str, str] | None = None) -> None:
        self._contestants = {contestant.spec.name: contestant for contestant in contestants}
        self._unusable = dict(unusable or {})

    def contestant(self, name: str) -> Contestant:
        """The contestant of that name; KeyError where there is none."""
        return self._contestants[name]

    def contestants(self) -> list[Contestant]:
        """All contestants, usable or not."""
        return list(self._contestants.values())

    def available(self) -> list[str]:
        """The names of those that can be drawn."""
        return [name for name in self._contestants if name not in self._unusable]

    def unusable(self) -> dict[str, str]:
        """The reason for each model that cannot be used now."""
        return dict(self._unusable)

    def set_unusable(self, name: str, reason: str) -> None:
        """Leave the model out of further draws."""
        log.warning("%s is left out of battles: %s", name, reason)
        self._unusable[name] = reason

    def set_usable(self, name: str) -> None:
        """Let the model be drawn again."""
        self._unusable.pop(name, None)


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
            raise ConfigError("\n".join(_explain(entry, error))) from None
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
        return ModelSpec(name=name, kind="openai", source=model, base_url=url, api_key_env="OPENAI_API_KEY")
    name = text.rstrip("/").rsplit("/", 1)[-1]
    if not name:
        raise ConfigError(
            f"'{text}': name a folder, a hub id such as Qwen/Qwen3-0.6B, or openai:MODEL@BASE_URL"
        )
    return ModelSpec(name=name, kind="local", source=text)


def configured_specs(
    settings: Settings, words: Sequence[str], embedded: Sequence[ModelSpec]
) -> list[ModelSpec]:
    """All entries: `arena.toml`, then models named by words, and the embedded ones where nothing else is named
    (or where `embedded = true` stands in a file that names others).

    Raises:
        ConfigError: see `specs_from_tables` and `spec_from_text`; a name stands twice.
    """
    specs = [*specs_from_tables(settings.models), *(spec_from_text(word) for word in words)]
    if not specs or (settings.models and "embedded" in settings.model_fields_set and settings.embedded):
        specs = [*embedded, *specs]
    seen: set[str] = set()
    for spec in specs:
        if spec.name in seen:
            raise ConfigError(f"two models are named '{spec.name}': give one another name in arena.toml")
        seen.add(spec.name)
    return specs


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


def enrol(store: Store, specs: Sequence[ModelSpec], weights_digest: Callable[[ModelSpec], str]) -> Roster:
    """Make a version of every spec known to the store (a new one only where something changed).

    A model whose weights cannot be read is unusable, with the reason; it still has its entry.
    """
    usable: list[ModelSpec] = []
    records: list[ModelVersionRecord] = []
    unusable: dict[str, str] = {}
    for spec in specs:
        try:
            weights = weights_digest(spec)
        except EngineError as error:
            unusable[spec.name] = str(error)
            log.warning("%s is left out of battles: %s", spec.name, error)
            continue
        usable.append(spec)
        records.append(
            ModelVersionRecord(
                model=spec.name, digest=spec.digest(weights), spec=spec.model_dump(mode="json"), owner="file"
            )
        )
    versions = store.upsert_model_versions(records)
    contestants = [Contestant(spec, version) for spec, version in zip(usable, versions, strict=True)]
    return Roster(contestants, unusable)


def _explain(entry: str, error: ValidationError) -> Iterable[str]:
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"]
        if problem["type"] == "extra_forbidden":
            message = "unknown key" + nearest(key, list(ModelSpec.model_fields))
        yield f"{entry}: {key}: {message}"
