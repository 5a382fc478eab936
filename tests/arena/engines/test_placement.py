"""Where weights are placed: the arguments that reach transformers (several GPUs cannot be had here)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from arena.engines import local_model
from arena.engines.protocol import WorkerConfig
from arena.engines.spec import ModelSpec


class Reached(Exception):
    """Raised in place of loading."""


@pytest.mark.parametrize(
    ("devices", "quantisation", "passed"),
    [
        ("one", "none", {"device_map": None}),
        ("one", "nf4", {"device_map": {"": torch.device("cpu")}}),
        ("spread", "none", {"device_map": "auto"}),
        ("spread", "int8", {"device_map": "auto"}),
        ("split", "none", {"tp_plan": "auto"}),
    ],
)
def test_devices_become_arguments(
    smollm2_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    devices: Any,
    quantisation: Any,
    passed: dict[str, Any],
) -> None:
    seen: dict[str, Any] = {}

    def load(folder: Path, **arguments: Any) -> None:
        seen.update(arguments)
        raise Reached

    monkeypatch.setattr(local_model.AutoModelForCausalLM, "from_pretrained", load)
    config = WorkerConfig(
        path=smollm2_dir, device="cpu", dtype="float32", devices=devices, quantisation=quantisation
    )
    with pytest.raises(Reached):
        local_model.load(config, lambda stage: None)
    assert {key: seen[key] for key in ("device_map", "tp_plan") if key in seen} == passed
    assert seen["trust_remote_code"] is False


def test_torchao_computes_in_float32_on_a_cpu(smollm2_dir: Path) -> None:
    config = WorkerConfig(path=smollm2_dir, device="cpu", quantisation="torchao-int8")
    assert local_model.choose_dtype(config, torch.device("cpu"))[0] is torch.float32


def test_placement_makes_no_new_version() -> None:
    spec = ModelSpec(name="m", source="x/y")
    assert spec.model_copy(update={"devices": "spread"}).digest("w") == spec.digest("w")
    assert spec.model_copy(update={"quantisation": "ct2-int8"}).digest("w") != spec.digest("w")
