"""The prompt format and tokenizer of a roster model, for previews without its weights."""

from __future__ import annotations

from pathlib import Path

from arena.engines.sources import adapter_folder, model_id
from arena.engines.sources import resolve as weights_of
from arena.engines.spec import ModelSpec
from prompt_formats import ChatTokenizer, Resolution, load_registry, load_tokenizer, resolve
from prompt_formats.errors import InvalidInput


def format_and_tokenizer(spec: ModelSpec, data_dir: Path) -> tuple[Resolution, ChatTokenizer]:
    """How a local model's conversations are rendered and encoded.

    Raises:
        InvalidInput: an endpoint, whose tokenizer is not here; or the folder has none.
        EngineUnavailable: the weights cannot be found.
    """
    if spec.kind == "openai":
        raise InvalidInput(f"{spec.name} is an endpoint: its tokenizer is not here; choose a local model")
    folder = weights_of(spec, data_dir)
    tokenizer = load_tokenizer(folder)
    resolution = resolve(
        model_id(spec),
        explicit=spec.prompt_format,
        adapter=adapter_folder(spec),
        tokenizer=tokenizer,
        parent=spec.parent,
        registry=load_registry(data_dir / "formats"),
    )
    return resolution, tokenizer
