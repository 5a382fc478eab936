"""The local engine: one model version on a worker process, seen through `Engine`."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

from arena.engines.asking import Inbox, asked
from arena.engines.base import (
    Chunk,
    Embeddings,
    EngineError,
    EngineRejected,
    EngineTimedOut,
    EngineUnavailable,
    Finished,
    Generation,
    GenerationRequest,
    OverContext,
    Prompted,
    Score,
    ScoreRequest,
    TextDelta,
    TokenLogprob,
)
from arena.engines.cores import CoreGate
from arena.engines.framing import framed
from arena.engines.jobs import answers
from arena.engines.protocol import (
    Delta,
    Embedded,
    EmbedMany,
    Ended,
    FromWorker,
    Prompting,
    Ready,
    Refused,
    Scored,
    ScoreMany,
    Start,
    Started,
)
from arena.engines.residency import Residency, Resident
from arena.engines.sources import model_id
from arena.engines.spec import ModelSpec
from arena.engines.worker_process import WorkerState

ERRORS: dict[str, type[EngineError]] = {
    error.kind: error for error in (EngineError, EngineRejected, EngineUnavailable, OverContext)
}

SCORED_TOGETHER = 256
"""Requests sent to a worker as one: enough to sort by length, few enough that others get their turn."""


class LocalEngine:
    """Answers for one model version on local weights, with its LoRA adapter if it has one.

    Several engines may share one worker: adapters of one base do.
    """

    job_places = 24
    """How many of a job's answers are made at once: fewer than a worker's rows, so that people still get one."""

    def __init__(
        self,
        spec: ModelSpec,
        resident: Resident,
        residency: Residency,
        gate: CoreGate,
        adapter: Path | None = None,
        formats: Path | None = None,
    ) -> None:
        self.spec = spec
        self._adapter = adapter
        self._prompting = Prompting(
            model=model_id(spec),
            prompt_format=spec.prompt_format,
            parent=spec.parent,
            formats=formats,
            window=spec.window,
        )
        self.resident = resident
        self.worker = resident.worker
        self._residency = residency
        self._gate = gate
        gate.register(self.worker.name, self.worker.use_threads)

    @property
    def state(self) -> WorkerState:
        """Whether the weights are loaded, or why they are not."""
        return self.worker.state

    async def load(self) -> Ready:
        """Load the weights now rather than at the first request. Raises `EngineUnavailable` (`NoRoom` where they
        do not fit the memory budget)."""
        async with self._residency.using(self.resident) as ready:
            return ready

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """Text as it is generated, then one `Finished` (see `Engine.stream`).

        The request's timeout counts from the moment the weights are loaded. Closing the stream stops the
        worker within one token.
        """
        start = self._start_message(request)
        asked_at = time.monotonic()
        async with self._residency.using(self.resident, request.timeout) as ready:
            clock = _Clock(request.timeout, self.spec.name)
            wait = partial(clock.wait, what="for a free core")
            async with asked(self.worker, self._gate, ready, start, wait) as inbox:
                async for chunk in self._chunks(start, inbox, clock, loading=clock.began - asked_at):
                    yield chunk

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        """Answers to many requests, in order of the requests. The first error ends all of them.

        They share the worker's batches, longest prompts first, so that a batch holds prompts of like length.
        """
        found: dict[int, Generation] = {}
        async with aclosing(answers(self, requests)) as results:
            async for place, answer in results:
                if isinstance(answer, EngineError):
                    raise answer
                found[place] = answer
        return [found[place] for place in range(len(requests))]

    async def loglikelihood(self, requests: Sequence[ScoreRequest]) -> list[tuple[Score, ...]]:
        """For each request the scores of its continuations, in order (see `Scorer`).

        A context is run once for all its continuations. Continuations are encoded as lm-eval does: together
        with their context, and cut at the length of the context's own ids.
        """
        framed_requests = [self._framed(request) for request in requests]
        found: list[tuple[Score, ...]] = []
        async with self._residency.using(self.resident) as ready:
            for first in range(0, len(requests), SCORED_TOGETHER):
                part = tuple(framed_requests[first : first + SCORED_TOGETHER])
                message = ScoreMany(id=0, requests=part, adapter=self._adapter, prompting=self._prompting)
                found.extend(await self._score(message, ready))
        return found

    async def embed(self, texts: Sequence[str]) -> Embeddings:
        """A vector of unit length for each text: the mean of the model's last hidden states (see `Embedder`)."""
        message = EmbedMany(id=0, texts=tuple(texts), adapter=self._adapter)
        async with self._residency.using(self.resident) as ready:
            reply = await self._reply_to(message, ready)
        if not isinstance(reply, Embedded):
            raise EngineError(f"{self.spec.name}: the worker answered an embedding with '{reply.type}'")
        return Embeddings(vectors=reply.vectors, tokens=reply.tokens)

    async def close(self) -> None:
        """End the worker process, and with it the answers of all engines that share it."""
        await asyncio.to_thread(self.worker.stop)

    def _framed(self, request: ScoreRequest) -> ScoreRequest:
        if request.whole is None and (request.conversation is None) == (request.text is None):
            raise EngineRejected("a request holds either a conversation or raw text")
        if request.conversation is None:
            return request
        return request.model_copy(update={"conversation": framed(self.spec, request.conversation)})

    async def _score(self, message: ScoreMany, ready: Ready) -> tuple[tuple[Score, ...], ...]:
        reply = await self._reply_to(message, ready)
        if not isinstance(reply, Scored):
            raise EngineError(f"{self.spec.name}: the worker answered a scoring with '{reply.type}'")
        return reply.scores

    async def _reply_to(self, message: ScoreMany | EmbedMany, ready: Ready) -> FromWorker:
        async with asked(self.worker, self._gate, ready, message) as inbox:
            reply = await inbox.get()
        if isinstance(reply, Refused):
            raise ERRORS[reply.kind](f"{self.spec.name}: {reply.message}")
        if isinstance(reply, EngineUnavailable):
            raise reply
        return reply

    def _start_message(self, request: GenerationRequest) -> Start:
        if [request.conversation, request.text, request.ids].count(None) != 2:
            raise EngineRejected("a request holds either a conversation, raw text or token ids")
        if request.ids is not None and request.prefill:
            raise EngineRejected("token ids take no prefill: put its ids behind them")
        conversation = framed(self.spec, request.conversation) if request.conversation is not None else None
        return Start(
            id=0,
            conversation=conversation,
            text=request.text,
            ids=request.ids,
            sampling=request.sampling.over(self.spec.sampling),
            stop=request.stop,
            adapter=self._adapter,
            prompting=self._prompting.model_copy(
                update={"window": self.spec.window if request.window is None else request.window}
            ),
            logprobs=request.logprobs,
            prefill=request.prefill,
            tokens=request.tokens,
            seed=request.seed if request.seed is not None else secrets.randbits(32),
        )

    async def _chunks(
        self,
        start: Start,
        inbox: Inbox,
        clock: _Clock,
        loading: float,
    ) -> AsyncIterator[Chunk]:
        started: Started | None = None
        first: float | None = None
        text: list[str] = []
        thinking: list[str] = []
        logprobs: list[TokenLogprob] = []
        while True:
            message = await clock.wait(inbox.get(), "for the next token")
            match message:
                case Started():
                    started = message
                    yield Prompted(
                        rendered_prompt=message.rendered_prompt,
                        rendered_by="engine",
                        prompt_tokens=message.prompt_tokens,
                        prompt_log=message.log,
                        tokens=message.tokens,
                    )
                case Delta():
                    first = first if first is not None else clock.elapsed()
                    text.append(message.text)
                    thinking.append(message.thinking)
                    logprobs.extend(message.logprobs)
                    yield TextDelta(text=message.text, thinking=message.thinking, logprobs=message.logprobs)
                case Refused():
                    raise ERRORS[message.kind](f"{self.spec.name}: {message.message}")
                case EngineUnavailable():
                    raise message
                case Ended():
                    assert started is not None
                    generation = _generation(
                        "".join(text), "".join(thinking), started, message, first, clock, loading
                    )
                    if start.logprobs is not None:
                        generation = generation.model_copy(update={"logprobs": tuple(logprobs)})
                    yield Finished(generation=generation)
                    return


