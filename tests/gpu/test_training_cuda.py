"""Training on a CUDA device: estimated memory beside the measured peak, per method and batch shape."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from arena.engines.spec import ModelSpec
from arena.roster import enter
from results.store import open_store
from trainers.datasets import add_dataset
from trainers.memory import DataSize, estimate_training
from trainers.plan import make_plan
from trainers.recipes import make_recipe

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.model,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="not run: no CUDA device here"),
]

WITHIN = 0.15


@pytest.mark.timeout(300)
@pytest.mark.parametrize("shape", [(4, 128), (8, 512)])
@pytest.mark.parametrize("method", ["full", "lora", "qlora", "ia3"])
def test_estimates_are_within_fifteen_percent_of_measured_peaks(
    method: str, shape: tuple[int, int], smollm2_dir: Path, tmp_path: Path
) -> None:
    from trainers.methods.training import train

    rows, length = shape
    file = tmp_path / "rows.jsonl"
    text = "The harbour was quiet. Boats lay still, and a lamp burned in one window. " * (length // 8)
    told = [{"prompt": f"Tell story {number}.", "response": text} for number in range(rows * 3)]
    file.write_text("".join(json.dumps(row) + "\n" for row in told), encoding="utf-8")
    with open_store(tmp_path / "data") as store:
        enter(store, ModelSpec(name="base", source=str(smollm2_dir)), store.data_dir)
        add_dataset(store, file, "stories", licence="cc0-1.0", held_out_share=0)
        optimiser = {"batch_size": rows, "gradient_accumulation": 1, "max_length": length, "max_steps": 3}
        recipe = {
            "name": "measured", "base": "base", "dataset": "stories", "method": method,
            "evaluation": {"every_steps": 0}, "optimiser": optimiser,
        }  # fmt: skip
        plan = make_plan(store, store.data_dir, make_recipe(recipe))
    folder = tmp_path / "job"
    folder.mkdir()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    train(plan, tmp_path / "data", folder, lambda told: None)
    measured = torch.cuda.max_memory_allocated() - before
    estimated = estimate_training(plan.recipe, plan.base.path, data=DataSize(longest=length)).need.total
    assert estimated == pytest.approx(measured, rel=WITHIN), f"{measured / 2**20:.0f} MiB measured"
