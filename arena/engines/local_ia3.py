"""IA3 adapters (Liu et al. 2022): vectors that scale what goes into or comes out of linear layers, row by row.

peft runs one IA3 adapter at a time and not beside LoRA layers; scaling through hooks lets every row of a batch have
its own, on the same base. Worker processes only.
"""

from __future__ import annotations

import re
from typing import Any

import torch

PREFIX, SUFFIX = "base_model.model.", ".ia3_l"


class DoesNotBelong(Exception):
    """The vectors do not fit the model; the message tells which."""


class Scalings:
    """The IA3 adapters of one model."""

    def __init__(self, model: Any) -> None:
        # Taken before any LoRA layer wraps them: hooks stay with these modules.
        self._modules = dict(model.named_modules())
        self._vectors: dict[str, dict[str, torch.Tensor]] = {}  # by module, then by adapter
        self._hooks: dict[str, Any] = {}
        self._rows: list[str | None] = []

    def add(self, name: str, config: Any, weights: dict[str, torch.Tensor]) -> None:
        """Attach an adapter's vectors. Raises `DoesNotBelong`; then nothing is attached."""
        found = {key.removeprefix(PREFIX).removesuffix(SUFFIX): vector for key, vector in weights.items()}
        wanted = {path for path in self._modules if _is_target(path, config.target_modules)}
        if strangers := sorted(found.keys() ^ wanted):
            raise DoesNotBelong(
                f"{len(strangers)} modules have no vector or are not there, such as {strangers[0]}"
            )
        for path, vector in found.items():
            features = self._features(path, into=vector.shape[0] == 1)
            if vector.ndim != 2 or vector.numel() != features:
                raise DoesNotBelong(f"{path} has {features} features, the vector {tuple(vector.shape)}")
        for path, vector in found.items():
            if path not in self._hooks:
                self._hooks[path] = self._hook(path, into=vector.shape[0] == 1)
            self._vectors.setdefault(path, {})[name] = vector.flatten().float()

    def remove(self, name: str) -> None:
        """Detach an adapter."""
        for path, vectors in list(self._vectors.items()):
            vectors.pop(name, None)
            if not vectors:
                self._hooks.pop(path).remove()
                del self._vectors[path]

    def use(self, rows: list[str | None]) -> None:
        """From now on row i of a batch is scaled by the adapter `rows[i]`, if it is one of these."""
        self._rows = rows

    def _features(self, path: str, into: bool) -> int:
        module = self._modules[path]
        names = ("in_features", "nx") if into else ("out_features", "nf")
        return int(next(getattr(module, name) for name in names if hasattr(module, name)))

    def _hook(self, path: str, into: bool) -> Any:
        def scale(states: torch.Tensor) -> torch.Tensor:
            vectors = self._vectors[path]
            chosen = [vectors.get(name or "") for name in self._rows]
            if all(vector is None for vector in chosen):
                return states
            plain = torch.ones(states.shape[-1], device=states.device)
            factors = torch.stack([plain if vector is None else vector for vector in chosen])
            return (states * factors[:, None]).to(states.dtype)

        module = self._modules[path]
        if into:
            return module.register_forward_pre_hook(lambda _, inputs: (scale(inputs[0]), *inputs[1:]))
        return module.register_forward_hook(lambda _, inputs, output: scale(output))


def _is_target(path: str, targets: Any) -> bool:
    if isinstance(targets, str):
        return re.fullmatch(targets, path) is not None
    return any(path == target or path.endswith(f".{target}") for target in targets)
