"""What can be found out about a model without loading it: by its files' headers, its card and its config."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arena.config import ConfigError
from arena.engines import embedded
from arena.engines.base import EngineError
from arena.engines.sources import EMBEDDED, adapter_folder, model_id, resolve
from arena.engines.spec import ModelSpec
from arena.engines.weight_files import BrokenWeights, WeightFiles, quantisation_of_config, read_weights
from arena.roster.cards import UnusableSource, context_length_of, find_licence, read_card, read_config
from prompt_formats import PromptFormatError, Registry, Resolution, load_registry
from prompt_formats import resolve as resolve_format
from results.store.model_facts import ModelFacts


@dataclass(frozen=True)
class AdapterConfig:
    """What an adapter's `adapter_config.json` says: its method (`LORA`, `IA3`) and the base that it was trained on."""

    method: str
    base: str | None
    revision: str | None


def inspect(spec: ModelSpec, data_dir: Path) -> ModelFacts:
    """All that is to be found out about a model version without loading it; takes milliseconds (a GGUF file: seconds).

    Of an endpoint nothing is known here but what its spec says.

    Raises:
        UnusableSource: files are missing or damaged, named one by one.
        EngineUnavailable: there is no such source.
    """
    if spec.kind == "openai":
        return _endpoint_facts(spec, data_dir)
    source = resolve(spec, data_dir)
    adapter = adapter_folder(spec)
    try:
        weights = read_weights(source)
        added = read_weights(adapter) if adapter is not None else None
    except BrokenWeights as error:
        raise UnusableSource(str(error)) from None
    facts = _gguf_facts(weights) if source.suffix == ".gguf" else _folder_facts(source, weights)
    quantisation = facts.quantisation
    known: dict[str, Any] = {}
    if adapter is not None and added is not None:
        known |= _adapter_facts(adapter, facts, added)
    if spec.source.startswith(EMBEDDED):
        known["notes"] = (*known.get("notes", facts.notes), f"The weights come from {embedded.ORIGIN}")
        quantisation = "GGUF Q4_1"
    if spec.licence is not None:
        known |= {"licence": spec.licence, "licence_source": "its entry"}
    if spec.quantisation != "none":
        quantisation = spec.quantisation if quantisation is None else f"{spec.quantisation} of {quantisation}"
    known["quantisation"] = quantisation
    lengths = [length for length in (facts.context_length, spec.context_length) if length]
    known["context_length"] = min(lengths, default=None)
    known["parent"] = spec.parent or known.get("parent") or facts.parent
    known["data_licences"] = spec.data_licences
    return facts.model_copy(update={**known, **_format_facts(spec, source, adapter, data_dir)})


def read_adapter_config(folder: Path) -> AdapterConfig:
    """An adapter's configuration. Raises `UnusableSource` where it is missing or damaged."""
    path = folder / "adapter_config.json"
    try:
        config = json.loads(path.read_bytes())
        return AdapterConfig(
            method=str(config["peft_type"]),
            base=config.get("base_model_name_or_path") or None,
            revision=config.get("revision") or None,
        )
    except FileNotFoundError:
        raise UnusableSource(f"{folder} is no adapter folder: it has no adapter_config.json") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnusableSource(f"{path}: it cannot be read ({error!r}): make the adapter again") from None


def prompt_format(
    spec: ModelSpec, source: Path | None, adapter: Path | None, registry: Registry
) -> Resolution:
    """The prompt format that a spec's engine will use, with the reason (`source`: its weights, where they are here).

    Raises:
        PromptFormatError: the format that the spec names is unknown; a template's file cannot be read.
    """
    return resolve_format(
        model_id(spec),
        explicit=spec.prompt_format,
        adapter=adapter,
        tokenizer=source if source is not None and (source / "tokenizer.json").is_file() else None,
        gguf=source if source is not None and source.suffix == ".gguf" else None,
        parent=spec.parent,
        registry=registry,
    )


