"""Clients that were not written here, unchanged: the official OpenAI SDK for Node, and lm-eval."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import platformdirs
import pytest

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
TASK = """
task: capitals
dataset_path: json
dataset_kwargs:
  data_files:
    test: {file}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs:
  until: ["\\n\\n"]
  do_sample: false
  max_gen_toks: 12
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
"""


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
            command, cwd=node_folder, capture_output=True, text=True, timeout=100, check=False
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


def test_lm_eval_unchanged(served: Any, tmp_path: Path) -> None:
    questions = [
        {"question": "What is the capital of France?", "answer": "The capital of France is Paris."},
        {"question": "대한민국의 수도는 어디인가요?", "answer": "서울"},
    ]
    file = tmp_path / "capitals.jsonl"
    file.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in questions))
    (tmp_path / "capitals.yaml").write_text(TASK.format(file=file))
    command = [
        sys.executable, "-m", "lm_eval", "run", "--model", "local-chat-completions", "--model_args",
        f"base_url={served.url}/v1/chat/completions,model=smollm2,num_concurrent=2,max_retries=1",
        "--tasks", "capitals", "--include_path", str(tmp_path), "--apply_chat_template", "--output_path",
        str(tmp_path / "out"), "--log_samples",
    ]  # fmt: skip
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "OPENAI_API_KEY": served.token, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (results,) = (tmp_path / "out").rglob("results_*.json")
    assert json.loads(results.read_text())["results"]["capitals"]["exact_match,none"] == 0.5
    (samples,) = (tmp_path / "out").rglob("samples_capitals_*.jsonl")
    answers = [json.loads(line)["filtered_resps"][0] for line in samples.read_text().split("\n") if line]
    assert "The capital of France is Paris." in answers
