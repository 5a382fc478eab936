"""The remote engine: any OpenAI-compatible server, through the `openai` library."""

from __future__ import annotations

import asyncio
import os
import random
import re
import time
import weakref
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal

import openai
from openai import AsyncOpenAI

from arena.engines.base import (
    BrokenAnswer,
    Chunk,
    EngineError,
    EngineRejected,
    EngineTimedOut,
    EngineUnavailable,
    Finished,
    FinishReason,
    Generation,
    GenerationRequest,
    OverContext,
    Sampling,
    TextDelta,
    TokenLogprob,
)
from arena.engines.framing import framed
from arena.engines.spec import ModelSpec
from prompt_formats import PromptFormatError, render, resolve, window_from
from prompt_formats.conversation import Conversation
from prompt_formats.windows import Round, split_rounds

OPENAI = "https://api.openai.com/v1"
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
OVER_CONTEXT = re.compile(
    r"context.{0,20}(length|window|size)|maximum.{0,20}(context|sequence|model) len|too many tokens|"
    r"prompt is too long|exceeds.{0,40}context",
    re.IGNORECASE,
)
CONCURRENT = 8
CHARACTERS_PER_TOKEN = 3.5


@dataclass(frozen=True)
class RetryPolicy:
    """How often a request is tried again before its first token. Waits are seconds; the library adds jitter
    and honours Retry-After. `silence` is the longest wait for a next piece of a stream."""

    request_retries: int = 4
    stream_retries: int = 2
    stream_wait: float = 0.5
    connect: float = 10.0
    silence: float = 120.0


@dataclass
class _Received:
    text: list[str] = field(default_factory=list)
    thinking: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    first: float | None = None
    opened: bool = False

    @property
    def anything(self) -> bool:
        return bool(self.text or self.thinking)


