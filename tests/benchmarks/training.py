"""Tokens a second and peak memory of training, per method, ours beside a plain trl/peft script in the same run.

    python tests/benchmarks/training.py --methods lora,ia3 --steps 8 --shapes 2x128

Each measurement is a process of its own. Memory is what is resident above the process after its imports, at its peak.
The plain script gets the same ids and arguments; what ours does more (progress, checkpoint marks, metrics) is the
overhead.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

METHODS = ("full", "lora", "qlora", "ia3")
TEXT = "The harbour was quiet. Boats lay still, and a lamp burned in one window. "


def prepare(folder: Path, model: Path | None, method: str, rows: int, length: int, steps: int) -> Path:
    """A data folder with rows that are all `length` tokens once cut, and the plan of a training on them."""
    from arena.engines import embedded
    from arena.engines.spec import ModelSpec
    from arena.roster import enter
    from results.store import open_store
    from trainers.datasets import add_dataset
    from trainers.plan import make_plan
    from trainers.recipes import make_recipe

    if model is None:
        embedded.prepare(folder)
    source = f"embedded:{embedded.NAME}" if model is None else str(model)
    file = folder / "rows.jsonl"
    made = [
        {"prompt": f"Tell story {number}.", "response": TEXT * (length // 8 + 4)}
        for number in range(rows * steps + 1)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
    with open_store(folder) as store:
        enter(store, ModelSpec(name="base", source=source), folder)
        add_dataset(store, file, "stories", licence="cc0-1.0", held_out_share=0)
        recipe = make_recipe(
            {
                "name": "measured", "base": "base", "dataset": "stories", "method": method,
                "evaluation": {"every_steps": 0}, "checkpoint_every": 10_000,
                "optimiser": {
                    "batch_size": rows, "gradient_accumulation": 1, "max_length": length, "max_steps": steps,
                },
            }
        )  # fmt: skip
        plan = make_plan(store, folder, recipe)
    path = folder / "plan.json"
    path.write_text(plan.model_dump_json(), encoding="utf-8")
    return path


def measure(
    how: str, method: str, rows: int, length: int, steps: int, model: Path | None = None
) -> dict[str, float]:
    """`how` is "ours" or "plain": {"tokens_per_second", "memory" (bytes above the imports), "baseline",
    "estimated"}."""
    with tempfile.TemporaryDirectory() as folder:
        plan = prepare(Path(folder), model, method, rows, length, steps)
        done = subprocess.run(
            [sys.executable, __file__, "--child", how, str(plan)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-3_000:])
        figures: dict[str, float] = json.loads(done.stdout.strip().split("\n")[-1])
        return figures


@contextmanager
def watched_memory() -> Iterator[list[int]]:
    """Resident bytes: [at the beginning, at most so far]."""
    import psutil

    process = psutil.Process()
    figures = [process.memory_info().rss] * 2
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.004):
            figures[1] = max(figures[1], process.memory_info().rss)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield figures
    finally:
        stop.set()
        thread.join()


def child(how: str, plan_file: Path) -> None:
    """Train by the plan and print the figures."""
    import torch
    import trl  # noqa: F401  # part of the baseline
    from transformers import TrainerCallback

    from trainers.memory import estimate_training
    from trainers.methods.training import train
    from trainers.plan import TrainingPlan

    torch.zeros(8, 8) @ torch.zeros(8, 8)
    plan = TrainingPlan.model_validate_json(plan_file.read_text(encoding="utf-8"))
    folder = plan_file.parent / "job"
    folder.mkdir()
    times: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.perf_counter())

    with watched_memory() as memory:
        if how == "ours":
            import trainers.methods.training as ours

            make = ours.make_trainer

            def with_clock(parts: Any) -> Any:
                made = make(parts)
                made.add_callback(Clock())
                return made

            ours.make_trainer = with_clock
            train(plan, plan_file.parent, folder, lambda told: None)
        else:
            plain(plan, plan_file.parent, folder, Clock())
    o = plan.recipe.optimiser
    # The first step warms up; the median is deaf to what else the machine does.
    spans = sorted(after - before for before, after in pairwise(times))
    figures = {
        "tokens_per_second": o.batch_size * o.max_length / spans[len(spans) // 2],
        "memory": memory[1] - memory[0],
        "baseline": memory[0],
        "estimated": estimate_training(plan.recipe, plan.base.path).need.total,
    }
    print(json.dumps(figures))


def plain(plan: Any, data_dir: Path, folder: Path, clock: Any) -> None:
    """The same training as the documentation of trl and peft writes it."""
    import bitsandbytes as bnb
    import torch
    from datasets import Dataset
    from peft import IA3Config, LoraConfig, get_peft_model, prepare_model_for_kbit_training
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
    from trl import SFTConfig, SFTTrainer

    from trainers.datasets import read_rows
    from trainers.methods._encoding import Encoder

    recipe = plan.recipe
    tokenizer = AutoTokenizer.from_pretrained(plan.base.path)
    options: dict[str, Any] = {"dtype": torch.float32}
    if recipe.method == "qlora":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
        )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(plan.base.path, **options)
    model.config.use_cache = False
    if recipe.method == "qlora":
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
        for module in model.modules():
            if isinstance(module, bnb.nn.Linear4bit):
                module.support_avx512bf16_for_cpu = False
    if recipe.method in ("lora", "qlora"):
        model = get_peft_model(
            model, LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear")
        )
    elif recipe.method == "ia3":
        model = get_peft_model(model, IA3Config(task_type="CAUSAL_LM"))
    rows = read_rows(data_dir, plan.dataset.digest, plan.dataset.kind, split="train")
    encoded = Dataset.from_list(list(Encoder(plan, tokenizer, data_dir).rows(row for row, _ in rows)))
    o = recipe.optimiser
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=str(folder / "plain"), seed=recipe.seed, learning_rate=o.learning_rate, max_steps=o.max_steps,
            per_device_train_batch_size=o.batch_size, gradient_accumulation_steps=o.gradient_accumulation,
            max_length=o.max_length, logging_steps=1, save_strategy="no", report_to="none", disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(), bf16=False, gradient_checkpointing=False,
            dataloader_pin_memory=False,
        ),
        train_dataset=encoded,
        processing_class=tokenizer,
        callbacks=[clock],
    )  # fmt: skip
    trainer.train()


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--shapes", default="2x128", help="rows x tokens, several divided by commas")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument(
        "--rounds", type=int, default=1, help="ours and plain in turns; the best of each counts"
    )
    parser.add_argument("--model", type=Path, default=None, help="a folder; the embedded SmolLM2 without it")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child[0], Path(given.child[1]))
        return
    print(f"{'method':8}{'shape':>8}{'plain tok/s':>13}{'ours tok/s':>12}{'overhead':>10}{'plain MiB':>11}"
          f"{'ours MiB':>10}{'estimate':>10}")  # fmt: skip
    for method in given.methods.split(","):
        for shape in given.shapes.split(","):
            rows, length = map(int, shape.split("x"))
            found: dict[str, list[dict[str, float]]] = {"plain": [], "ours": []}
            for _ in range(given.rounds):
                for how, figures in found.items():
                    figures.append(measure(how, method, rows, length, given.steps, given.model))
            speed = {
                how: max(each["tokens_per_second"] for each in figures) for how, figures in found.items()
            }
            memory = {how: min(each["memory"] for each in figures) / 2**20 for how, figures in found.items()}
            print(
                f"{method:8}{shape:>8}{speed['plain']:13.1f}{speed['ours']:12.1f}"
                f"{speed['plain'] / speed['ours'] - 1:10.1%}{memory['plain']:11.0f}{memory['ours']:10.0f}"
                f"{found['ours'][0]['estimated'] / 2**20:10.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
