"""Speed and peak memory of training, per method, ours beside a plain trl/peft script in the same run.

    python tests/benchmarks/training.py --methods lora,ia3 --steps 8 --shapes 2x128

The plain script gets the same ids and arguments; what ours does more (progress told to the store, metrics, TensorBoard)
is the overhead. Speed is tokens per second of CPU time (all threads): both train in turns within one process, so that
what else the machine does falls on both; `overhead` is the median over the turns, with the lowest and the highest,
`told` the share of a step that our callbacks take, `more ms` what our step takes more, by the same clock. Memory is
what is resident above the process after its imports, at its peak, each in a process of its own. Another process owns
the store, as `arena train run` and the web app do; both train in the environment of our jobs, in which memory is kept
(set MALLOC_TRIM_THRESHOLD_ and MALLOC_MMAP_MAX_ to compare: it makes the plain script quicker as well). `of product`
is the arithmetic of a step, by CPU second, as a share of what a plain matrix product reaches
(`trainers._devices.CPU_UTILISATION`).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from results.ids import new_id
from trainers._needs import DataSize, flops_per_token
from trainers._shapes import read_shapes
from trainers.jobs import KEEPS_MEMORY
from trainers.memory import estimate_training

TURNS = 5
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
) -> dict[str, Any]:
    """In a process of its own. `how` is "ours" or "plain": {"memory" (bytes above the imports, at the peak),
    "baseline", "estimated"}; or "both": see `speeds`."""
    with tempfile.TemporaryDirectory() as folder:
        plan = prepare(Path(folder), model, method, rows, length, steps)
        environment = KEEPS_MEMORY | dict(os.environ)
        command = [sys.executable, __file__, "--child", how, str(plan)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr[-3_000:])
        figures: dict[str, Any] = json.loads(done.stdout.strip().split("\n")[-1])
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


@contextmanager
def owned_store(data_dir: Path) -> Iterator[None]:
    """Another process owns the store meanwhile."""
    code = "import sys; from results.store import open_store\nwith open_store(sys.argv[1]): print(flush=True); input()"
    arguments = [sys.executable, "-c", code, str(data_dir)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout
        owner.stdout.readline()
        try:
            yield
        finally:
            owner.communicate(b"\n")


def child(how: str, plan_file: Path) -> None:
    """Train by the plan and print the figures: memory of "ours" or "plain", or the speed of "both"."""
    import torch
    import trl  # noqa: F401  # part of the baseline

    from trainers.methods.training import train
    from trainers.plan import TrainingPlan

    torch.zeros(8, 8) @ torch.zeros(8, 8)
    plan = TrainingPlan.model_validate_json(plan_file.read_text(encoding="utf-8"))
    if how == "both":
        print(json.dumps(speeds(plan, plan_file.parent)))
        return
    folder = plan_file.parent / "job"
    folder.mkdir()
    with watched_memory() as memory:
        if how == "ours":
            train(plan, plan_file.parent, folder, lambda told: None)
        else:
            plain(plan, plan_file.parent, folder).train()
    figures = {
        "memory": memory[1] - memory[0],
        "baseline": memory[0],
        "estimated": estimate_training(plan.recipe, plan.base.path).need.total,
    }
    print(json.dumps(figures))


def speeds(plan: Any, data_dir: Path) -> dict[str, Any]:
    """CPU seconds of a step, ours and plain, in turns within one process: {"ours", "plain", "told" (of our callbacks
    alone): a list each, by turn; "flops": of a step; "product": floating point operations per CPU second of a matrix
    product}."""
    import trainers.methods.training as ours
    from results.store import open_store
    from results.store.jobs import Claim, JobRecord, add_job, claim_job
    from trainers.methods.run import _teller

    o = plan.recipe.optimiser
    found: dict[str, Any] = {"ours": [], "plain": [], "told": []}
    numbers = np.random.default_rng(0).random((768, 768), dtype=np.float32)
    numbers @ numbers
    begun = time.process_time()
    for _ in range(40):
        numbers @ numbers
    product = 40 * 2 * 768**3 / (time.process_time() - begun)
    # Checkpoints and weights are written after the last step that is measured.
    arguments = ours.common_arguments
    ours.common_arguments = lambda *given, **named: {**arguments(*given, **named), "save_strategy": "no"}
    ours._save = lambda *given: None
    with owned_store(data_dir), open_store(data_dir) as store:
        job = add_job(store, JobRecord(id=new_id(), name="measured", recipe=plan.model_dump(mode="json")))
        claim_job(store, Claim(id=job.id, pid=os.getpid(), process_start=0.0))
        make = ours.make_trainer
        for turn in range(TURNS):
            for how in ("ours", "plain") if turn % 2 else ("plain", "ours"):
                folder = data_dir / f"{how}-{turn}"
                folder.mkdir()
                clock = Clock()
                if how == "plain":
                    trainer = plain(plan, data_dir, folder)
                    trainer.add_callback(clock.callback())
                    trainer.train()
                else:

                    def with_clock(parts: Any, clock: Clock = clock) -> Any:
                        return clock.around(make(parts))

                    ours.make_trainer = with_clock
                    ours.train(plan, data_dir, folder, _teller(store, job.id, folder))
                    found["told"].append(clock.told / (o.max_steps or 1))
                found[how].append(clock.step())
                shutil.rmtree(folder)
    size = DataSize(longest=o.max_length)
    flops = flops_per_token(plan.recipe, read_shapes(plan.base.path), size) * o.batch_size * o.max_length
    return {**found, "flops": flops, "product": product}


class Clock:
    """CPU seconds of this process: at the end of each step, and those that our own callbacks took."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.told = 0.0

    def step(self) -> float:
        """Of a step, on average (not all of them tell the store); the first one warms up."""
        return (self.ends[-1] - self.ends[0]) / (len(self.ends) - 1)

    def callback(self) -> Any:
        """A callback that looks at the clock."""
        from transformers import TrainerCallback

        clock = self

        class Looking(TrainerCallback):  # type: ignore[misc]
            def on_step_end(self, *_: Any, **__: Any) -> None:
                clock.ends.append(time.process_time())

        return Looking()

    def around(self, trainer: Any) -> Any:
        """The trainer, its callbacks timed in every step."""
        for each in trainer.callback_handler.callbacks:
            for name in ("on_step_begin", "on_step_end", "on_log"):
                setattr(each, name, self._timed(getattr(each, name)))
        trainer.add_callback(self.callback())
        return trainer

    def _timed(self, call: Any) -> Any:
        def timed(*given: Any, **named: Any) -> Any:
            begun = time.process_time()
            try:
                return call(*given, **named)
            finally:
                self.told += time.process_time() - begun

        return timed