def _folder_facts(folder: Path, weights: WeightFiles) -> ModelFacts:
    config = read_config(folder)
    if not (folder / "tokenizer.json").is_file() and not list(folder.glob("*.model")):
        raise UnusableSource(f"{folder}: it has no tokenizer (tokenizer.json): download the model again")
    card = read_card(folder)
    licence, licence_source = find_licence(folder, card)
    architectures = config.get("architectures")
    dtype = config.get("dtype") or config.get("torch_dtype")
    return ModelFacts(
        parameters=weights.parameters,
        bytes_on_disk=weights.bytes,
        architecture=architectures[0] if isinstance(architectures, list) and architectures else None,
        licence=licence,
        licence_source=licence_source,
        context_length=context_length_of(config),
        quantisation=quantisation_of_config(config),
        dtype=dtype if isinstance(dtype, str) else None,
        parent=card.base_models[0] if card.base_models else None,
        languages=card.languages,
        notes=tuple(note for note in (card.problem, _several_bases(card.base_models)) if note),
    )


def _several_bases(bases: tuple[str, ...]) -> str | None:
    return (
        f"its card names several bases: {', '.join(bases)}; the first is shown as its parent"
        if bases[1:]
        else None
    )


def _gguf_facts(weights: WeightFiles) -> ModelFacts:
    told = weights.metadata
    architecture = told.get("general.architecture")
    base = told.get("general.base_model.0.repo_url") or told.get("general.base_model.0.name")
    card = read_card(weights.files[0].parent)
    licence, source = told.get("general.license"), "the GGUF file's metadata"
    if licence is None:
        licence, found = find_licence(weights.files[0].parent, card)
        source = found or source
    length = told.get(f"{architecture}.context_length")
    languages = told.get("general.languages")
    parent = base.removeprefix("https://huggingface.co/") if isinstance(base, str) else None
    return ModelFacts(
        parameters=weights.parameters,
        bytes_on_disk=weights.bytes,
        architecture=str(architecture) if architecture else None,
        licence=str(licence) if licence else None,
        licence_source=source if licence else None,
        context_length=length if isinstance(length, int) and length > 0 else None,
        quantisation=weights.quantisation,
        parent=parent or (card.base_models[0] if card.base_models else None),
        languages=tuple(map(str, languages)) if isinstance(languages, list) else card.languages,
        notes=() if weights.quantisation is None else ("The engine runs the file dequantised.",),
    )


def _adapter_facts(folder: Path, base: ModelFacts, weights: WeightFiles) -> dict[str, Any]:
    config = read_adapter_config(folder)
    card = read_card(folder)
    licence, source = find_licence(folder, card)
    count = None
    if base.parameters is not None and weights.parameters is not None:
        count = base.parameters + weights.parameters
    own = "unknown" if weights.parameters is None else f"{weights.parameters:,}"
    return {
        "parameters": count,
        "bytes_on_disk": (base.bytes_on_disk or 0) + weights.bytes,
        "licence": licence,
        "licence_source": None if source is None else f"{source} (of the adapter)",
        "parent": config.base,
        "languages": card.languages or base.languages,
        "notes": (f"{config.method} adapter, parameters of its own: {own}", *base.notes),
    }


def _endpoint_facts(spec: ModelSpec, data_dir: Path) -> ModelFacts:
    told: dict[str, Any] = {
        "prompt_format": "the server's own",
        "prompt_format_reason": "a chat endpoint renders prompts itself, unseen",
    }
    if spec.endpoint == "completions":
        told = _format_facts(spec, None, None, data_dir)
    return ModelFacts(
        licence=spec.licence,
        licence_source="its entry" if spec.licence else None,
        data_licences=spec.data_licences,
        context_length=spec.context_length,
        parent=spec.parent,
        **told,
    )


def _format_facts(
    spec: ModelSpec, source: Path | None, adapter: Path | None, data_dir: Path
) -> dict[str, Any]:
    try:
        found = prompt_format(spec, source, adapter, load_registry(data_dir / "formats"))
    except PromptFormatError as error:
        raise UnusableSource(f"{spec.name}: its prompt format: {error}") from None
    return {
        "prompt_format": found.format.name,
        "prompt_format_reason": found.reason,
        "prompt_format_warning": found.warning,
    }


def facts_or_note(spec: ModelSpec, data_dir: Path) -> ModelFacts:
    """The same as `inspect`, with what went wrong as a note: for entries that stay on the roster all the same."""
    try:
        return inspect(spec, data_dir)
    except (ConfigError, EngineError) as error:
        return ModelFacts(
            licence=spec.licence,
            licence_source="its entry" if spec.licence else None,
            data_licences=spec.data_licences,
            parent=spec.parent,
            notes=(str(error),),
        )
