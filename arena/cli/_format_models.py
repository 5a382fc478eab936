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

DATABASE = "palaestra.duckdb"


class RosterModels:
    """The models of a data directory by what people call them, each looked up once: in bulk the same few come often."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._specs: dict[str, ModelSpec | None] = {}

    def format_of(self, name: str, registry: Registry) -> tuple[Resolution, str | None] | None:
        """The format and the tokenizer's folder of the model that a name, `name@2` or an alias means; None for what
        is none of these. Raises BadInput, WorkFailed."""
        if name not in self._specs:
            self._specs[name] = _listed(name, self._data) or _stored(name, self._data)
        spec = self._specs[name]
        return None if spec is None else resolve_spec(spec, self._data, registry)


def _listed(name: str, data: Path) -> ModelSpec | None:
    """The entry of `arena.toml`, or the embedded model, of this name: they may not be in the database yet."""
    if "/" in name:
        return None
    try:
        tables = load_settings(data).models
        specs = [ModelSpec.model_validate(table) for table in tables if table.get("name") == name]
    except (ConfigError, ValueError) as error:
        raise BadInput(str(error)) from error
    return next((spec for spec in (*specs, *embedded.default_specs(data)) if spec.name == name), None)


def _stored(name: str, data: Path) -> ModelSpec | None:
    """What the database means by this name; looking at a format makes no database."""
    if not (data / DATABASE).is_file():
        return None
    # Imported here: formats of ids need no database.
    from arena.cli._models import open_models
    from arena.roster import UnknownModel, find

    with open_models(data) as store:
        try:
            return find(store, name).spec
        except UnknownModel as error:
            if "@" in name:  # no hub id has one: a version was meant
                raise BadInput(str(error)) from None
            return None
        except ConfigError as error:
            raise BadInput(str(error)) from None


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