def _generation(
    text: str,
    thinking: str,
    started: Started,
    ended: Ended,
    first: float | None,
    clock: _Clock,
    loading: float,
) -> Generation:
    log: dict[str, Any] = {**started.log, "loading_seconds": round(loading, 3)}
    return Generation(
        text=text,
        thinking=thinking or None,
        finish_reason=ended.finish_reason,
        prompt_tokens=started.prompt_tokens,
        completion_tokens=ended.completion_tokens,
        time_to_first_token=first,
        duration=clock.elapsed(),
        rendered_prompt=started.rendered_prompt,
        rendered_by="engine",
        prompt_log=log,
        sampling=started.sampling,
        tokens=ended.tokens,
        raw=ended.raw,
    )


class _Clock:
    """Time since a request could begin, and its deadline."""

    def __init__(self, timeout: float | None, name: str) -> None:
        self.began = time.monotonic()
        self._timeout = timeout
        self._name = name

    def elapsed(self) -> float:
        return time.monotonic() - self.began

    async def wait(self, awaitable: Any, what: str) -> Any:
        left = None if self._timeout is None else max(0.0, self._timeout - self.elapsed())
        try:
            return await asyncio.wait_for(awaitable, left)
        except TimeoutError:
            raise EngineTimedOut(
                f"{self._name} did not finish within {self._timeout:g} seconds (it was waiting {what})"
            ) from None
