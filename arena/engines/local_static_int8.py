"""Static int8 by torchao: inputs are rounded by scales that were calibrated beforehand and lie beside the weights.

Torch is imported where it is needed: whoever writes the scales need not load it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

INPUT_SCALES = "int8_input_scales.json"
"""In a model folder: {name of a linear module: scale of its inputs}. Quantisation `torchao-int8` is static there."""


def input_scales(folder: Path) -> dict[str, float] | None:
    """The calibrated scales of a model folder; None where it has none."""
    file = folder / INPUT_SCALES
    if not file.is_file():
        return None
    read: dict[str, float] = json.loads(file.read_text(encoding="utf-8"))
    return read


def make_static(model: Any, scales: Mapping[str, float]) -> None:
    """Round the weights of the named linear modules by row and their inputs by the given scale, in place.

    Raises KeyError where the model has no such module.
    """
    import torch
    from torchao.quantization import Int8StaticActivationInt8WeightConfig, PerRow, PerTensor, quantize_

    modules = dict(model.named_modules())
    for name, scale in scales.items():
        wanted = modules[name]
        device = next(wanted.parameters()).device
        config = Int8StaticActivationInt8WeightConfig(
            act_quant_scale=torch.tensor([[[scale]]], device=device), granularity=[PerTensor(), PerRow()]
        )
        quantize_(model, config, filter_fn=_only(wanted))


def _only(wanted: Any) -> Callable[[Any, str], bool]:
    return lambda module, name: module is wanted
