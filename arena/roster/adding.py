"""A model that somebody wants on the roster: from a folder, a hub id, a GGUF file, an adapter's folder, an endpoint, or
another entry, made into a spec with what its files say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from arena.config import ConfigError
from arena.engines.base import EngineError
from arena.engines.sources import resolve
from arena.engines.spec import Example, ModelSpec
from arena.roster._entries import Contestant
from arena.roster._references import UnknownModel, enrol_version, enter, find_known, nearest_known
from arena.roster._specs import check_formats, explain, spec_from_text
from arena.roster.cards import UnusableSource
from arena.roster.inspection import inspect, read_adapter_config
from arena.roster.licences import Lineage
from prompt_formats import load_registry
from results.store import Store
from results.store.model_facts import ModelFacts
from results.store.roster import entries

_OF_THE_BASE = ("kind", "source", "revision", "quantisation", "prompt_format", "window", "context_length")


@dataclass(frozen=True)
class Proposal:
    """A model that could join the roster, and what was found out about it. `base` is set for an adapter on weights of
    which the store has no version yet."""

    spec: ModelSpec
    facts: ModelFacts
    base: ModelSpec | None = None


def propose(
    store: Store,
    data_dir: Path,
    source: str,
    fields: Mapping[str, Any],
    *,
    sampling: Mapping[str, Any] | None = None,
    base: str | None = None,
) -> Proposal:
    """The model that `source` names, with `fields` of its spec (and of its `sampling`) set as somebody wants them;
    nothing is stored.

    `source` is a folder, a GGUF file, a hub id, an adapter's folder (its base is `base`, or what its configuration
    names), `openai:MODEL@BASE_URL`, or an entry of the roster, of which this becomes a variant.

    Raises:
        UnknownModel: the source is none of these.
        UnusableSource: files are missing or damaged, or an adapter's base cannot be found.
        ConfigError: a field cannot be used.
        EngineUnavailable: there is no such source, or it cannot be fetched.
    """
    _require_source(store, source)
    given = {key: value for key, value in fields.items() if value is not None}
    adapter, weights = given.pop("adapter", None), source
    folder = _adapter_folder(store, data_dir, source)
    if adapter is None and folder is not None:
        adapter, weights = folder, base or ""
    elif base is not None:
        raise ConfigError("--base belongs to an adapter's folder; beside --adapter, the source is the base")
    missing_base: ModelSpec | None = None
    if adapter is None:
        start = _start(store, weights)
    else:
        path = Path(adapter).expanduser().resolve()
        below, known = _base(store, data_dir, path, weights)
        start = {key: getattr(below, key) for key in _OF_THE_BASE}
        start |= {"name": path.name, "adapter": str(path), "parent": known}
        missing_base = below if known is None else None
    given["sampling"] = {**_as_dict(start.get("sampling")), **(sampling or {})}
    spec = _validated({**start, **given}, source)
    check_formats([spec], load_registry(data_dir / "formats"))
    _check_name(store, spec)
    facts = inspect(spec, data_dir)
    return Proposal(spec, facts, missing_base)


def add(store: Store, data_dir: Path, proposal: Proposal, context_length: int | None = None) -> Contestant:
    """Put a proposal on the roster, with the version of its base where the store had none. `context_length` is what
    an endpoint told of itself.

    Raises:
        ConfigError: a settings file owns the name, or an alias has it.
    """
    whole = with_base(store, data_dir, proposal)
    facts = whole.facts
    if context_length is not None and facts.context_length is None:
        facts = facts.model_copy(update={"context_length": context_length})
    return enter(store, whole.spec, data_dir, facts=facts)


def with_base(store: Store, data_dir: Path, proposal: Proposal) -> Proposal:
    """The proposal with a version of its base in the store, which it names as its parent."""
    if proposal.base is None:
        return proposal
    label = enrol_version(store, proposal.base, data_dir).version.label
    return Proposal(
        proposal.spec.model_copy(update={"parent": label}),
        proposal.facts.model_copy(update={"parent": label}),
    )


def read_examples(path: Path) -> tuple[Example, ...]:
    """Few-shot examples of a file: JSON lines, a JSON list or a YAML list of objects with `user` and `assistant`.

    Raises:
        ConfigError: naming the file and the entry.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the examples cannot be read: {error}") from None
    return parse_examples(text, str(path), path.suffix)


