"""POST /v1/chat/completions and /v1/completions."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

from arena.api import shapes
from arena.api.answers import merged, whole
from arena.api.errors import from_engine, unsupported
from arena.api.exchange import Exchange
from arena.api.requests import ChatRequest, CompletionRequest, parsed
from arena.api.scoring import echoed
from arena.api.service import ApiService
from arena.engines.base import EngineError, Finished, Generation, GenerationRequest
from arena.engines.observed import ObservedEngine

DONE = "[DONE]"


async def chat_completions(service: ApiService, exchange: Exchange, body: bytes) -> None:
    """Answer a chat. Raises `ApiError`."""
    asked = parsed(ChatRequest, body)
    asked.refuse_unsupported(service.settings.api.max_choices)
    requests = [
        GenerationRequest(
            conversation=asked.conversation(),
            sampling=asked.sampling(),
            stop=asked.stops,
            # Each of n answers is drawn with a seed of its own, or all would be the same.
            seed=None if asked.seed is None else asked.seed + index,
            timeout=service.settings.api.answer_timeout,
            logprobs=asked.alternatives,
        )
        for index in range(asked.choices)
    ]
    try:
        contestant, engine = await service.model(asked.model)
        exchange.model = contestant.version.label
        head = shapes.Head(exchange.request_id, contestant)
        if asked.stream:
            await _stream_chat(exchange, head, engine, requests, asked)
        else:
            generations = await whole(engine, requests)
            await exchange.json(shapes.chat_completion(head, generations, bool(asked.logprobs)))
    except EngineError as error:
        raise from_engine(error, "messages") from error


async def _stream_chat(
    exchange: Exchange,
    head: shapes.Head,
    engine: ObservedEngine,
    requests: Sequence[GenerationRequest],
    asked: ChatRequest,
) -> None:
    generations: dict[int, Generation] = {}
    begun: set[int] = set()

    async def send(index: int, delta: dict[str, Any], finish: str | None, logprobs: Any = None) -> None:
        if index not in begun:
            begun.add(index)
            delta = {"role": "assistant", "content": "", **delta}
        chunk = shapes.chat_chunk(head, index, delta, finish, logprobs)
        await exchange.event({**chunk, "usage": None} if asked.wants_usage else chunk)

    async with aclosing(merged(engine, requests)) as chunks:
        async for index, chunk in chunks:
            if isinstance(chunk, Finished):
                generations[index] = chunk.generation
                await send(index, {}, chunk.generation.finish_reason)
            else:
                told = shapes.chat_logprobs(chunk.logprobs) if asked.logprobs and chunk.logprobs else None
                await send(index, shapes.chat_delta(chunk), None, told)
    if asked.wants_usage:
        used = shapes.usage([generations[index] for index in sorted(generations)])
        fields = head.fields("chatcmpl", "chat.completion.chunk")
        await exchange.event({**fields, "choices": [], "usage": used})
    await exchange.event(DONE)
    await exchange.end_events()


async def completions(service: ApiService, exchange: Exchange, body: bytes) -> None:
    """Continue raw texts, as they stand. Raises `ApiError`."""
    asked = parsed(CompletionRequest, body)
    asked.refuse_unsupported(service.settings.api.max_choices)
    requests = [
        GenerationRequest(
            text=prompt if isinstance(prompt, str) else None,
            ids=None if isinstance(prompt, str) else prompt,
            sampling=asked.sampling(),
            stop=asked.stops,
            seed=None if asked.seed is None else asked.seed + index,
            timeout=service.settings.api.answer_timeout,
            logprobs=asked.logprobs,
        )
        for prompt in asked.prompts
        for index in range(asked.choices)
    ]
    try:
        contestant, engine = await service.model(asked.model)
        exchange.model = contestant.version.label
        head = shapes.Head(exchange.request_id, contestant)
        if asked.stream:
            await _stream_completions(exchange, head, engine, requests, asked)
        else:
            await exchange.json(await _whole_completion(head, engine, requests, asked))
    except EngineError as error:
        raise from_engine(error, "prompt") from error


async def _whole_completion(
    head: shapes.Head,
    engine: ObservedEngine,
    requests: Sequence[GenerationRequest],
    asked: CompletionRequest,
) -> dict[str, Any]:
    if asked.echo and asked.logprobs is not None:
        return await echoed(head, engine, requests, asked)
    if asked.max_tokens == 0:
        raise unsupported("max_tokens", "0 scores the prompt: ask for logprobs too")
    generations = await whole(engine, requests)
    choices = [
        shapes.completion_choice(
            index,
            (made.rendered_prompt or "") + made.text if asked.echo else made.text,
            made.finish_reason,
            None
            if asked.logprobs is None
            else shapes.completion_logprobs(made.logprobs or (), text=made.text),
        )
        for index, (request, made) in enumerate(zip(requests, generations, strict=True))
    ]
    return shapes.completion(head, choices, shapes.usage(generations, prompts=len(asked.prompts)))


async def _stream_completions(
    exchange: Exchange,
    head: shapes.Head,
    engine: ObservedEngine,
    requests: Sequence[GenerationRequest],
    asked: CompletionRequest,
) -> None:
    generations: dict[int, Generation] = {}
    written = [0] * len(requests)
    fields = head.fields("cmpl", "text_completion")
    extra = {"usage": None} if asked.wants_usage else {}
    async with aclosing(merged(engine, requests)) as chunks:
        async for index, chunk in chunks:
            if isinstance(chunk, Finished):
                generations[index] = chunk.generation
                choice = shapes.completion_choice(index, "", chunk.generation.finish_reason, None)
            else:
                told = None
                if asked.logprobs is not None and chunk.logprobs:
                    told = shapes.completion_logprobs(chunk.logprobs, written[index])
                written[index] += len(chunk.text)
                choice = shapes.completion_choice(index, chunk.text, None, told)
            await exchange.event({**fields, "choices": [choice], **extra})
    if asked.wants_usage:
        used = shapes.usage([generations[i] for i in sorted(generations)], prompts=len(asked.prompts))
        await exchange.event({**fields, "choices": [], "usage": used})
    await exchange.event(DONE)
    await exchange.end_events()
