"""Many requests to one engine, answered as batches: results come as they finish, and single failures end nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing

from arena.engines.base import Engine, EngineError, Finished, Generation, GenerationRequest

Answer = Generation | EngineError

PLACES = 16
"""How many requests an engine that does not say is asked at once."""


async def answers(
    engine: Engine, requests: Sequence[GenerationRequest], *, concurrency: int | None = None
) -> AsyncGenerator[tuple[int, Answer], None]:
    """Each request's place in `requests` and its generation, or the `EngineError` that came instead.

        Results come in the order in which they are finished; the longest prompts go first, so that a local engine's
        batches hold prompts of like length. `concurrency` is how many are asked at once (default: what fills the
        engine's batches, `engine.job_places`, or `PLACES`). Whoever stops reading early closes the generator
    (`contextlib.aclosing`): the answers in the making are then cancelled within a token. Errors other than
    `EngineError` end the job.
    """
    if not requests:
        return
    places = concurrency if concurrency is not None else int(getattr(engine, "job_places", PLACES))
    waiting = iter(sorted(range(len(requests)), key=lambda place: length(requests[place]), reverse=True))
    finished: asyncio.Queue[tuple[int, Generation | Exception]] = asyncio.Queue()

    async def work() -> None:
        for place in waiting:  # shared: each worker takes the next one
            try:
                finished.put_nowait((place, await whole_answer(engine, requests[place])))
            except Exception as error:  # noqa: BLE001  # raised by the reader, who would wait for ever for it
                finished.put_nowait((place, error))

    workers = [asyncio.create_task(work()) for _ in range(min(places, len(requests)))]
    try:
        for _ in requests:
            place, answer = await finished.get()
            if not isinstance(answer, Generation | EngineError):
                raise answer
            yield place, answer
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


async def generate_all(
    engine: Engine,
    requests: Sequence[GenerationRequest],
    *,
    done: Mapping[int, Answer] | None = None,
    on_result: Callable[[int, Answer], Awaitable[None]] | None = None,
    concurrency: int | None = None,
) -> list[Answer]:
    """Results in the order of the requests; those in `done` (by place) are taken as they are and not asked again.

    `on_result` is awaited for each new result, one at a time: a job that stores them there and passes them as
    `done` when it is run again goes on where it was.
    """
    known: dict[int, Answer] = dict(done or {})
    places = [place for place in range(len(requests)) if place not in known]
    asked = [requests[place] for place in places]
    async with aclosing(answers(engine, asked, concurrency=concurrency)) as results:
        async for index, answer in results:
            known[places[index]] = answer
            if on_result is not None:
                await on_result(places[index], answer)
    return [known[place] for place in range(len(requests))]


async def whole_answer(engine: Engine, request: GenerationRequest) -> Generation:
    """The finished generation of one request. Raises `EngineError`."""
    async with aclosing(engine.stream(request)) as chunks:
        async for chunk in chunks:
            if isinstance(chunk, Finished):
                return chunk.generation
    raise EngineError("the stream ended without a result")


def length(request: GenerationRequest) -> int:
    """The characters of a request's prompt: what batches are sorted by."""
    messages = request.conversation.messages if request.conversation else ()
    return len(request.text or request.ids or "") + sum(len(message.content) for message in messages)