class RemoteEngine:
    """Answers for one model of one endpoint. The key is read from the environment at each use, never kept."""

    def __init__(self, spec: ModelSpec, retries: RetryPolicy = RetryPolicy()) -> None:  # frozen
        self.spec = spec
        self._retries = retries
        self._base_url = spec.base_url or OPENAI
        self._clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncOpenAI] = (
            weakref.WeakKeyDictionary()
        )

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """Text as the server sends it, then one `Finished` (see `Engine.stream`).

        Tried again on 429, 5xx, timeouts and lost connections until the first text arrives, never after.
        """
        if (request.conversation is None) == (request.text is None):
            raise EngineRejected("a request holds either a conversation or raw text")
        sampling = request.sampling.over(self.spec.sampling)
        key = self._key()
        began = time.monotonic()
        deadline = None if request.timeout is None else began + request.timeout
        attempt = 0
        while True:
            received = _Received()
            try:
                attempts = self._attempt(request, sampling, key, received, began, deadline)
                async with aclosing(attempts) as deltas:
                    async for delta in deltas:
                        yield delta
                break
            except EngineError as error:
                late = deadline is not None and time.monotonic() >= deadline
                kind = isinstance(error, BrokenAnswer | EngineTimedOut)
                # The library itself has retried what failed before the stream was open.
                if (
                    late
                    or not (kind and received.opened)
                    or received.anything
                    or attempt >= self._retries.stream_retries
                ):
                    raise
            attempt += 1
            await asyncio.sleep(self._retries.stream_wait * 2**attempt * random.uniform(0.75, 1.25))  # noqa: S311
        yield Finished(generation=self._generation(request, sampling, received, time.monotonic() - began))

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        """Answers to many requests, in order, a few at a time. The first error ends all of them."""
        places = asyncio.Semaphore(CONCURRENT)

        async def whole(request: GenerationRequest) -> Generation:
            async with places:
                async for chunk in self.stream(request):
                    if isinstance(chunk, Finished):
                        return chunk.generation
            raise BrokenAnswer(f"{self.spec.name}: the stream ended without a result")

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(whole(request)) for request in requests]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [task.result() for task in tasks]

    async def close(self) -> None:
        """Close the connections that this event loop opened."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()

    async def _attempt(
        self,
        request: GenerationRequest,
        sampling: Sampling,
        key: str | None,
        received: _Received,
        began: float,
        deadline: float | None,
    ) -> AsyncGenerator[TextDelta]:
        client = self._client().with_options(api_key=key or "none")
        try:
            stream = await self._within(deadline, self._open(client, request, sampling))
            try:
                received.opened = True
                events = aiter(stream)
                while (event := await self._within(deadline, anext(events, None))) is not None:
                    delta = _read(event, received)
                    if delta.text or delta.thinking or delta.logprobs:
                        received.first = received.first or time.monotonic() - began
                        yield delta
            finally:
                await stream.close()
        except EngineError:
            raise
        except Exception as error:  # noqa: BLE001  # the library, its transport and its parser raise their own
            raise self._typed(error, key, received.opened) from None
        if received.finish is None:
            raise BrokenAnswer(f"{self._who()}: the stream ended before the answer did")
        if received.finish == "content_filter":
            raise EngineRejected(f"{self._who()}: the server's content policy stopped this answer")

    async def _open(self, client: AsyncOpenAI, request: GenerationRequest, sampling: Sampling) -> Any:
        extra: dict[str, Any] = {}
        options: dict[str, Any] = {"model": self.spec.source, "stream": True}
        for name in ("temperature", "top_p", "max_tokens"):
            if getattr(sampling, name) is not None:
                options[name] = getattr(sampling, name)
        for name in ("top_k", "min_p", "repetition_penalty"):
            if getattr(sampling, name) is not None:
                extra[name] = getattr(sampling, name)
        if request.stop:
            options["stop"] = list(request.stop)
        if request.seed is not None:
            options["seed"] = request.seed
        if extra:
            options["extra_body"] = extra
        options["stream_options"] = {"include_usage": True}
        if request.logprobs is not None and request.conversation is not None:
            options |= {"logprobs": True, "top_logprobs": request.logprobs}
        elif request.logprobs is not None:
            options["logprobs"] = request.logprobs
        if request.conversation is not None:
            messages: Any = self._messages(request.conversation)
            return await client.chat.completions.create(messages=messages, **options)
        return await client.completions.create(prompt=request.text, **options)

    async def _within(self, deadline: float | None, awaitable: Any) -> Any:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            async with asyncio.timeout(left) as scope:
                return await awaitable
        except TimeoutError:
            if not scope.expired():
                raise
            raise EngineTimedOut(f"{self._who()}: no complete answer within the time allowed") from None

    def _client(self) -> AsyncOpenAI:
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = self._clients[loop] = AsyncOpenAI(
                base_url=self._base_url,
                api_key="none",
                max_retries=self._retries.request_retries,
                timeout=openai.Timeout(self._retries.silence, connect=self._retries.connect),
            )
        return client

    def _key(self) -> str | None:
        name = self.spec.api_key_env
        if name is None:
            return None
        if not VARIABLE.fullmatch(name):
            # Perhaps the key itself was written there: it must not be repeated.
            raise EngineRejected(
                f"{self.spec.name}: `api_key_env` is no name of an environment variable. Write the "
                "name of the variable there, never the key"
            )
        key = os.environ.get(name)
        if not key:
            raise EngineRejected(
                f"{self.spec.name}: the environment variable {name} is not set: export {name}=..."
            )
        return key

    def _who(self) -> str:
        return f"{self.spec.name} at {self._base_url}"

    def _typed(self, error: Exception, key: str | None, opened: bool) -> EngineError:
        said = " ".join(str(error).split())[:400]
        if key:
            said = said.replace(key, "***")
        who, name = self._who(), type(error).__name__
        match error:
            case openai.APITimeoutError():
                return EngineTimedOut(f"{who}: no answer within {self._retries.silence:g} seconds")
            case openai.APIConnectionError():
                cause = type(error.__cause__).__name__ if error.__cause__ else "no connection"
                if opened:
                    return BrokenAnswer(f"{who}: the connection was lost inside the answer ({cause})")
                return EngineUnavailable(
                    f"{who}: cannot be reached ({cause}). Is the server running, and `base_url` right?"
                )
            case openai.APIStatusError():
                return _by_status(error, who, said)
            case openai.APIError():
                if _is_over_context(error, said):
                    return OverContext(f"{who}: {said}")
                return BrokenAnswer(f"{who}: the server reported an error inside its answer: {said}")
            case ValueError() | KeyError() | TypeError() | AttributeError() | IndexError():
                return BrokenAnswer(f"{who}: the server sent what is no answer ({name}: {said})")
        return BrokenAnswer(f"{who}: the connection was lost inside the answer ({name}: {said})")

    def _messages(self, conversation: Conversation) -> list[dict[str, Any]]:
        # Chat endpoints keep no thinking of earlier answers, and some refuse the field.
        chat = self._windowed(conversation)[0].as_chat()
        return [
            {key: value for key, value in message.items() if key != "reasoning_content"} for message in chat
        ]

    def _windowed(self, conversation: Conversation) -> tuple[Conversation, tuple[Round, ...]]:
        whole = framed(self.spec, conversation)
        window = window_from(self.spec.window)
        if window is None:
            return whole, ()
        kept = window.apply(split_rounds(whole), None)
        return kept.conversation(), kept.dropped

    def _estimate(self, conversation: Conversation) -> dict[str, Any]:
        """How the registry would render the prompt; the server's own rendering cannot be seen."""
        try:
            return render(
                self._windowed(conversation)[0],
                resolve(self.spec.source, explicit=self.spec.prompt_format),
                system_policy="family",
                alternation="family",
            ).log("server")
        except PromptFormatError as error:
            return {"rendered_by": "server", "estimate": True, "error": str(error)}

    def _generation(
        self, request: GenerationRequest, sampling: Sampling, received: _Received, duration: float
    ) -> Generation:
        raw = request.text is not None
        log: dict[str, Any] = {
            "base_url": self._base_url,
            "model": self.spec.source,
            "openai": openai.__version__,
        }
        if request.seed is not None:
            log["seed"] = request.seed
        if request.stop:
            log["stop_strings"] = list(request.stop)
        if not raw:
            assert request.conversation is not None
            messages = self._messages(request.conversation)
            log["messages"] = messages
            characters = sum(len(message["content"]) for message in messages)
            log["estimated_prompt_tokens"] = round(characters / CHARACTERS_PER_TOKEN)
            log["dropped_rounds"] = [
                {"number": dropped.number, "begins": dropped.question[:80]}
                for dropped in self._windowed(request.conversation)[1]
            ]
            log["estimate"] = self._estimate(request.conversation)
        return Generation(
            text="".join(received.text),
            thinking="".join(received.thinking) or None,
            finish_reason=_finish(received.finish),
            prompt_tokens=received.prompt_tokens,
            completion_tokens=received.completion_tokens,
            time_to_first_token=received.first,
            duration=duration,
            rendered_prompt=request.text if raw else None,
            rendered_by="engine" if raw else "server",
            prompt_log=log,
            sampling=sampling,
            logprobs=tuple(received.logprobs) if request.logprobs is not None else None,
        )