def parse_examples(text: str, where: str, suffix: str) -> tuple[Example, ...]:
    """The same of a text, read as a file with this suffix would be; `where` names it in errors."""
    try:
        if suffix == ".jsonl":
            rows: Any = [json.loads(line) for line in text.split("\n") if line.strip()]
        else:
            rows = json.loads(text) if suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{where}: the examples cannot be read: {error}") from None
    if not isinstance(rows, list) or not rows:
        raise ConfigError(f"{where}: it must hold a list of examples, each with `user` and `assistant`")
    examples = []
    for number, row in enumerate(rows, start=1):
        try:
            examples.append(Example.model_validate(row))
        except ValidationError:
            raise ConfigError(
                f"{where}: example {number} must have the texts `user` and `assistant` and nothing else"
            ) from None
    return tuple(examples)


def _require_source(store: Store, source: str) -> None:
    path = Path(source).expanduser()
    if source.startswith("openai:") or path.exists() or find_known(store, source) is not None:
        return
    if source.startswith((".", "/", "~")) or source.endswith("/"):
        raise UnusableSource(f"there is no folder or file {path}")
    if source.count("/") != 1:
        raise UnknownModel(
            f"'{source}' is no model, version or alias{nearest_known(store, source)}; nor is it a folder, a hub id "
            "such as Qwen/Qwen3-0.6B, or openai:MODEL@BASE_URL"
        )


def _adapter_folder(store: Store, data_dir: Path, source: str) -> str | None:
    """The folder, if the source is an adapter's: one here, or a hub repository."""
    if source.startswith("openai:") or find_known(store, source) is not None:
        return None
    path = Path(source).expanduser()
    if not path.exists():
        path = resolve(spec_from_text(source), data_dir)
    is_adapter = (path / "adapter_config.json").is_file() and not (path / "config.json").is_file()
    return str(path) if is_adapter else None


def _start(store: Store, source: str) -> dict[str, Any]:
    known = find_known(store, source)
    if known is not None:
        return known.spec.model_dump()
    spec = spec_from_text(source)
    path = Path(source).expanduser()
    if spec.kind == "local" and path.exists():
        name = path.stem if path.suffix == ".gguf" else path.resolve().name
        spec = spec.model_copy(update={"source": str(path.resolve()), "name": name})
    return spec.model_dump()


def _base(store: Store, data_dir: Path, adapter: Path, named: str) -> tuple[ModelSpec, str | None]:
    """The spec of an adapter's base, and the label of its version where the store has one."""
    config = read_adapter_config(adapter)
    wanted = named or config.base
    if wanted is None:
        raise UnusableSource(f"{adapter}: its adapter_config.json names no base: name it with --base")
    known = find_known(store, wanted)
    if known is None:
        version = Lineage(store).find(wanted) or _same_folder(store, data_dir, wanted)
        known = find_known(store, version.label) if version is not None else None
    if known is not None:
        if known.spec.kind != "local" or known.spec.adapter is not None:
            raise UnusableSource(
                f"{adapter}: its base would be '{known.version.label}', which is "
                + ("an endpoint" if known.spec.kind != "local" else "an adapter itself: merge that first")
            )
        return known.spec, known.version.label
    path = Path(wanted).expanduser()
    looks_like_path = wanted.startswith((".", "/", "~")) or wanted.count("/") != 1
    if not path.exists() and looks_like_path:
        raise UnusableSource(
            f"{adapter}: its base '{wanted}' is neither on the roster nor a folder here: name the base with --base"
        )
    spec = spec_from_text(wanted)
    if path.exists():
        spec = spec.model_copy(update={"source": str(path.resolve()), "name": path.resolve().name})
    elif config.revision is not None and not named:
        spec = spec.model_copy(update={"revision": config.revision})
    return spec, None


def _same_folder(store: Store, data_dir: Path, wanted: str) -> Any:
    path = Path(wanted).expanduser()
    if not path.exists():
        return None
    for entry in entries(store):
        spec = ModelSpec.model_validate(entry.version.spec)
        if spec.kind == "local" and spec.adapter is None:
            try:
                if resolve(spec, data_dir) == path.resolve():
                    return entry.version
            except EngineError:  # weights that are not here are not in this folder
                continue
    return None


def _as_dict(sampling: Any) -> dict[str, Any]:
    return dict(sampling) if isinstance(sampling, Mapping) else {}


def _validated(fields: Mapping[str, Any], source: str) -> ModelSpec:
    try:
        return ModelSpec.model_validate(fields)
    except ValidationError as error:
        raise ConfigError("\n".join(explain(source, error))) from None


def _check_name(store: Store, spec: ModelSpec) -> None:
    """Weights of another model must not become a version of this name unseen."""
    standing = next((entry for entry in entries(store) if entry.version.model == spec.name), None)
    if standing is None:
        return
    before = standing.version.spec
    if (before.get("source"), before.get("adapter")) != (spec.source, spec.adapter):
        raise ConfigError(
            f"'{spec.name}' is on the roster with another source ({before.get('adapter') or before.get('source')}): "
            "give this one a name of its own with --name, or remove that one first"
        )
