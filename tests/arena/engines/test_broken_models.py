"""Model folders that cannot be used, beside one that can: each fails with its reason and breaks nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from arena.engines.base import (
    EngineUnavailable,
    Finished,
    GenerationRequest,
    Sampling,
)
from arena.engines.local import LocalEngine
from arena.engines.local_answers import Answers
from arena.engines.local_model import LoadedModel, load
from arena.engines.pool import EnginePool
from arena.engines.protocol import Delta, Ended, FromWorker, Start, Started, WorkerConfig
from arena.engines.sources import weights_digest
from arena.engines.spec import ModelSpec
from prompt_formats.conversation import Conversation

pytestmark = [pytest.mark.model, pytest.mark.faults]

ASKED = GenerationRequest(
    conversation=Conversation().add("user", "What is the capital of France?"),
    sampling=Sampling(temperature=0, max_tokens=12),
)


@pytest.fixture(scope="module")
def tiny(smollm2_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of a few megabytes in three shards, with the real tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tiny")
    config = LlamaConfig(
        vocab_size=49152, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=256, eos_token_id=2, bos_token_id=1,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder, max_shard_size="6MB")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(smollm2_dir / name, folder / name)
    assert len(list(folder.glob("*.safetensors"))) > 1
    return folder


@pytest.fixture
def broken(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "broken"))


def engine(pool: EnginePool, folder: Path) -> LocalEngine:
    found = pool.get(ModelSpec(name=f"model-{folder.name}", source=str(folder)))
    assert isinstance(found, LocalEngine)
    return found


async def answer(engine: LocalEngine, request: GenerationRequest = ASKED) -> str:
    async for chunk in engine.stream(request):
        if isinstance(chunk, Finished):
            return chunk.generation.text
    raise AssertionError("no result")


def loading(folder: Path) -> LoadedModel:
    """What a worker process does with a folder, in this one: it has the libraries imported already."""
    torch.set_num_threads(1)  # two threads on a busy machine wait for each other
    return load(WorkerConfig(path=folder, device="cpu", dtype="float32"), lambda stage: None)


def replies(folder: Path, **fields: Any) -> list[FromWorker]:
    """What a worker on this folder replies to a question."""
    sent: list[FromWorker] = []
    answers = Answers(loading(folder), {}, sent.append)
    asked = {"conversation": ASKED.conversation, "sampling": ASKED.sampling, **fields}
    answers.start(Start(id=1, seed=0, **asked))
    while answers.busy:
        answers.step()
    return sent


async def test_a_missing_shard_is_told_and_leaves_other_models_alone(
    broken: Path, tiny: Path, tmp_path: Path
) -> None:
    pool = EnginePool(tmp_path / "data", dtype="float32")
    good = engine(pool, tiny)
    before = await answer(good)
    pid = good.worker.pid
    missing = sorted(broken.glob("*.safetensors"))[0]
    missing.unlink()
    failing = engine(pool, broken)
    with pytest.raises(EngineUnavailable, match=missing.name):
        await answer(failing)
    assert failing.state.phase == "failed"
    assert missing.name in failing.state.detail
    assert await answer(good) == before
    assert good.worker.pid == pid
    await pool.close()


def test_a_damaged_shard_and_a_damaged_config_are_told(broken: Path) -> None:
    shard = sorted(broken.glob("*.safetensors"))[0]
    shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(Exception, match=r"safetensor|incomplete|header|size"):
        loading(broken)
    (broken / "config.json").write_text("{")
    with pytest.raises(Exception, match=r"config\.json|JSON"):
        loading(broken)


def test_a_folder_without_a_chat_template_is_plain_text_with_a_warning(broken: Path) -> None:
    (broken / "chat_template.jinja").unlink()
    started, *_, ended = replies(broken)
    assert isinstance(started, Started)
    assert started.log["format"] == "plain"
    assert "no prompt format is known" in started.log["warning"]
    assert started.rendered_prompt == "What is the capital of France?"
    assert isinstance(ended, Ended)
    *_, ended = replies(broken, conversation=None, text="The capital")
    assert isinstance(ended, Ended)


def test_thinking_that_the_prompt_opened_is_kept_apart(broken: Path) -> None:
    """A random model never closes its thinking: everything it says is thinking, and nothing an answer."""
    template = (broken / "chat_template.jinja").read_text()
    assistant = "<|im_start|>assistant\n"
    assert assistant in template
    (broken / "chat_template.jinja").write_text(template.replace(assistant, assistant + "<think>\n"))
    started, *said, ended = replies(broken, sampling=Sampling(max_tokens=8))
    assert isinstance(started, Started)
    assert started.rendered_prompt.endswith("<think>\n")
    deltas = [each for each in said if isinstance(each, Delta)]
    assert "".join(each.thinking for each in deltas)
    assert not any(each.text for each in deltas)
    assert isinstance(ended, Ended)


def test_stops_are_the_union_of_generation_config_and_tokenizer(broken: Path) -> None:
    path = broken / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": [0, 7]}))
    started, *_ = replies(broken)
    assert isinstance(started, Started)
    assert len(started.log["stop_tokens"]) == 3
    assert {"<|endoftext|>", "<|im_end|>"} < set(started.log["stop_tokens"])


def test_code_that_comes_with_a_model_is_never_run(broken: Path) -> None:
    config = json.loads((broken / "config.json").read_text())
    config |= {
        "model_type": "evil",
        "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"},
    }
    (broken / "config.json").write_text(json.dumps(config))
    (broken / "evil.py").write_text(
        f"open({str(broken / 'ran')!r}, 'w')\nclass Config: pass\nclass Model: pass\n"
    )
    with pytest.raises(Exception, match=r"trust_remote_code|evil"):
        loading(broken)
    assert not (broken / "ran").exists()


@pytest.mark.parametrize(
    ("source", "says"),
    [("/no/such/folder", "no model folder"), ("embedded:nothing", "arena models prepare")],
)
def test_a_source_that_is_not_there_says_what_to_do(engine_pool: EnginePool, source: str, says: str) -> None:
    with pytest.raises(EngineUnavailable, match=says):
        engine_pool.get(ModelSpec(name="nowhere", source=source))


def test_a_hub_that_cannot_be_reached_says_what_to_do(
    engine_pool: EnginePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(EngineUnavailable, match="set `source` to its folder"):
        engine_pool.get(ModelSpec(name="far", source="someone/something"))


def test_the_digest_follows_what_shapes_answers(broken: Path, tmp_path: Path) -> None:
    spec = ModelSpec(name="m", source=str(broken))
    first = weights_digest(spec, tmp_path)
    (broken / "README.md").write_text("안녕")
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps({**config, "transformers_version": "9.9"}))
    assert weights_digest(spec, tmp_path) == first
    copy = shutil.copytree(broken, tmp_path / "elsewhere")
    assert weights_digest(spec.model_copy(update={"source": str(copy)}), tmp_path) == first
    template = broken / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    second = weights_digest(spec, tmp_path)
    assert second != first
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    with pytest.raises(EngineUnavailable, match=r"adapter_config\.json"):
        weights_digest(spec.model_copy(update={"adapter": str(adapter)}), tmp_path)
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").write_bytes(b"x")
    assert weights_digest(spec.model_copy(update={"adapter": str(adapter)}), tmp_path) != second
    assert weights_digest(ModelSpec(name="r", kind="openai", source="gpt"), tmp_path) == ""
