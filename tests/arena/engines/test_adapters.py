"""LoRA adapters on one shared base: three answer at once, each as it does alone, and nothing is loaded twice."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from arena.engines.base import EngineRejected, Finished, GenerationRequest, Sampling, ScoreRequest
from arena.engines.local import LocalEngine
from arena.engines.pool import EnginePool
from arena.engines.spec import ModelSpec
from prompt_formats.conversation import Conversation

pytestmark = pytest.mark.model

TOKENS = 8
QUESTION = Conversation().add("user", "What is the capital of France?")
ASKED = GenerationRequest(conversation=QUESTION, sampling=Sampling(temperature=0, max_tokens=TOKENS))


def save_adapter(base: Any, tokenizer: Any, folder: Path, seed: int) -> str:
    """Save a random adapter; returns what peft's own model answers greedily with it. `base` is as before then."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config: Any = LoraConfig(r=4, lora_alpha=32, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    model = get_peft_model(base, config).eval()
    model.save_pretrained(folder)
    ids = torch.tensor(
        [tokenizer.apply_chat_template(QUESTION.as_chat(), add_generation_prompt=True, return_dict=False)]
    )
    output = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=TOKENS
    )
    model.unload()
    return str(tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True))


@pytest.fixture(scope="module")
def adapters(smollm2_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Path, str]:
    """Three adapter folders, and what peft alone answers with each."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    base: Any = AutoModelForCausalLM.from_pretrained(smollm2_dir, dtype=torch.float32)
    tokenizer: Any = AutoTokenizer.from_pretrained(smollm2_dir)
    root = tmp_path_factory.mktemp("adapters")
    found = {root / str(seed): save_adapter(base, tokenizer, root / str(seed), seed) for seed in range(3)}
    assert len(set(found.values())) == 3
    return found


@pytest.fixture(scope="module")
def pool(model_data_dir: Path) -> Iterator[EnginePool]:
    pool = EnginePool(model_data_dir, dtype="float32")
    yield pool
    asyncio.run(pool.close())


def engine(pool: EnginePool, spec: ModelSpec, adapter: Path | None) -> LocalEngine:
    name = f"adapter-{adapter.name}" if adapter else "base"
    found = pool.get(spec.model_copy(update={"name": name, "adapter": str(adapter) if adapter else None}))
    assert isinstance(found, LocalEngine)
    return found


async def answer(engine: LocalEngine) -> str:
    async for chunk in engine.stream(ASKED):
        if isinstance(chunk, Finished):
            return chunk.generation.text
    raise AssertionError("no result")


async def test_three_adapters_and_their_base_answer_together_as_they_do_alone(
    pool: EnginePool, smollm2_spec: ModelSpec, adapters: dict[Path, str]
) -> None:
    base = engine(pool, smollm2_spec, None)
    assert await answer(base) == "The capital of France is Paris."
    before = psutil.Process(base.worker.pid).memory_info().rss
    engines = [engine(pool, smollm2_spec, folder) for folder in adapters]
    assert {id(each.worker) for each in engines} == {id(base.worker)}
    together = await asyncio.gather(*(answer(each) for each in (*engines, base)))
    assert together == [*adapters.values(), "The capital of France is Paris."]
    assert [await answer(each) for each in engines] == list(adapters.values())
    grown = psutil.Process(base.worker.pid).memory_info().rss - before
    assert grown < 300e6, f"{grown / 1e6:.0f} MB more: another copy of the base is 540 MB"


async def test_scores_use_the_adapter(
    pool: EnginePool, smollm2_spec: ModelSpec, adapters: dict[Path, str]
) -> None:
    request = ScoreRequest(conversation=QUESTION, continuations=("The capital of France is Paris.",))
    base = await engine(pool, smollm2_spec, None).loglikelihood([request])
    adapted = await engine(pool, smollm2_spec, next(iter(adapters))).loglikelihood([request])
    assert base[0][0].greedy
    assert adapted[0][0].logprob < base[0][0].logprob - 0.1


async def test_an_adapter_brings_its_own_template(
    pool: EnginePool, smollm2_spec: ModelSpec, adapters: dict[Path, str], tmp_path: Path
) -> None:
    folder = shutil.copytree(next(iter(adapters)), tmp_path / "templated")
    (folder / "chat_template.jinja").write_text("질문: {{ messages[0]['content'] }}\n답:")
    async for chunk in engine(pool, smollm2_spec, folder).stream(ASKED):
        if isinstance(chunk, Finished):
            assert chunk.generation.rendered_prompt == "질문: What is the capital of France?\n답:"
            assert chunk.generation.prompt_log["reason"].startswith("template saved beside the adapter")


async def test_an_adapter_that_was_trained_again_is_loaded_again(
    pool: EnginePool, smollm2_spec: ModelSpec, adapters: dict[Path, str], tmp_path: Path
) -> None:
    first, second, _ = adapters
    folder = shutil.copytree(first, tmp_path / "retrained")
    assert await answer(engine(pool, smollm2_spec, folder)) == adapters[first]
    shutil.copy(second / "adapter_model.safetensors", folder)
    assert await answer(engine(pool, smollm2_spec, folder)) == adapters[second]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"r": 8}, "does not fit"),
        ({"target_modules": ["q_proj", "v_proj", "o_proj"]}, "weights are missing"),
        ({"peft_type": "IA3", "feedforward_modules": []}, "does not fit"),
        ({"use_dora": True}, "weights are missing"),
        ({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 4}, "LoRA and IA3 adapters can be attached"),
    ],
)
async def test_an_adapter_that_does_not_belong_is_refused_and_the_others_go_on(
    pool: EnginePool,
    smollm2_spec: ModelSpec,
    adapters: dict[Path, str],
    tmp_path: Path,
    change: dict[str, Any],
    says: str,
) -> None:
    first = next(iter(adapters))
    folder = shutil.copytree(first, tmp_path / f"wrong-{next(iter(change))}")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | change))
    with pytest.raises(EngineRejected, match=says):
        await answer(engine(pool, smollm2_spec, folder))
    assert await answer(engine(pool, smollm2_spec, first)) == adapters[first]
