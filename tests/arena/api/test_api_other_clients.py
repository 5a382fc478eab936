"""Clients that were not written here, unchanged: the official OpenAI SDK for Node, and lm-eval."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, NoReturn

import platformdirs
import pytest

from arena.engines.base import GenerationRequest, ScoreRequest
from arena.engines.pool import EnginePool
from arena.roster import Contestant
from evaluators.suites.answering import Answered, answered, ask_of
from evaluators.suites.lm_tasks import LmOptions, LmTask, evaluate
from evaluators.suites.plan import RunOptions

pytestmark = pytest.mark.model

SDK = "7.57.0"
SCRIPT = """
import OpenAI from "openai";
const client = new OpenAI({ baseURL: process.argv[2], apiKey: process.argv[3], maxRetries: 0 });
const ask = { model: "smollm2", messages: [{ role: "user", content: "What is the capital of France?" }] };
const told = { models: (await client.models.list()).data.map((model) => model.id) };
told.whole = (await client.chat.completions.create(ask)).choices[0].message.content;
told.streamed = "";
const options = { stream: true, stream_options: { include_usage: true } };
for await (const chunk of await client.chat.completions.create({ ...ask, ...options })) {
  told.streamed += chunk.choices[0]?.delta?.content ?? "";
  told.usage = chunk.usage ?? told.usage;
}
told.helper = await client.chat.completions.stream(ask).finalContent();
told.korean = "";
for await (const chunk of await client.chat.completions.create({ ...ask, model: "korean", stream: true })) {
  told.korean += chunk.choices[0]?.delta?.content ?? "";
}
told.completion = (
  await client.completions.create({ model: "smollm2", prompt: "The capital of France is", max_tokens: 1 })
).choices[0].text;
try {
  await client.chat.completions.create({ ...ask, model: "nobody" });
} catch (error) {
  told.error = { name: error.constructor.name, status: error.status, code: error.code, id: error.requestID };
}
try {
  for await (const _ of await client.chat.completions.create({ ...ask, model: "cut", stream: true }));
} catch (error) {
  told.broken = error.code;
}
console.log(JSON.stringify(told));
"""
CAPITALS = [
    ("France", ["London on the Thames", "Paris", "Berlin"], 1),
    ("대한민국", ["부산 앞바다", "한강 옆의 서울.", "제주"], 1),
]


def _missing(reason: str) -> NoReturn:
    """In CI a missing tool is a failure, on a user's machine the test is not run."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def node_folder() -> Path:
    """A folder in which the SDK is installed, once for this user."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        _missing("Node and npm are not installed: the official SDK for Node not tested")
    folder = Path(platformdirs.user_cache_dir("palaestra")) / f"openai-node-{SDK}"
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true, "type": "module"}')
        command = [npm, "install", f"openai@{SDK}", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
        if done.returncode != 0:
            _missing(f"npm install openai failed (no network?): {done.stderr[-300:]}")
        (folder / "complete").touch()
    return folder


def test_the_official_sdk_for_node(served: Any, node_folder: Path) -> None:
    script = node_folder / f"check-{os.getpid()}.mjs"
    script.write_text(SCRIPT)
    try:
        command = ["node", script.name, f"{served.url}/v1", served.token]
        done = subprocess.run(
            command, cwd=node_folder, capture_output=True, text=True, timeout=200, check=False
        )
    finally:
        script.unlink()
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    paris = "The capital of France is Paris."
    assert "smollm2" in told["models"]
    assert (told["whole"], told["streamed"], told["helper"]) == (paris, paris, paris)
    assert told["usage"]["completion_tokens"] == 8
    assert told["korean"] == "대한민국의 수도는 서울입니다."
    assert told["completion"] == " Paris"
    error = told["error"]
    assert (error["name"], error["status"], error["code"]) == ("NotFoundError", 404, "model_not_found")
    assert error["id"].startswith("req_")
    assert told["broken"] == "broken_answer"


def _task(folder: Path, kind: str, **fields: Any) -> LmTask:
    data = folder / "capitals.jsonl"
    rows = [{"country": country, "choices": choices, "right": right} for country, choices, right in CAPITALS]
    data.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    config = {
        "task": "capitals", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test", "output_type": kind, **fields,
    }  # fmt: skip
    return LmTask("capitals", config, "c")


@pytest.fixture
def lm_key(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """lm-eval's clients take the token from the environment."""
    monkeypatch.setenv("OPENAI_API_KEY", served.token)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.mark.usefixtures("lm_key")
