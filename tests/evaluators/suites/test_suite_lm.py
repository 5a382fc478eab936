"""lm-eval's tasks through our engines: the same numbers as its own HFLM, nothing asked twice, no model mixed up."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from arena.engines.base import EngineRejected, Generation, GenerationRequest, Sampling, Score, ScoreRequest
from arena.engines.local_model import load
from arena.engines.pool import EnginePool
from arena.engines.protocol import WorkerConfig
from arena.engines.spec import ModelSpec
from arena.roster import Contestant
from evaluators.suites.errors import NeedsLoglikelihood, SuiteError
from evaluators.suites.lm import ChatText, EngineLM
from evaluators.suites.lm_tasks import LmOptions, LmTask, evaluate, find_task, mirrored
from evaluators.suites.plan import RunOptions
from evaluators.suites.running import Engines
from evaluators.suites.session import Chosen, bench
from results.records import ModelVersionRecord
from results.store import Store, open_store
from results.store.suites import suite_results, suite_samples

CAPITALS = [
    (
        "France",
        ["Paris in the north", "London on the Thames", "Berlin on the Spree", "Madrid on the plateau"],
        0,
    ),
    ("Japan", ["Seoul on the Han", "Tokyo on the bay", "Beijing in the plain", "Hanoi in the delta"], 1),
    ("대한민국", ["부산 앞바다", "대전 한가운데", "한강 옆의 서울", "제주 섬"], 2),
    ("Egypt", ["Lagos", "Nairobi", "Tunis", "Cairo on the Nile"], 3),
]


def tasks(folder: Path) -> list[LmTask]:
    rows = [{"country": country, "choices": choices, "right": right} for country, choices, right in CAPITALS]
    data = folder / "capitals.jsonl"
    data.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    common = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
    }
    choice = {
        **common, "task": "capitals", "output_type": "multiple_choice",
        "doc_to_text": "The capital of {{country}} is", "doc_to_choice": "choices", "doc_to_target": "right",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }  # fmt: skip
    generated = {
        **common, "task": "capitals_text", "output_type": "generate_until",
        "doc_to_text": "What is the capital of {{country}}?", "doc_to_target": "{{choices[right]}}",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 8, "do_sample": False},
        "metric_list": [{"metric": "exact_match"}],
    }  # fmt: skip
    return [LmTask("capitals", choice, "c"), LmTask("capitals_text", generated, "t")]


class CountingEngine:
    """A real engine, with what it was asked."""

    def __init__(self, engine: Any) -> None:
        self.engine, self.asked = engine, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def stream(self, request: GenerationRequest) -> Any:
        self.asked += 1
        return self.engine.stream(request)

    async def loglikelihood(self, requests: list[ScoreRequest]) -> list[tuple[Score, ...]]:
        self.asked += len(requests)
        found: list[tuple[Score, ...]] = await self.engine.loglikelihood(requests)
        return found


def contestant(store: Store, spec: ModelSpec, digest: str = "d1") -> Contestant:
    (version,) = store.upsert_model_versions([ModelVersionRecord(model=spec.name, digest=digest)])
    return Contestant(spec, version)


def engines(engine: Any) -> Engines:
    async def opened(contestant: Contestant) -> Any:
        return engine

    async def closed(contestant: Contestant, engine: Any) -> None:
        return None

    return Engines(opened, closed)


@pytest.mark.model
def test_the_same_numbers_as_hflm_and_nothing_asked_twice(
    engine_pool: EnginePool, smollm2_spec: ModelSpec, smollm2_dir: Path, tmp_path: Path
) -> None:
    from lm_eval.models.huggingface import HFLM

    torch.set_num_threads(1)  # two threads on a busy machine wait for each other
    engine = CountingEngine(engine_pool.get(smollm2_spec))
    chosen, options = Chosen(tasks=tasks(tmp_path)), RunOptions(dtype="float32")
    settings = LmOptions(chat_template=True)
    with open_store(tmp_path / "data") as store:
        ours = contestant(store, smollm2_spec)
        outcome = asyncio.run(bench(store, engines(engine), [ours], chosen, options, lm_options=settings))
        assert outcome.complete
        asked = engine.asked
        assert asked == outcome.made == 2 * len(CAPITALS)
        again = asyncio.run(bench(store, engines(engine), [ours], chosen, options, lm_options=settings))
        assert (engine.asked, again.made) == (asked, 0)
        # lm-eval's own cache would now give this model the other one's answers.
        other = contestant(store, smollm2_spec, "d2")
        one = options.model_copy(update={"limit": 1})
        third = asyncio.run(bench(store, engines(engine), [other], chosen, one, lm_options=settings))
        assert third.made == engine.asked - asked == 2
        found = {
            (row["suite"], row["metric"]): row["value"]
            for row in suite_results(store, outcome.run.id).to_pylist()
        }
        samples = suite_samples(store, outcome.run.id).to_pylist()
    loaded = load(WorkerConfig(path=smollm2_dir, device="cpu", dtype="float32"), lambda stage: None)
    theirs = HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=4, device="cpu")
    for task in chosen.tasks:
        results = evaluate(theirs, task, options, settings)
        expected = {
            key: value for key, value in results["results"][task.name].items() if key.endswith(",none")
        }
        assert {key: found["lm:" + task.name, key] for key in expected if "_stderr" not in key} == {
            key: float(value) for key, value in expected.items() if "_stderr" not in key
        }
        texts = {str(sample["doc_id"]): sample["resps"][0][0] for sample in results["samples"][task.name]}
        for sample in samples:
            if sample["suite"] != "lm:" + task.name:
                continue
            if task.name == "capitals_text":
                assert sample["text"] == texts[sample["item"]]
            else:
                ours_first, _, _ = json.loads(sample["choices"])[0]
                assert ours_first == pytest.approx(float(texts[sample["item"]][0]), abs=1e-3)


class ChatOnly:
    """An endpoint that cannot score text, as the remote engine tells it."""

    async def loglikelihood(self, requests: list[ScoreRequest]) -> list[tuple[Score, ...]]:
        raise EngineRejected("chat: a chat endpoint cannot tell how likely given text is.")

    async def generate(self, requests: list[GenerationRequest]) -> list[Generation]:
        raise AssertionError("not asked for")


def test_an_endpoint_without_logprobs_names_the_alternative(tmp_path: Path) -> None:
    spec = ModelSpec(name="chat", kind="openai", source="m", base_url="http://localhost:1/v1")
    with open_store(tmp_path / "data") as store, pytest.raises(NeedsLoglikelihood, match="choice_letter"):
        asyncio.run(
            bench(
                store, engines(ChatOnly()), [contestant(store, spec)], Chosen(tasks=tasks(tmp_path)[:1]),
                RunOptions(), lm_options=LmOptions(),
            )
        )  # fmt: skip


def request(*arguments: Any) -> Any:
    from lm_eval.api.instance import Instance

    return Instance(request_type="generate_until", doc={}, arguments=arguments, idx=0, metadata=("t", 0, 1))


def test_generation_arguments_become_ours_and_unknown_ones_are_refused() -> None:
    seen: list[Any] = []

    def answer(requests: Any) -> list[Any]:
        seen.extend(requests)
        raise LookupError

    lm = EngineLM("m", answer)
    chat = lm.apply_chat_template(
        [{"role": "user", "content": "안녕?"}, {"role": "assistant", "content": "네,"}]
    )
    assert isinstance(chat, ChatText)
    arguments = {"until": ["\n", ""], "do_sample": False, "temperature": 0.7, "max_gen_toks": 5}
    with pytest.raises(LookupError):
        lm.generate_until([request(chat, arguments), request("raw", {"temperature": 0.5, "do_sample": True})])
    assert [message.content for message in seen[0].conversation.messages] == ["안녕?"]
    assert (seen[0].prefill, seen[0].stop) == ("네,", ("\n",))
    assert seen[0].sampling == Sampling(temperature=0, max_tokens=5)
    assert (seen[1].text, seen[1].sampling) == ("raw", Sampling(temperature=0.5, max_tokens=256))
    with pytest.raises(SuiteError, match="num_beams"):
        lm.generate_until([request("x", {"num_beams": 4})])
    with pytest.raises(SuiteError, match="penalty_alpha"):
        lm.generate_until([request("x", {"penalty_alpha": 0.6})])


def test_builtin_tasks_read_mirrored_data_without_a_hub(tmp_path: Path) -> None:
    config = {"task": "gsm8k", "dataset_path": "openai/gsm8k", "dataset_name": "main"}
    with pytest.raises(SuiteError, match="openai/gsm8k/main and"):
        mirrored(config, tmp_path)
    folder = tmp_path / "openai" / "gsm8k" / "main"
    folder.mkdir(parents=True)
    assert mirrored(config, tmp_path) == {"task": "gsm8k", "dataset_path": str(folder), "dataset_name": None}
    assert mirrored({"dataset_path": "json"}, tmp_path) == {"dataset_path": "json"}


def test_a_task_file_is_found_and_a_suite_is_no_task(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("task: mine\ndataset_path: json\noutput_type: generate_until\n", encoding="utf-8")
    task = find_task(str(path))
    assert (task.name, task.defaults) == ("mine", False)
    path.write_text("suite: mine\n", encoding="utf-8")
    with pytest.raises(SuiteError, match="key `task`"):
        find_task(str(path))
