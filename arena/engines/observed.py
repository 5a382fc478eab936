"""What engines do, as numbers: every call through an observed engine becomes one `Observation`.

Battle traffic is kept without its model's name: figures of a single model that change with a battle would tell a
voter which models answer. Listeners (the request log) get the whole observation.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Literal, cast

import uuid_utils
from pydantic import BaseModel, ConfigDict

from arena.engines.base import (
    Chunk,
    Embedder,
    Embeddings,
    Engine,
    EngineError,
    EngineRejected,
    Finished,
    Generation,
    GenerationRequest,
    Prompted,
    Score,
    Scorer,
    ScoreRequest,
    TextDelta,
)

log = logging.getLogger(__name__)

Source = Literal["battle", "api", "page", "job"]
Work = Literal["answer", "scores", "embeddings"]

KEPT = 8192
"""Observations in the ring: enough for a busy quarter of an hour, a few megabytes."""

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The HTTP request that is being answered, where there is one."""


def new_request_id() -> str:
    """An id that sorts by time, as it stands in logs, headers and error messages."""
    return f"req_{uuid_utils.uuid7().hex}"


class Observation(BaseModel):
    """One call of an engine. Durations are seconds; `outcome` is 'finished', 'cancelled' or an error's kind.

    `prompt` and `text` are what was said; only listeners that may keep it do.
    """

    model_config = ConfigDict(frozen=True)

    request_id: str
    time: datetime
    source: Source
    model: str
    work: Work = "answer"
    outcome: str
    error: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    time_to_first_token: float | None = None
    duration: float
    prompt: str | None = None
    text: str | None = None

    @property
    def failed(self) -> bool:
        """Whether the call ended in an error."""
        return self.outcome not in ("finished", "cancelled")

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens after the first one by the time that they took; None where nothing can be said."""
        first, tokens = self.time_to_first_token, self.completion_tokens
        if first is None or tokens is None or tokens < 2 or self.duration <= first:
            return None
        return (tokens - 1) / (self.duration - first)


class Quantiles(BaseModel):
    """Median and 95th percentile (nearest rank) of `count` values."""

    model_config = ConfigDict(frozen=True)

    count: int
    p50: float | None = None
    p95: float | None = None


class ModelSummary(BaseModel):
    """The last minutes of one model, or of all battles together (`model` is null, since a model's own figures
    would tell voters which models answer). `waiting` calls have no first word yet, `running` ones have."""

    model_config = ConfigDict(frozen=True)

    model: str | None
    requests: int
    cancelled: int
    errors: dict[str, int]
    prompt_tokens: int
    completion_tokens: int
    time_to_first_token: Quantiles
    duration: Quantiles
    tokens_per_second: Quantiles
    waiting: int
    running: int


Listener = Callable[[Observation], None]


class Telemetry:
    """The observations of one process, in memory. Safe to use from any thread."""

    def __init__(self, kept: int = KEPT) -> None:
        self._lock = threading.Lock()
        self._ring: deque[Observation] = deque(maxlen=kept)
        self._waiting: Counter[str | None] = Counter()
        self._running: Counter[str | None] = Counter()
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Call `listener` with every further observation; it must be quick and must not raise."""
        self._listeners.append(listener)

    def observed(self, engine: Engine, model: str, source: Source) -> ObservedEngine:
        """The same engine, observed. `model` is what stands in the figures (`name@3`)."""
        return ObservedEngine(engine, model, source, self)

    def record(self, observation: Observation) -> None:
        """Keep one observation and tell the listeners."""
        with self._lock:
            self._ring.append(observation)
        for listener in self._listeners:
            try:
                listener(observation)
            except Exception:
                # A log that cannot be written must not break an answer.
                log.exception("an observation could not be passed on")

    def summary(self, minutes: float = 15.0) -> list[ModelSummary]:
        """The last `minutes`, by model, with all battles as one; sorted by name."""
        since = datetime.now(UTC) - timedelta(minutes=minutes)
        with self._lock:
            recent = [each for each in self._ring if each.time >= since]
            waiting, running = +self._waiting, +self._running
        groups: dict[str | None, list[Observation]] = {key: [] for key in (*waiting, *running)}
        for each in recent:
            groups.setdefault(_key(each.source, each.model), []).append(each)
        return [
            _summary(key, groups[key], waiting[key], running[key])
            for key in sorted(groups, key=lambda name: (name is None, name or ""))
        ]

    def failures(self, minutes: float = 15.0, most: int = 20) -> list[Observation]:
        """The newest failed calls of the last `minutes`; of battles none, since their messages name models."""
        since = datetime.now(UTC) - timedelta(minutes=minutes)
        with self._lock:
            recent = [each for each in self._ring if each.failed and each.source != "battle"]
        return [each for each in reversed(recent) if each.time >= since][:most]

    def open_calls(self) -> dict[str | None, tuple[int, int]]:
        """Calls that wait for their first word and calls that have had it, by model (None: battles)."""
        with self._lock:
            keys = {*(+self._waiting), *(+self._running)}
            return {key: (self._waiting[key], self._running[key]) for key in keys}

    @contextmanager
    def counted(self, source: Source, model: str) -> Iterator[Callable[[], None]]:
        """Counts one call as waiting; calling what it gives moves it to running; the end removes it."""
        key, state = _key(source, model), "waiting"

        def begin() -> None:
            nonlocal state
            if state == "waiting":
                state = "running"
                with self._lock:
                    self._waiting[key] -= 1
                    self._running[key] += 1

        with self._lock:
            self._waiting[key] += 1
        try:
            yield begin
        finally:
            with self._lock:
                (self._waiting if state == "waiting" else self._running)[key] -= 1


