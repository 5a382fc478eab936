"""The local engine on a CUDA device: the same answers as on the CPU, batched and quantised."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from arena.engines import embedded
from arena.engines.base import GenerationRequest, Sampling
from arena.engines.local import LocalEngine
from arena.engines.pool import EnginePool
from prompt_formats.conversation import Conversation

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.model,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="not run: no CUDA device here"),
]


def asked(text: str) -> GenerationRequest:
    return GenerationRequest(
        conversation=Conversation().add("user", text), sampling=Sampling(temperature=0, max_tokens=16)
    )


async def test_all_default_contestants_answer_on_the_gpu(model_data_dir: Path) -> None:
    pool = EnginePool(model_data_dir)
    for spec in embedded.default_specs(model_data_dir):
        engine = pool.get(spec)
        assert isinstance(engine, LocalEngine)
        assert (await engine.load()).device == "cuda"
        questions = [asked("What is the capital of France?"), asked("안녕하세요?"), asked("Name a colour.")]
        first, *_ = await engine.generate(questions)
        assert "Paris" in first.text, spec.name
    await pool.close()


async def test_batched_answers_equal_solo_ones_in_float32(model_data_dir: Path) -> None:
    pool = EnginePool(model_data_dir, dtype="float32")
    engine = pool.get(embedded.default_specs(model_data_dir)[0])
    requests = [asked("What is the capital of France?"), asked("Tell me about foxes."), asked("수도는?")]
    solo = [(await engine.generate([request]))[0].text for request in requests]
    together = await asyncio.gather(*(engine.generate([request]) for request in requests))
    assert [generations[0].text for generations in together] == solo
    await pool.close()
