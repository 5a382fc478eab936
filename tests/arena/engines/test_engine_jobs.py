"""Batched jobs: results as they finish, single failures, resuming, cancelling."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import pytest

from arena.engines.base import (
    Chunk,
    EngineError,
    EngineRejected,
    Finished,
    Generation,
    GenerationRequest,
    Sampling,
)
from arena.engines.jobs import answers, generate_all
from arena.engines.local import LocalEngine
from arena.engines.pool import EnginePool
from arena.engines.spec import ModelSpec
from prompt_formats.conversation import Conversation


class Echo:
    """An engine that answers with its prompt after as many event loop turns as the prompt has characters."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.stopped: list[str] = []
        self.most = 0

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        text = request.text or ""
        self.asked.append(text)
        self.most = max(self.most, len(self.asked) - len(self.stopped))
        try:
            if text == "refused":
                raise EngineRejected("no such thing")
            if text == "bug":
                raise KeyError(text)
            for _ in text:
                await asyncio.sleep(0)
            yield Finished(
                generation=Generation(text=text, finish_reason="stop", duration=0, rendered_by="engine")
            )
        finally:
            self.stopped.append(text)

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        raise NotImplementedError

    async def close(self) -> None:
        return


def texts(*words: str) -> list[GenerationRequest]:
    return [GenerationRequest(text=word) for word in words]


def said(answer: Generation | EngineError) -> str:
    return answer.text if isinstance(answer, Generation) else answer.kind


async def test_results_come_as_they_finish_with_their_places() -> None:
    requests = texts("a" * 60, "refused", "bb", "가나다라마" * 4)
    found = [(place, said(answer)) async for place, answer in answers(Echo(), requests)]
    assert found == [(1, "rejected"), (2, "bb"), (3, "가나다라마" * 4), (0, "a" * 60)]


async def test_no_more_than_asked_for_run_at_once() -> None:
    engine = Echo()
    requests = texts(*(str(n) * 5 for n in range(9)))
    assert sorted([place async for place, _ in answers(engine, requests, concurrency=3)]) == list(range(9))
    assert engine.most == 3


async def test_a_job_goes_on_where_it_was() -> None:
    requests = texts("one", "refused", "three", "four")
    kept: dict[int, Generation | EngineError] = {}

    async def keep(place: int, answer: Generation | EngineError) -> None:
        if len(kept) == 2:
            raise ConnectionError("the store is gone")
        kept[place] = answer

    first, second = Echo(), Echo()
    with pytest.raises(ConnectionError):
        await generate_all(first, requests, on_result=keep)
    assert len(kept) == 2
    results = await generate_all(second, requests, done=kept)
    assert [said(result) for result in results] == ["one", "rejected", "three", "four"]
    assert sorted(second.asked) == sorted(
        request.text or "" for place, request in enumerate(requests) if place not in kept
    )


async def test_stopping_to_read_cancels_what_is_in_the_making() -> None:
    engine = Echo()
    async with aclosing(answers(engine, texts("a", "b" * 10_000, "c" * 10_000))) as results:
        async for place, _ in results:
            assert place == 0
            break
    assert sorted(engine.stopped) == sorted(engine.asked)
    assert len(engine.asked) == 3


async def test_an_error_of_ours_ends_the_job() -> None:
    with pytest.raises(KeyError, match="bug"):
        await generate_all(Echo(), texts("a" * 1000, "bug"))


async def test_no_requests_are_no_results() -> None:
    assert await generate_all(Echo(), []) == []


@pytest.mark.model
async def test_a_real_model_answers_the_rest_when_one_prompt_is_too_long(
    engine_pool: EnginePool, smollm2_spec: ModelSpec
) -> None:
    engine = engine_pool.get(smollm2_spec)
    assert isinstance(engine, LocalEngine)
    short = Sampling(temperature=0, max_tokens=8)
    prompts = ["What is the capital of France?", "불 " * 9000, "Say hello."]
    requests = [
        GenerationRequest(conversation=Conversation().add("user", prompt), sampling=short)
        for prompt in prompts
    ]
    results = await generate_all(engine, requests)
    assert said(results[0]) == "The capital of France is Paris."
    assert said(results[1]) == "over_context"
    assert isinstance(results[2], Generation)