@dataclass
class _Call:
    """What is known of a call while it lasts."""

    source: Source
    model: str
    work: Work
    identity: str = field(init=False)
    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    began: float = field(default_factory=monotonic)
    first: float | None = None
    prompted: Prompted | None = None
    text: list[str] = field(default_factory=list)
    generation: Generation | None = None
    prompt_tokens: int | None = None

    def __post_init__(self) -> None:
        # Work of pages and battles runs in tasks that inherit the id of whichever request began them.
        self.identity = (request_id.get() if self.source == "api" else None) or new_request_id()

    def observation(self, outcome: str, error: str | None = None) -> Observation:
        made = self.generation
        prompt = made.rendered_prompt if made else self.prompted.rendered_prompt if self.prompted else None
        told = made or self.prompted
        return Observation(
            request_id=self.identity,
            time=self.time,
            source=self.source,
            model=self.model,
            work=self.work,
            outcome=outcome,
            error=error,
            finish_reason=made.finish_reason if made else None,
            prompt_tokens=told.prompt_tokens if told else self.prompt_tokens,
            completion_tokens=made.completion_tokens if made else None,
            # From the caller's side: what a loading or busy model made it wait for counts.
            time_to_first_token=self.first,
            duration=monotonic() - self.began,
            prompt=prompt,
            text=made.text if made else "".join(self.text),
        )


class ObservedEngine:
    """An engine whose calls are recorded; it answers and fails exactly as the one inside."""

    def __init__(self, engine: Engine, model: str, source: Source, telemetry: Telemetry) -> None:
        self.engine = engine
        self._model, self._source, self._telemetry = model, source, telemetry

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """See `Engine.stream`."""
        call = _Call(self._source, self._model, "answer")
        outcome, said = "cancelled", None
        with self._telemetry.counted(self._source, self._model) as begin:
            try:
                async with aclosing(self.engine.stream(request)) as chunks:
                    async for chunk in chunks:
                        if isinstance(chunk, TextDelta):
                            if call.first is None:
                                call.first = monotonic() - call.began
                                begin()
                            call.text.append(chunk.text)
                        elif isinstance(chunk, Prompted):
                            call.prompted = chunk
                        elif isinstance(chunk, Finished):
                            call.generation = chunk.generation
                            outcome = "finished"
                        yield chunk
            except EngineError as error:
                outcome, said = error.kind, str(error)
                raise
            except Exception as error:
                outcome, said = EngineError.kind, type(error).__name__
                raise
            finally:
                self._telemetry.record(call.observation(outcome, said))

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        """See `Engine.generate`. Each request is one observation, all of them with the batch's duration."""
        with self._calls("answer", len(requests)) as calls:
            found = await self.engine.generate(requests)
            for call, generation in zip(calls, found, strict=True):
                call.generation = generation
            return found

    async def loglikelihood(self, requests: Sequence[ScoreRequest]) -> list[tuple[Score, ...]]:
        """See `Scorer.loglikelihood`. Raises `EngineRejected` where the engine cannot score."""
        if not hasattr(self.engine, "loglikelihood"):
            raise EngineRejected(f"{self._model}: this engine generates text and cannot score given text")
        with self._calls("scores", 1):
            return await cast(Scorer, self.engine).loglikelihood(requests)

    async def embed(self, texts: Sequence[str]) -> Embeddings:
        """See `Embedder.embed`. Raises `EngineRejected` where the engine makes no vectors."""
        if not hasattr(self.engine, "embed"):
            raise EngineRejected(f"{self._model}: this engine makes no embeddings")
        with self._calls("embeddings", 1) as (call,):
            made = await cast(Embedder, self.engine).embed(texts)
            call.prompt_tokens = made.tokens
            return made

    async def close(self) -> None:
        """See `Engine.close`."""
        await self.engine.close()

    @contextmanager
    def _calls(self, work: Work, count: int) -> Iterator[list[_Call]]:
        calls = [_Call(self._source, self._model, work) for _ in range(count)]
        outcome, said = "cancelled", None
        with self._telemetry.counted(self._source, self._model) as begin:
            begin()
            try:
                yield calls
                outcome = "finished"
            except EngineError as error:
                outcome, said = error.kind, str(error)
                raise
            finally:
                for call in calls:
                    self._telemetry.record(call.observation(outcome, said))


def _key(source: Source, model: str) -> str | None:
    return None if source == "battle" else model


def _summary(key: str | None, group: list[Observation], waiting: int, running: int) -> ModelSummary:
    return ModelSummary(
        model=key,
        requests=len(group),
        cancelled=sum(each.outcome == "cancelled" for each in group),
        errors=dict(sorted(Counter(each.outcome for each in group if each.failed).items())),
        prompt_tokens=sum(each.prompt_tokens or 0 for each in group),
        completion_tokens=sum(each.completion_tokens or 0 for each in group),
        time_to_first_token=_quantiles([each.time_to_first_token for each in group]),
        duration=_quantiles([each.duration for each in group if each.outcome == "finished"]),
        tokens_per_second=_quantiles([each.tokens_per_second for each in group]),
        waiting=waiting,
        running=running,
    )


def _quantiles(values: Sequence[float | None]) -> Quantiles:
    known = sorted(value for value in values if value is not None)
    if not known:
        return Quantiles(count=0)
    return Quantiles(count=len(known), p50=_percentile(known, 50), p95=_percentile(known, 95))


def _percentile(values: Sequence[float], percent: int) -> float:
    """By nearest rank: the smallest of the sorted values that this share of them does not exceed."""
    return values[max(0, -(-len(values) * percent // 100) - 1)]
