"""CTranslate2's int8 in a real worker: true tokens, batches, stopping, and what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from arena.engines.base import (
    EngineRejected,
    Finished,
    GenerationRequest,
    Sampling,
    ScoreRequest,
    TextDelta,
)
from arena.engines.local import LocalEngine
from arena.engines.pool import EnginePool
from arena.engines.spec import ModelSpec
from prompt_formats.conversation import Conversation

pytest.importorskip("ctranslate2", reason="not run: the extra fast-cpu is not installed")
LEAST_STEPS = 8  # local_ct2.LEAST_STEPS: importing it here would load torch

pytestmark = pytest.mark.model


def asked(text: str, tokens: int = 12, **sampling: float) -> GenerationRequest:
    return GenerationRequest(
        conversation=Conversation().add("user", text),
        sampling=Sampling.model_validate({"temperature": 0, "max_tokens": tokens, **sampling}),
    )


@pytest.fixture
async def engine(engine_pool: EnginePool, smollm2_spec: ModelSpec) -> AsyncIterator[LocalEngine]:
    found = engine_pool.get(smollm2_spec.model_copy(update={"name": "ct2", "quantisation": "ct2-int8"}))
    assert isinstance(found, LocalEngine)
    yield found
    await found.close()


async def text(engine: LocalEngine, request: GenerationRequest) -> str:
    return (await engine.generate([request]))[0].text


async def test_ct2_streams_tokens_joins_batches_stops_and_refuses(engine: LocalEngine) -> None:
    ready = await engine.load()
    assert (ready.dtype, ready.device) == ("int8", "cpu")
    assert ready.memory < 200e6
    france, story = (
        asked("What is the capital of France?"),
        asked("Tell me a very long story about a fox.", 24),
    )
    async with aclosing(engine.stream(france)) as chunks:
        deltas = [chunk.text async for chunk in chunks if isinstance(chunk, TextDelta)]
    assert "Paris" in "".join(deltas)
    assert len(deltas) >= 6
    alone = [await text(engine, request) for request in (story, france)]
    assert alone[1] == "".join(deltas)

    # Somebody who comes later is answered before a long answer ends. Int8 rounds otherwise in other shapes, so that
    # the long one may part from its solo one where it was broken off, and not before.
    told: list[str] = []
    late: asyncio.Task[str] | None = None
    async with aclosing(engine.stream(story)) as chunks:
        async for chunk in chunks:
            if isinstance(chunk, TextDelta):
                told.append(chunk.text)
                late = late or asyncio.create_task(text(engine, france))
            if isinstance(chunk, Finished):
                assert (chunk.generation.completion_tokens, chunk.generation.finish_reason) == (24, "length")
                assert chunk.generation.text == "".join(told)
    assert late is not None
    assert late.done()
    assert late.result() == alone[1]
    assert "".join(told[:LEAST_STEPS]) == alone[0][: len("".join(told[:LEAST_STEPS]))]
    before = engine.worker.tokens_generated
    async with aclosing(engine.stream(asked("Tell me a very long story about a fox.", 400))) as chunks:
        async for chunk in chunks:
            if isinstance(chunk, TextDelta):
                break
    assert await text(engine, france) == alone[1]
    assert engine.worker.tokens_generated - before < 40
    with pytest.raises(EngineRejected, match="min_p"):
        await text(engine, asked("Hi", temperature=1, min_p=0.1))
    with pytest.raises(EngineRejected, match="only answers"):
        await engine.loglikelihood([ScoreRequest(text="a", continuations=(" b",))])
    generation = (await engine.generate([asked("안녕하세요?", 8, temperature=1.0)]))[0]
    assert generation.prompt_log["seed"] is None
    assert "\ufffd" not in generation.text
