"""Several answers at once from one engine, and every one of them stopped when nobody wants it any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from arena.engines.base import (
    Engine,
    EngineError,
    Finished,
    Generation,
    GenerationRequest,
    Prompted,
    TextDelta,
)


async def whole(engine: Engine, requests: Sequence[GenerationRequest]) -> list[Generation]:
    """The answers to all requests, in order, made side by side. Raises the first `EngineError`, and then, as when
    it is cancelled, all are stopped."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_one(engine, request)) for request in requests]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def merged(
    engine: Engine, requests: Sequence[GenerationRequest]
) -> AsyncGenerator[tuple[int, TextDelta | Finished], None]:
    """The chunks of all answers as they come, each with its request's index. Raises the first `EngineError`;
    closing the generator stops all answers within a token."""
    if len(requests) == 1:
        async with aclosing(engine.stream(requests[0])) as chunks:
            async for chunk in chunks:
                if not isinstance(chunk, Prompted):
                    yield 0, chunk
        return
    # A small queue: a client that reads slowly holds its answers up instead of filling the memory.
    queue: asyncio.Queue[tuple[int, TextDelta | Finished | BaseException]] = asyncio.Queue(maxsize=64)

    async def read(index: int) -> None:
        try:
            async with aclosing(engine.stream(requests[index])) as chunks:
                async for chunk in chunks:
                    if not isinstance(chunk, Prompted):
                        await queue.put((index, chunk))
        except Exception as error:  # noqa: BLE001  # it is raised again by the reader of the queue
            await queue.put((index, error))

    readers = [asyncio.create_task(read(index)) for index in range(len(requests))]
    try:
        unfinished = len(requests)
        while unfinished:
            index, item = await queue.get()
            if isinstance(item, BaseException):
                raise item
            unfinished -= isinstance(item, Finished)
            yield index, item
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)


async def _one(engine: Engine, request: GenerationRequest) -> Generation:
    async with aclosing(engine.stream(request)) as chunks:
        async for chunk in chunks:
            if isinstance(chunk, Finished):
                return chunk.generation
    raise EngineError("the stream ended without a result")