def test_lm_eval_generates_over_chat(served: Any, tmp_path: Path) -> None:
    from lm_eval.models.openai_completions import LocalChatCompletion

    task = _task(
        tmp_path, "generate_until", doc_to_text="What is the capital of {{country}}?",
        doc_to_target="The capital of France is Paris.", metric_list=[{"metric": "exact_match"}],
        generation_kwargs={"until": ["\n\n"], "do_sample": False, "max_gen_toks": 12},
    )  # fmt: skip
    lm = LocalChatCompletion(
        base_url=f"{served.url}/v1/chat/completions", model="smollm2", num_concurrent=2, max_retries=1
    )
    found = evaluate(lm, task, RunOptions(), LmOptions(chat_template=True))
    assert found["results"]["capitals"]["exact_match,none"] == 0.5
    answers = [row["filtered_resps"][0] for row in found["samples"]["capitals"]]
    assert "The capital of France is Paris." in answers


@pytest.mark.usefixtures("lm_key")
def test_lm_eval_scores_choices_over_the_api_as_our_own_lm_does(
    served: Any,
    beside: tuple[Contestant, EnginePool],
    smollm2_dir: Path,
    tmp_path: Path,
) -> None:
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    from evaluators.suites.lm import EngineLM

    contestant, pool = beside
    engine = pool.get(contestant.spec)

    async def all_answers(requests: Sequence[GenerationRequest | ScoreRequest]) -> list[Answered]:
        asks = [ask_of(contestant, request) for request in requests]
        async with aclosing(answered(contestant, engine, asks, {})) as stream:
            found = {place: each async for place, each in stream}
        return [found[place] for place in range(len(asks))]

    by_ids, by_text = (
        LocalCompletionsAPI(
            base_url=f"{served.url}/v1/completions", model="smollm2", tokenizer=str(smollm2_dir),
            tokenizer_backend="huggingface", tokenized_requests=ids, num_concurrent=4, max_retries=1,
        )
        for ids in (True, False)
    )  # fmt: skip
    ours = EngineLM("ours", lambda requests: asyncio.run(all_answers(requests)))
    task = _task(
        tmp_path, "multiple_choice", doc_to_text="The capital of {{country}} is", doc_to_choice="choices",
        doc_to_target="right", metric_list=[{"metric": "acc"}, {"metric": "acc_norm"}],
    )  # fmt: skip
    options = RunOptions()
    found = [evaluate(lm, task, options, LmOptions(chat_template=False)) for lm in (ours, by_ids, by_text)]
    scores = [
        [
            [(float(value), greedy) for ((value, greedy),) in row["resps"]]
            for row in each["samples"]["capitals"]
        ]
        for each in found
    ]
    for expected, *rows in zip(*scores, strict=True):
        for row in rows:
            assert [value for value, _ in row] == pytest.approx([value for value, _ in expected], abs=1e-3)
            assert [greedy for _, greedy in row] == [greedy for _, greedy in expected]
    # " Paris" is the model's first choice, and 서울 is of tokens that are parts of letters.
    assert scores[0][0][1][1]
    for metric in ("acc,none", "acc_norm,none"):
        values = [float(each["results"]["capitals"][metric]) for each in found]
        assert values == [values[0]] * 3
        assert values[0] > 0
