"""The format of a model as the roster knows it: its setting, adapter, tokenizer or id. Fetches nothing."""

from __future__ import annotations

from pathlib import Path

from arena.cli._common import BadInput
from arena.config import ConfigError, load_settings
from arena.engines import embedded
from arena.engines.base import EngineUnavailable
from arena.engines.sources import EMBEDDED, adapter_folder
from arena.engines.spec import ModelSpec
from prompt_formats.errors import InvalidInput
from prompt_formats.registry import Registry
from prompt_formats.resolve import Resolution, resolve
from prompt_formats.tokenizer import find_folder


def find_spec(name: str, data: Path) -> ModelSpec | None:
    """The roster's entry of this name, from `arena.toml` and the embedded models; None where there is none."""
    if "/" in name:
        return None
    try:
        tables = load_settings(data).models
        specs = [ModelSpec.model_validate(table) for table in tables if table.get("name") == name]
    except (ConfigError, ValueError) as error:
        raise BadInput(str(error)) from error
    return next((spec for spec in (*specs, *embedded.default_specs(data)) if spec.name == name), None)


def resolve_spec(spec: ModelSpec, data: Path, registry: Registry) -> tuple[Resolution, str | None]:
    """The format of a roster entry, in the order that engines use, and its tokenizer's folder."""
    source = _source(spec, data)
    gguf = source if source is not None and source.suffix == ".gguf" else None
    tokenizer = source if source is not None and (source / "tokenizer.json").is_file() else None
    try:
        adapter = adapter_folder(spec)
    except EngineUnavailable as error:
        raise BadInput(str(error)) from error
    found = resolve(
        spec.source.removeprefix(EMBEDDED),
        explicit=spec.prompt_format,
        adapter=adapter,
        tokenizer=tokenizer,
        gguf=gguf,
        parent=spec.parent,
        registry=registry,
    )
    return found, None if tokenizer is None else str(tokenizer)


def _source(spec: ModelSpec, data: Path) -> Path | None:
    """Where the weights lie on this machine, if they do."""
    if spec.kind != "local":
        return None
    if spec.source.startswith(EMBEDDED):
        return embedded.find(data)
    path = Path(spec.source).expanduser()
    if path.exists():
        return path
    try:
        return find_folder(spec.source)
    except InvalidInput:  # not in the local hub cache: the id alone has to do
        return None
