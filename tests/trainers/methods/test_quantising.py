"""Quantisation after and during training, on a small real model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from arena.engines.local_model import load
from arena.engines.local_static_int8 import INPUT_SCALES, input_scales, make_static
from arena.engines.protocol import WorkerConfig
from arena.engines.spec import ModelSpec
from arena.roster import enter, find
from results.store import Store
from tests.trainers.tiny_models import save_tiny
from trainers.lineage import trained_spec
from trainers.methods._qat import convert, in_layers, prepare
from trainers.methods.quantising import _measured as measured
from trainers.methods.quantising import quantise as quantised
from trainers.methods.training import train
from trainers.plan import TrainingPlan
from trainers.quantise import CannotQuantise, Request, quantise
from trainers.recipes import BadRecipe, make_recipe

Plan = Callable[..., TrainingPlan]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model that bitsandbytes can pack: on some CPUs by 64 columns."""
    return save_tiny(tmp_path_factory.mktemp("models") / "wide", hidden=64)


@pytest.mark.parametrize("kind", ["dynamic", "static", "int8", "nf4"])
def test_each_kind_makes_a_smaller_model_of_nearly_the_same_loss(
    plan_for: Plan, store: Store, kind: str, wide: Path
) -> None:
    enter(store, ModelSpec(name="wide", source=str(wide)), store.data_dir)
    plan = plan_for(method="full", base="wide")
    request = Request(plan=plan, data_dir=store.data_dir, kind=kind, rows=8, calibration_rows=8)  # type: ignore[arg-type]
    told = quantised(request)
    before, after = told["before"], told["after"]
    assert after["bytes"] < before["bytes"]
    assert after["loss"] == pytest.approx(before["loss"], abs=0.1)
    assert after["loss"] != before["loss"]
    assert after["written_tokens_per_second"] > 0
    assert bool(told["scales"]) == (kind == "static")
    if kind == "static":
        assert len(told["scales"]) == 14  # seven linear modules in each of two layers
        assert all(0 < scale < 1 for scale in told["scales"].values())


def test_the_loss_is_that_of_the_model(plan_for: Plan) -> None:
    plan = plan_for()
    model = AutoModelForCausalLM.from_pretrained(plan.base.path, dtype=torch.float32).eval()
    rows = [{"input_ids": [5, 6, 7, 8] * 5, "labels": [-100] * 10 + [5, 6, 7, 8, 5, 6, 7, 8, 5, 6]}]
    ids = torch.tensor([rows[0]["input_ids"]])
    labels = torch.tensor([rows[0]["labels"]])
    assert measured(model, rows).loss == pytest.approx(
        float(model(input_ids=ids, labels=labels).loss), rel=1e-5
    )


def test_the_command_puts_the_quantised_model_on_the_roster(plan_for: Plan, store: Store) -> None:
    plan_for()
    report = quantise(store, find(store, "tiny"), "dynamic", "chat", rows=4)
    assert report.model == "tiny-dynamic@1"
    spec = find(store, "tiny-dynamic").spec
    assert (spec.quantisation, spec.parent) == ("torchao-int8", "tiny@1")


def test_static_int8_is_served_with_its_calibrated_scales(
    plan_for: Plan, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainers.quantise._measured", quantised)  # here, not in a process of its own
    plan_for()
    report = quantise(store, find(store, "tiny"), "static", "chat", rows=4, calibration_rows=2)
    assert report.model == "tiny-static@1"
    spec = find(store, "tiny-static").spec
    assert (spec.quantisation, spec.parent, spec.note) == (
        "torchao-int8",
        "tiny@1",
        "static int8, calibrated on chat@1",
    )
    assert report.scales == Path(spec.source) / INPUT_SCALES
    scales = input_scales(Path(spec.source))
    assert scales is not None
    assert len(scales) == 14
    ids = torch.tensor([[5, 6, 7, 8]])
    served = load(WorkerConfig(path=Path(spec.source), quantisation="torchao-int8"), lambda what: None).model
    expected = AutoModelForCausalLM.from_pretrained(spec.source, dtype=torch.float32).eval()
    as_floats = expected(ids).logits
    make_static(expected, scales)
    assert torch.equal(served(ids).logits, expected(ids).logits)
    assert not torch.equal(served(ids).logits, as_floats)
    # Other scales are other weights: a model calibrated anew is the next version.
    again = quantise(store, find(store, "tiny"), "static", "chat", rows=4, calibration_rows=1)
    assert again.model == "tiny-static@2"


def test_quantising_says_why_not(plan_for: Plan, store: Store) -> None:
    plan_for("preference", objective="dpo")
    with pytest.raises(CannotQuantise, match="holds preference rows"):
        quantise(store, find(store, "tiny"), "nf4", "preference")


def test_training_under_rounding_keeps_what_is_served(plan_for: Plan, tmp_path: Path) -> None:
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    plan = plan_for(method="full", qat="int8", optimiser={"max_steps": 8, "learning_rate": 1e-2})
    folder = tmp_path / "job"
    folder.mkdir()
    result = train(plan, tmp_path / "data", folder, lambda told: None)
    assert result["held_out_after"]["loss"] < result["held_out_before"]["loss"]
    assert trained_spec(plan, result | {"artifact": str(folder)}).quantisation == "torchao-int8"
    plain = AutoModelForCausalLM.from_pretrained(result["artifact"], dtype=torch.float32).eval()
    assert all(type(module) is nn.Linear for name, module in plain.named_modules() if in_layers(module, name))
    # Served by the arena's int8, it keeps what it learned; the round trip through fake quantisation loses nothing.
    rows = [{"input_ids": [5, 6, 7, 8] * 5, "labels": [5, 6, 7, 8] * 5}]
    as_floats = measured(plain, rows).loss
    again = AutoModelForCausalLM.from_pretrained(result["artifact"], dtype=torch.float32).eval()
    prepare(again)
    under_rounding = measured(again, rows).loss
    convert(again)
    assert measured(again, rows).loss == as_floats != under_rounding
    quantize_(plain, Int8DynamicActivationInt8WeightConfig(), filter_fn=in_layers)
    assert measured(plain, rows).loss == pytest.approx(under_rounding, abs=0.02)


def test_qat_is_for_full_fine_tuning() -> None:
    with pytest.raises(BadRecipe, match="qat is for method full"):
        make_recipe({"name": "n", "base": "b", "dataset": "d", "qat": "int8"})
