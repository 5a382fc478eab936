"""LoRA adapters on one shared set of weights, mixed within a batch. Worker processes only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peft import PeftConfig, PeftModelForCausalLM, set_peft_model_state_dict
from peft.utils import load_peft_weights

MOST_ADAPTERS = 32
"""Adapters kept attached; the one used longest ago goes first."""
BASE = "__base__"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
CANNOT_MIX = ("modules_to_save", "trainable_token_indices", "use_dora")


class CannotAttach(Exception):
    """The adapter does not belong on this model; the message is for people."""


class Adapters:
    """The adapters of one model. Rows of one forward pass may each use another, or none."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._peft: Any = None
        self._used: list[str] = []  # in order of last use
        self._attached = 0
        self._names: dict[tuple[Path, int, int], str] = {}

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

    def forget_unused(self, used: set[str]) -> None:
        """Detach adapters beyond `MOST_ADAPTERS` that no row uses."""
        for name in [name for name in self._used if name not in used]:
            if len(self._used) <= MOST_ADAPTERS:
                return
            self._peft.delete_adapter(name)
            self._used.remove(name)
            self._names = {key: known for key, known in self._names.items() if known != name}

    def forward(self, names: list[str | None], **inputs: Any) -> Any:
        """Run the model; row i uses the adapter `names[i]`."""
        if self._peft is None:
            return self._model(**inputs)
        return self._peft(**inputs, adapter_names=[name or BASE for name in names])

    def _load(self, folder: Path, name: str) -> None:
        try:
            config = PeftConfig.from_pretrained(str(folder))
            weights = load_peft_weights(str(folder), device=str(self._model.device))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CannotAttach(f"the adapter in {folder} cannot be read: {error}") from error
        if str(getattr(config.peft_type, "value", config.peft_type)) != "LORA":
            raise CannotAttach(
                f"{folder} holds a {config.peft_type} adapter; LoRA adapters can be attached here"
            )
        extra = [option for option in CANNOT_MIX if getattr(config, option, None)]
        if extra:
            raise CannotAttach(
                f"the adapter in {folder} was trained with {', '.join(extra)}, which cannot share its base with "
                "others: merge it into its base and add the result as a model"
            )
        config.inference_mode = True
        try:
            self._add(name, config)
            missing, unexpected = _load_into(self._peft, weights, name)
        except (ValueError, RuntimeError, KeyError, TypeError) as error:
            self._remove(name)
            raise CannotAttach(
                f"the adapter in {folder} does not fit this model (was it trained on "
                f"{config.base_model_name_or_path}?): {' '.join(str(error).split())[:300]}"
            ) from error
        if missing or unexpected:
            self._remove(name)
            raise CannotAttach(
                f"the adapter in {folder} does not fit this model (was it trained on "
                f"{config.base_model_name_or_path}?): {len(missing)} weights are missing and {len(unexpected)} "
                f"belong nowhere, such as {(missing or unexpected)[0]}"
            )

    def _add(self, name: str, config: PeftConfig) -> None:
        if self._peft is None:
            self._peft = PeftModelForCausalLM(self._model, config, adapter_name=name)
        else:
            self._peft.add_adapter(name, config)
        self._peft.eval()

    def _remove(self, name: str) -> None:
        if self._peft is not None and name in self._peft.peft_config:
            self._peft.delete_adapter(name)


def _load_into(model: Any, weights: dict[str, Any], name: str) -> tuple[list[str], list[str]]:
    result = set_peft_model_state_dict(model, weights, adapter_name=name)
    missing = [key for key in result.missing_keys if f".{name}." in key]
    return missing, list(result.unexpected_keys)


def _weights(folder: Path) -> Path:
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise CannotAttach(f"{folder} holds no adapter weights ({' or '.join(WEIGHTS)})")
