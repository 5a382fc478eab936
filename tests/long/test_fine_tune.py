"""A fine-tune that a person can see: SmolLM2-135M learns to turn requests into function calls, scored on requests that
it never saw, before and after.

ARENA_EVIDENCE=docs/evidence writes what came out there, ARENA_KEEP_ADAPTER=FOLDER keeps the adapter as it ships.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from arena.engines.base import GenerationRequest, Sampling
from arena.engines.embedded import default_specs
from arena.engines.pool import EnginePool
from arena.engines.spec import Example, ModelSpec
from arena.roster import Contestant, enter, find
from evaluators.suites.comparing import Side, SuiteComparison, compare
from evaluators.suites.plan import RunOptions
from evaluators.suites.session import bench, choose, pool_engines
from prompt_formats.conversation import Conversation
from results.store import Store, open_store
from trainers.datasets import ChatRow, add_dataset, read_rows
from trainers.export import export_adapter
from trainers.jobs import enqueue, follow
from trainers.recipes import read_recipe

pytestmark = [pytest.mark.long, pytest.mark.model]

DATA = Path(__file__).parents[2] / "trainers" / "data"
CALL = re.compile(r"\w+\(\w+=.*\)")
FUNCTIONS = (
    "Answer with one call and nothing else: weather(city, day), alarm(time), timer(minutes), music(genre, volume), "
    "call(who, kind), convert(amount, from, to), light(room, state) or shopping(item, count)."
)
EXAMPLES = (
    Example(user="Will it be windy in Mokpo tomorrow?", assistant="weather(city=Mokpo, day=tomorrow)"),
    Example(user="오후 1시 20분에 깨워 줘", assistant="alarm(time=13:20)"),
    Example(user="90 dollars in euros?", assistant="convert(amount=90, from=USD, to=EUR)"),
    Example(user="차고 불 켜 줘", assistant="light(room=garage, state=on)"),
)


@pytest.mark.timeout(5_400)
def test_smollm2_learns_function_calls(model_data_dir: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "models").symlink_to(model_data_dir / "models")
    plain = default_specs(data)[0]
    with open_store(data) as store:
        base = enter(store, plain, data)
        added = add_dataset(store, DATA / "calls.jsonl", "calls", licence="CC0-1.0", held_out_share=0.12)
        began = time.monotonic()
        job = list(follow(store, enqueue(store, read_recipe(DATA / "calls.yaml")).id))[-1]
        seconds = time.monotonic() - began
        assert job.state == "done", job.error

        # What is measured is what ships: rounded to bfloat16.
        exported = export_adapter(job, tmp_path / "adapter")
        if kept := os.environ.get("ARENA_KEEP_ADAPTER"):
            shutil.copytree(exported.folder, kept, dirs_exist_ok=True)
        tuned = enter(store, _with(plain, "calls-tuned", adapter=str(exported.folder)), data)
        told = enter(store, _with(plain, "calls-told", system_prompt=FUNCTIONS, few_shot=EXAMPLES), data)
        assert find(store, "smollm2-135m-calls").spec.parent == base.version.label

        # Suites are made of the rows that were held out, after training, so that it cannot be trained on them.
        rows = [
            row
            for row, _ in read_rows(data, added.dataset.digest, "chat", split="held_out")
            if isinstance(row, ChatRow)
        ]
        asked = [row for row in rows if len(row.messages) == 2 and CALL.fullmatch(row.messages[1]["content"])]
        chats = [row.messages[0]["content"] for row in rows if not CALL.fullmatch(row.messages[1]["content"])]
        others = (DATA / "calls_other_words.jsonl").read_text(encoding="utf-8").split("\n")
        suites = [
            _suite(tmp_path, "held-out", [(r.messages[0]["content"], r.messages[1]["content"]) for r in asked]),
            _suite(
                tmp_path, "other-words", [(r["prompt"], r["response"]) for r in map(json.loads, filter(None, others))]
            ),
        ]  # fmt: skip
        answers = asyncio.run(_run(store, data, [told, tuned], suites, tuned.spec, chats))
        learned, worded = _compared(store, told, tuned, suites)

    calls_in_chat = [answer for answer in answers if CALL.search(answer)]
    result = job.result
    text = (
        "SmolLM2-135M-Instruct learns function calls in English and Korean (trainers/data/calls.jsonl, CC0)\n"
        f"LoRA rank 8, {result['rows']} rows, {result['steps']} steps, {result['tokens']:,} tokens, "
        f"{result['trained_parameters']:,} parameters trained, {seconds / 60:.1f} minutes, "
        f"adapter of {exported.bytes / 1e6:.1f} MB\n"
        f"held-out loss {result['held_out_before']['loss']:.3f} -> {result['held_out_after']['loss']:.3f}\n"
        f"exact calls on {learned.difference.items} held-out requests: {learned.difference.a:.1%} told the functions "
        f"with four examples, {learned.difference.b:.1%} trained\n"
        f"trained against told: {_words(learned)}\n"
        f"on {worded.difference.items} requests in other words than any that it saw: "
        f"{worded.difference.a:.1%} -> {worded.difference.b:.1%}: {_words(worded)}\n"
        f"calls where none was asked for: {len(calls_in_chat)} of {len(answers)} held-out chats\n"
    )
    if folder := os.environ.get("ARENA_EVIDENCE"):
        (Path(folder) / "fine-tune.txt").write_text(text, encoding="utf-8")
    assert learned.verdict == worded.verdict == "better", text
    assert learned.difference.b >= learned.difference.a + 0.5, text
    assert len(calls_in_chat) <= len(answers) / 4, text
    assert seconds < 1_800, text


def _with(spec: ModelSpec, name: str, **changes: Any) -> ModelSpec:
    return spec.model_copy(update={"name": name, "parent": spec.name, **changes})


def _suite(folder: Path, name: str, cases: Iterable[tuple[str, str]]) -> Path:
    """A suite of exact answers; a call is short, and what goes on is none."""
    suite = folder / name
    suite.mkdir()
    about = {"suite": name, "scorer": "exact", "generation": {"max_tokens": 32}}
    (suite / f"{name}.yaml").write_text(yaml.safe_dump(about), encoding="utf-8")
    items = (
        {"id": f"{n:03}", "language": "en" if asked.isascii() else "ko", "input": asked, "target": call}
        for n, (asked, call) in enumerate(cases)
    )
    lines = (json.dumps(item, ensure_ascii=False) + "\n" for item in items)
    (suite / "items.jsonl").write_text("".join(lines), encoding="utf-8")
    return suite


async def _run(
    store: Store,
    data: Path,
    models: Sequence[Contestant],
    suites: Sequence[Path],
    tuned: ModelSpec,
    chats: Sequence[str],
) -> list[str]:
    """Take the models through the suites; what the tuned one answers where no call is asked for."""
    pool = EnginePool(data, dtype="float32")
    try:
        chosen = choose([str(suite) for suite in suites], data)
        await bench(store, pool_engines(pool), list(models), chosen, RunOptions())
        requests = [
            GenerationRequest(
                conversation=Conversation().add("user", chat), sampling=Sampling(temperature=0, max_tokens=40)
            )
            for chat in chats
        ]
        return [generation.text for generation in await pool.get(tuned).generate(requests)]
    finally:
        await pool.close()


def _compared(
    store: Store, first: Contestant, second: Contestant, suites: Sequence[Path]
) -> list[SuiteComparison]:
    sides = [Side(each.version.label, each.version.version_key) for each in (first, second)]
    found = {each.suite: each for each in compare(store, *sides).suites}
    return [found[suite.name] for suite in suites]


def _words(found: SuiteComparison) -> str:
    d = found.difference
    interval = f"{d.interval[0]:+.1%} to {d.interval[1]:+.1%}"
    return f"{d.difference:+.1%}, 95% interval {interval}, p {d.p:.2g}, {found.verdict}"
