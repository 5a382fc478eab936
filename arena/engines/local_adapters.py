"""Adapters on one shared set of weights. Worker processes only.

Rows of one forward pass may each use another LoRA or IA3 adapter, or none. Adapters that bring whole modules, new
token embeddings or DoRA's magnitudes cannot be mixed: each of them has batches of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peft import PeftConfig, PeftModelForCausalLM, set_peft_model_state_dict
from peft.utils import AuxiliaryTrainingWrapper, load_peft_weights

from arena.engines.local_ia3 import DoesNotBelong, Scalings

MOST_ADAPTERS = 32
"""Adapters kept attached; the one used longest ago goes first."""
BASE = "__base__"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
CANNOT_MIX = ("modules_to_save", "trainable_token_indices", "use_dora")


class CannotAttach(Exception):
    """The adapter does not belong on this model; the message is for people."""


class Adapters:
    """The adapters of one model."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._scalings = Scalings(model)
        self._peft: Any = None
        self._used: list[str] = []  # in order of last use
        self._attached = 0
        self._names: dict[tuple[Path, int, int], str] = {}
        self._kinds: dict[str, str] = {}
        self._alone: set[str] = set()

    def attach(self, folder: Path) -> str:
        """The name under which the adapter is attached; it is loaded if it is not, or has changed on disk.

        Raises `CannotAttach`.
        """
        stat = _weights(folder).stat()
        key = (folder, stat.st_size, stat.st_mtime_ns)
        name = self._names.get(key)
        if name is not None:
            self._used.remove(name)
            self._used.append(name)
            return name
        self._attached += 1
        name = f"adapter{self._attached}"
        self._load(folder, name)
        self._names[key] = name
        self._used.append(name)
        return name

    def group(self, name: str | None) -> str | None:
        """Rows may share a batch where this is equal: None for all that can be mixed."""
        return name if name in self._alone else None

    def forget_unused(self, used: set[str]) -> None:
        """Detach adapters beyond `MOST_ADAPTERS` that no row uses."""
        for name in [name for name in self._used if name not in used]:
            if len(self._used) <= MOST_ADAPTERS:
                return
            self._detach(name)

    def detach(self, folder: Path, used: set[str]) -> None:
        """Detach what was attached from a folder, unless rows use it."""
        for name in [name for (path, *_), name in self._names.items() if path == folder and name not in used]:
            self._detach(name)

    def forward(self, names: list[str | None], **inputs: Any) -> Any:
        """Run the model; row i uses the adapter `names[i]`. All rows are of one `group`."""
        self._scalings.use(names)
        if self._peft is None:
            return self._model(**inputs)
        alone = self.group(names[0])
        for wrapper in _wrappers(self._peft) if self._alone else ():
            # What the adapters that cannot be mixed bring would follow the active adapter, whatever the rows say.
            wrapper.enable_adapters(False)
        if alone is None:
            lora = [name if name and self._kinds[name] == "LORA" else BASE for name in names]
            return self._peft(**inputs, adapter_names=lora)
        self._peft.set_adapter(alone, inference_mode=True)
        for wrapper in _wrappers(self._peft):
            if alone in wrapper._adapters:
                wrapper.enable_adapters(True)
        return self._peft(**inputs)

    def _load(self, folder: Path, name: str) -> None:
        try:
            config = PeftConfig.from_pretrained(str(folder))
            weights = load_peft_weights(str(folder), device=str(self._model.device))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CannotAttach(f"the adapter in {folder} cannot be read: {error}") from error
        kind = str(getattr(config.peft_type, "value", config.peft_type))
        extra = [option for option in CANNOT_MIX if getattr(config, option, None)]
        if kind not in ("LORA", "IA3") or (kind == "IA3" and extra):
            with_extra = f" with {', '.join(extra)}" if extra else ""
            raise CannotAttach(
                f"{folder} holds a {kind} adapter{with_extra}; LoRA and IA3 adapters can be attached here. "
                "Merge it into its base, and add the result as a model"
            )
        config.inference_mode = True
        missing: list[str] = []
        unexpected: list[str] = []
        try:
            if kind == "IA3":
                self._scalings.add(name, config, weights)
            else:
                self._add(name, config)
                missing, unexpected = _load_into(self._peft, weights, name)
        except (DoesNotBelong, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
            self._remove(name)
            raise CannotAttach(f"{_misfit(folder, config)}: {' '.join(str(error).split())[:300]}") from error
        if missing or unexpected:
            self._remove(name)
            raise CannotAttach(
                f"{_misfit(folder, config)}: {len(missing)} weights are missing and {len(unexpected)} belong "
                f"nowhere, such as {(missing or unexpected)[0]}"
            )
        self._kinds[name] = kind
        if extra:
            self._alone.add(name)

    def _add(self, name: str, config: PeftConfig) -> None:
        if self._peft is None:
            self._peft = PeftModelForCausalLM(self._model, config, adapter_name=name)
        else:
            self._peft.add_adapter(name, config)
            self._peft.set_adapter(name, inference_mode=True)
        self._peft.eval()

    def _detach(self, name: str) -> None:
        self._remove(name)
        self._used.remove(name)
        self._alone.discard(name)
        del self._kinds[name]
        self._names = {key: known for key, known in self._names.items() if known != name}

    def _remove(self, name: str) -> None:
        self._scalings.remove(name)
        if self._peft is not None and name in self._peft.peft_config:
            self._peft.delete_adapter(name)
            if self._peft.peft_config:  # the active one must exist
                self._peft.set_adapter(next(iter(self._peft.peft_config)), inference_mode=True)
            else:
                self._peft.unload()
                self._peft = None


def _misfit(folder: Path, config: Any) -> str:
    return f"the adapter in {folder} does not fit this model (was it trained on {config.base_model_name_or_path}?)"


def _load_into(model: Any, weights: dict[str, Any], name: str) -> tuple[list[str], list[str]]:
    strangers = [wrapper for wrapper in _wrappers(model) if name not in wrapper._adapters]
    for wrapper in strangers:  # peft 0.21 looks in every wrapper for weights of this adapter
        wrapper.adapter_state_dict_load_map = _no_weights
    try:
        result = set_peft_model_state_dict(model, weights, adapter_name=name)
    finally:
        for wrapper in strangers:
            del wrapper.adapter_state_dict_load_map
    missing = [key for key in result.missing_keys if f".{name}." in key]
    return missing, list(result.unexpected_keys)


def _wrappers(model: Any) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, AuxiliaryTrainingWrapper)]


def _no_weights(adapter_name: str) -> dict[str, str]:
    return {}


def _weights(folder: Path) -> Path:
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise CannotAttach(f"{folder} holds no adapter weights ({' or '.join(WEIGHTS)})")
