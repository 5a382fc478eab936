"""A fine-tune that a person can see: SmolLM2-135M learns to turn requests into function calls, scored on rows that it
never saw, before and after.

ARENA_EVIDENCE=docs/evidence writes what came out there.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path

import pytest

from arena.engines.pool import EnginePool
from arena.engines.spec import ModelSpec
from arena.roster import enter, find
from evaluators.suites.comparing import Side, compare
from evaluators.suites.own import add_suite
from evaluators.suites.plan import RunOptions
from evaluators.suites.session import bench, choose, pool_engines
from results.store import open_store
from trainers.datasets import add_dataset, read_rows
from trainers.jobs import enqueue, follow
from trainers.recipes import make_recipe

pytestmark = [pytest.mark.long, pytest.mark.model]

ROWS = Path(__file__).parents[2] / "trainers" / "data" / "calls.jsonl"
INSTRUCTION = (
    "Answer with one call: weather(city, day), alarm(time), timer(minutes), music(genre, volume), call(who, kind), "
    "convert(amount, from, to), light(room, state) or shopping(item, count).\n"
)
RECIPE = {
    "name": "smollm2-calls", "base": "smollm2", "dataset": "calls", "method": "lora", "licence": "apache-2.0",
    "lora": {"rank": 16, "alpha": 32},
    "optimiser": {
        "learning_rate": 2e-3, "batch_size": 8, "gradient_accumulation": 1, "epochs": 3, "max_length": 192,
        "schedule": "cosine", "warmup_share": 0.05,
    },
    "evaluation": {"every_steps": 0},
}  # fmt: skip


@pytest.mark.timeout(5_400)
def test_smollm2_learns_function_calls(model_data_dir: Path, smollm2_spec: ModelSpec, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in ROWS.read_text(encoding="utf-8").split("\n") if line]
    file = tmp_path / "calls.jsonl"
    file.write_text(
        "".join(
            json.dumps(
                {"prompt": INSTRUCTION + row["prompt"], "response": row["response"]}, ensure_ascii=False
            )
            + "\n"
            for row in rows
        ),
        encoding="utf-8",
    )
    data = tmp_path / "data"
    data.mkdir()
    (data / "models").symlink_to(model_data_dir / "models")
    with open_store(data) as store:
        enter(store, smollm2_spec.model_copy(update={"licence": "apache-2.0"}), data)
        added = add_dataset(store, file, "calls", licence="cc0-1.0", held_out_share=0.2)
        began = time.monotonic()
        job = list(follow(store, enqueue(store, make_recipe(RECIPE)).id))[-1]
        seconds = time.monotonic() - began
        assert job.state == "done", job.error
        # The suite is made of the rows that were held out, after training, so that it cannot be trained on.
        cases = tmp_path / "held-out.jsonl"
        held_out = read_rows(data, added.dataset.digest, "chat", split="held_out")
        cases.write_text(
            "".join(
                json.dumps(
                    {"input": row.messages[0]["content"], "target": row.messages[-1]["content"]},
                    ensure_ascii=False,
                )
                + "\n"
                for row, _ in held_out
            ),  # type: ignore[union-attr]
            encoding="utf-8",
        )
        add_suite(cases, data, name="calls-held-out")
        base, tuned = find(store, "smollm2"), find(store, "smollm2-calls")

        async def run() -> None:
            pool = EnginePool(data, dtype="float32")
            try:
                await bench(
                    store, pool_engines(pool), [base, tuned], choose(["calls-held-out"], data), RunOptions()
                )
            finally:
                await pool.close()

        asyncio.run(run())
        sides = [Side(each.version.label, each.version.version_key) for each in (base, tuned)]
        (found,) = compare(store, *sides).suites
    difference = found.difference
    result = job.result
    told = (
        f"SmolLM2-135M-Instruct, LoRA rank 16, {result['rows']} rows of function calls (Korean and English, CC0)\n"
        f"{result['steps']} steps, {result['tokens']:,} tokens, {result['trained_parameters']:,} parameters trained, "
        f"{seconds / 60:.1f} minutes\n"
        f"held-out loss {result['held_out_before']['loss']:.3f} -> {result['held_out_after']['loss']:.3f}\n"
        f"exact calls on {difference.items} held-out requests: {difference.a:.1%} -> {difference.b:.1%} "
        f"(difference {difference.difference:+.1%}, 95% interval {difference.interval[0]:+.1%} to "
        f"{difference.interval[1]:+.1%}, p {difference.p:.2g}, {found.verdict})\n"
    )
    if folder := os.environ.get("ARENA_EVIDENCE"):
        (Path(folder) / "fine-tune.txt").write_text(told, encoding="utf-8")
    assert difference.b >= difference.a + 0.3, told
    assert found.verdict == "better", told
    assert seconds < 1_800, told