def _read(event: Any, received: _Received) -> TextDelta:
    """Take one event of a stream into `received`; returns the text in it."""
    usage = getattr(event, "usage", None)
    if usage is not None:
        received.prompt_tokens = usage.prompt_tokens
        received.completion_tokens = usage.completion_tokens
    choices = event.choices
    if not choices:
        return TextDelta()
    choice = choices[0]
    received.finish = choice.finish_reason or received.finish
    delta = getattr(choice, "delta", None)
    if delta is None:
        text, thinking = choice.text or "", ""
    else:
        text = delta.content or ""
        # No part of OpenAI's own API: vLLM and DeepSeek say reasoning_content, others reasoning.
        thinking = getattr(delta, "reasoning_content", None) or getattr(delta, "reasoning", None) or ""
    if not (isinstance(text, str) and isinstance(thinking, str)):
        raise TypeError(f"content of type {type(text).__name__}")
    logprobs = _read_logprobs(choice)
    received.logprobs.extend(logprobs)
    if text:
        received.text.append(text)
    if thinking:
        received.thinking.append(thinking)
    return TextDelta(text=text, thinking=thinking, logprobs=logprobs)


def _read_logprobs(choice: Any) -> tuple[TokenLogprob, ...]:
    found = getattr(choice, "logprobs", None)
    if found is None:
        return ()
    if (content := getattr(found, "content", None)) is not None:  # chat completions
        return tuple(
            TokenLogprob(
                token=each.token,
                logprob=each.logprob,
                top=tuple((other.token, other.logprob) for other in each.top_logprobs or ()),
            )
            for each in content
        )
    tokens, values = getattr(found, "tokens", None) or [], getattr(found, "token_logprobs", None) or []
    tops = getattr(found, "top_logprobs", None) or [{}] * len(tokens)
    return tuple(
        TokenLogprob(token=token, logprob=value, top=tuple((top or {}).items()))
        for token, value, top in zip(tokens, values, tops, strict=True)
        if value is not None
    )


def _finish(reason: str | None) -> FinishReason:
    found: Literal["stop", "length"] = "length" if reason == "length" else "stop"
    return found


def _is_over_context(error: openai.APIError, said: str) -> bool:
    return error.code == "context_length_exceeded" or bool(OVER_CONTEXT.search(said))


def _by_status(error: openai.APIStatusError, who: str, said: str) -> EngineError:
    status = error.status_code
    if status in (400, 413, 422) and _is_over_context(error, said):
        return OverContext(f"{who}: {said}")
    if status == 408:
        return EngineTimedOut(f"{who}: the server gave up waiting (408): {said}")
    if status == 429:
        return EngineUnavailable(f"{who}: still too many requests after several tries (429): {said}")
    if status >= 500:
        return EngineUnavailable(f"{who}: the server fails ({status}) after several tries: {said}")
    hints = {
        401: "check the key",
        403: "the key may not use this model",
        404: "check `source` and `base_url`",
    }
    hint = f" ({hints[status]})" if status in hints else ""
    return EngineRejected(f"{who}: refused with {status}{hint}: {said}")