def plain(plan: Any, data_dir: Path, folder: Path) -> Any:
    """A trainer for the same training as the documentation of trl and peft writes it."""
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
    return SFTTrainer(
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
    )  # fmt: skip


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--shapes", default="2x128", help="rows x tokens, several divided by commas")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--model", type=Path, default=None, help="a folder; the embedded SmolLM2 without it")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child[0], Path(given.child[1]))
        return
    print(f"{'method':8}{'shape':>8}{'plain':>8}{'ours':>8}{'overhead':>10}{'lowest':>8}{'highest':>9}{'told':>8}"
          f"{'more ms':>9}{'plain MiB':>11}{'ours MiB':>10}{'estimate':>10}{'of product':>12}")  # fmt: skip
    for method in given.methods.split(","):
        for shape in given.shapes.split(","):
            rows, length = map(int, shape.split("x"))
            found = measure("both", method, rows, length, given.steps, given.model)
            mine, theirs = (measure(how, method, rows, length, 3, given.model) for how in ("ours", "plain"))
            ratios = sorted(a / b - 1 for a, b in zip(found["ours"], found["plain"], strict=True))
            more = median(a - b for a, b in zip(found["ours"], found["plain"], strict=True))
            speed = {how: rows * length / median(found[how]) for how in ("plain", "ours")}
            reached = found["flops"] / median(found["ours"]) / found["product"]
            print(
                f"{method:8}{shape:>8}{speed['plain']:8.0f}{speed['ours']:8.0f}{median(ratios):10.1%}{ratios[0]:8.1%}"
                f"{ratios[-1]:9.1%}{median(found['told']) / median(found['ours']):8.2%}{more * 1_000:9.1f}"
                f"{theirs['memory'] / 2**20:11.0f}{mine['memory'] / 2**20:10.0f}{mine['estimated'] / 2**20:10.0f}"
                f"{reached:12.0%}",
                flush=True,
            )


if __name__ == "__main__":
    main()
