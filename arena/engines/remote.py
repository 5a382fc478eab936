"""The remote engine: any OpenAI-compatible server, at one address or several, through the `openai` library."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import openai

from arena.config import Price, Settings
from arena.engines.base import (
    BrokenAnswer,
    Chunk,
    Embeddings,
    Finished,
    Generation,
    GenerationRequest,
    Prompted,
    Sampling,
    Score,
    ScoreRequest,
)
from arena.engines.prices import cost_of, price_of
from arena.engines.remote_answer import Reader
from arena.engines.remote_connection import OPENAI, Connections
from arena.engines.remote_endpoints import Endpoint, Endpoints
from arena.engines.remote_errors import Failure
from arena.engines.remote_prompt import RemotePrompt, remote_prompt
from arena.engines.remote_retries import RetryPolicy, Tries
from arena.engines.remote_score import score_all
from arena.engines.spec import ModelSpec

JOB_SHARE = 0.75
"""The part of an endpoint's places that one job takes: people still get one."""
USUAL_ANSWER = 256
"""Tokens that an answer without `max_tokens` is thought to take, until the server tells."""

T = TypeVar("T")


@dataclass(frozen=True)
class Remotes:
    """What the remote engines of one process share: the endpoints with their limits, prices, and the folder of the
    user's own prompt formats."""

    endpoints: Endpoints = field(default_factory=Endpoints)
    prices: Mapping[str, Price] = field(default_factory=dict)
    formats: Path | None = None

    @classmethod
    def from_settings(cls, settings: Settings, formats: Path | None = None) -> Self:
        """As `[[endpoints]]` and `[prices]` of the settings say."""
        return cls(Endpoints(settings.endpoints), settings.prices, formats)


