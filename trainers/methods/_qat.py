"""Quantisation-aware training: linear layers round their weights and inputs to int8 while they learn (torchao).

The grid is the one that `torchao-int8` serves with: a scale for each row of the weights and for each token of the
inputs. Inputs have a zero point as well here, which torchao's training cannot do without.
"""

from __future__ import annotations

import torch
from torch import nn
from torchao.quantization import quantize_
from torchao.quantization.qat import FakeQuantizedLinear, IntxFakeQuantizeConfig, QATConfig


def prepare(model: nn.Module) -> None:
    """Put fake quantisation into all linear modules of numbered layers, in place."""
    config = QATConfig(
        activation_config=IntxFakeQuantizeConfig(torch.int8, "per_token", is_symmetric=False),
        weight_config=IntxFakeQuantizeConfig(torch.int8, "per_channel", is_symmetric=True),
        step="prepare",
    )
    quantize_(model, config, filter_fn=in_layers)


def convert(model: nn.Module) -> None:
    """Take it out again: plain linear modules with the weights as trained, to be quantised when they are served."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, FakeQuantizedLinear):
                setattr(parent, name, child.to_linear())


def in_layers(module: nn.Module, name: str) -> bool:
    """Whether a module is a linear one of a numbered layer (not the head)."""
    return isinstance(module, nn.Linear) and any(part.isdigit() for part in name.split("."))