class RemoteEngine:
    """Answers for one model of one endpoint, which may have several addresses."""

    def __init__(
        self, spec: ModelSpec, retries: RetryPolicy | None = None, remotes: Remotes | None = None
    ) -> None:
        self.spec = spec
        self._retries = retries or RetryPolicy()
        self._remotes = remotes or Remotes()
        self._urls = (spec.base_url or OPENAI, *spec.base_urls)
        self._price = price_of(spec, self._remotes.prices)
        self._connections = Connections(spec, self._retries)

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """Text as the server sends it, then one `Finished` (see `Engine.stream`).

        Tried again, at another address where there is one, on 429, 5xx, timeouts, lost connections and what is no
        answer, until the first text arrives, never after.
        """
        sampling = request.sampling.over(self.spec.sampling)
        prompt = remote_prompt(self.spec, request, self._remotes.formats)
        self._connections.key()
        began = time.monotonic()
        deadline = None if request.timeout is None else began + request.timeout
        tries = Tries(self._retries, self._remotes.endpoints, self._urls, deadline)
        log = self._log(request, prompt)
        by = "engine" if prompt.text is not None else "server"
        yield Prompted(rendered_prompt=prompt.text, rendered_by=by, prompt_log=log)
        tokens = prompt.tokens + (sampling.max_tokens or USUAL_ANSWER)
        while True:
            reader = Reader(prompt.parser())
            endpoint = tries.endpoint()
            place = await self._connections.enter(endpoint, tokens, deadline)
            failed: Failure | None = None
            try:
                deltas = self._connections.stream(
                    endpoint, request, sampling, prompt, reader, began, deadline
                )
                async with aclosing(deltas):
                    async for delta in deltas:
                        yield delta
            except Failure as error:
                failed = error
            finally:
                endpoint.leave(place, reader.usage.total)
            if failed is None:
                break
            if reader.delivered:
                raise failed.error
            await tries.wait_after(failed, endpoint, place)
        log = {**log, "base_url": endpoint.url, "attempts": tries.number + 1}
        yield Finished(generation=self._generation(request, sampling, prompt, reader, log, began))

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        """Answers to many requests, in order, as many at a time as the endpoints take. The first error ends all."""

        async def whole(request: GenerationRequest) -> Generation:
            async for chunk in self.stream(request):
                if isinstance(chunk, Finished):
                    return chunk.generation
            raise BrokenAnswer(f"{self.spec.name}: the stream ended without a result")

        return await self._together([partial(whole, request) for request in requests])

    async def loglikelihood(self, requests: Sequence[ScoreRequest]) -> list[tuple[Score, ...]]:
        """For each request the scores of its continuations, in order (see `Scorer`), by a completions endpoint that
        echoes the prompt with its log-probabilities (vLLM and SGLang do).

        Raises `EngineRejected` for others, naming what to do instead.
        """
        return await score_all(self.spec, requests, self._remotes.formats, self._ask, self._together)

    async def embed(self, texts: Sequence[str]) -> Embeddings:
        """The endpoint's own vectors (see `Embedder`). Raises `EngineRejected` where it has none for this model."""

        async def call(client: Any) -> Any:
            return await client.embeddings.create(
                model=self.spec.source, input=list(texts), encoding_format="float"
            )

        reply = await self._ask(call, sum(len(text) for text in texts) // 4)
        vectors = tuple(tuple(each.embedding) for each in sorted(reply.data, key=lambda each: each.index))
        if len(vectors) != len(texts):
            raise BrokenAnswer(
                f"{self.spec.name}: {len(texts)} texts were sent, and {len(vectors)} vectors came back"
            )
        return Embeddings(vectors=vectors, tokens=reply.usage.prompt_tokens if reply.usage else None)

    async def close(self) -> None:
        """Close the connections that this event loop opened."""
        await self._connections.close()

    async def _ask(self, call: Callable[[Any], Awaitable[T]], tokens: int) -> T:
        """The answer to one request that is no stream, with the same retries."""
        tries = Tries(self._retries, self._remotes.endpoints, self._urls, None)
        while True:
            endpoint = tries.endpoint()
            place = await self._connections.enter(endpoint, tokens, None)
            try:
                return await self._connections.ask(endpoint, call)
            except Failure as error:
                failed = error
            finally:
                endpoint.leave(place, None)
            await tries.wait_after(failed, endpoint, place)

    async def _together(self, works: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
        """The results of all, in order, a job's share of the endpoints' places at a time; the first error ends all."""
        most = sum(self._endpoint(url).most_at_once for url in self._urls)
        places = asyncio.Semaphore(max(1, int(most * JOB_SHARE)))

        async def one(work: Callable[[], Awaitable[T]]) -> T:
            async with places:
                return await work()

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(work)) for work in works]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [task.result() for task in tasks]

    def _endpoint(self, url: str) -> Endpoint:
        return self._remotes.endpoints.of(url)

    def _log(self, request: GenerationRequest, prompt: RemotePrompt) -> dict[str, Any]:
        log: dict[str, Any] = {
            **prompt.log,
            "base_url": self._urls[0],
            "model": self.spec.source,
            "openai": openai.__version__,
        }
        if request.seed is not None:
            log["seed"] = request.seed
        if prompt.sent_stops:
            log["stop_strings"] = list(dict.fromkeys((*prompt.own_stops, *prompt.stops)))
        return log

    def _generation(
        self,
        request: GenerationRequest,
        sampling: Sampling,
        prompt: RemotePrompt,
        reader: Reader,
        log: dict[str, Any],
        began: float,
    ) -> Generation:
        usage = reader.usage
        return Generation(
            text="".join(reader.text),
            thinking="".join(reader.thinking) or None,
            finish_reason=reader.finish_reason,
            prompt_tokens=usage.prompt,
            completion_tokens=usage.completion,
            reasoning_tokens=usage.reasoning,
            cost=cost_of(self._price, usage.prompt, usage.completion, usage.cached),
            time_to_first_token=reader.first,
            duration=time.monotonic() - began,
            rendered_prompt=prompt.text,
            rendered_by="engine" if prompt.text is not None else "server",
            prompt_log=log,
            sampling=sampling,
            logprobs=tuple(reader.logprobs) if request.logprobs is not None else None,
        )
