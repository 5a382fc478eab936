"""One attempt at a remote server through the `openai` library: the request, its deadline, and typed failures."""

from __future__ import annotations

import asyncio
import os
import re
import time
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, TypeVar

import openai
from openai import AsyncOpenAI

from arena.engines.base import (
    BrokenAnswer,
    EngineRejected,
    EngineTimedOut,
    GenerationRequest,
    Sampling,
    TextDelta,
)
from arena.engines.remote_answer import Reader
from arena.engines.remote_endpoints import Endpoint, Place
from arena.engines.remote_errors import Failure, failure
from arena.engines.remote_prompt import RemotePrompt
from arena.engines.remote_retries import RetryPolicy
from arena.engines.spec import ModelSpec

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
OPENAI = "https://api.openai.com/v1"

T = TypeVar("T")


class Connections:
    """The clients of one model: one for each URL and event loop. The key is read from the environment at each use,
    never kept."""

    def __init__(self, spec: ModelSpec, policy: RetryPolicy) -> None:
        self._spec = spec
        self._policy = policy
        self._clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, AsyncOpenAI]] = (
            weakref.WeakKeyDictionary()
        )

    def who(self, url: str) -> str:
        """Model and address, for messages."""
        return f"{self._spec.name} at {url}"

    def key(self) -> str | None:
        """The key now. Raises `EngineRejected` where its variable is not set or is no name of one."""
        name = self._spec.api_key_env
        if name is None:
            return None
        if not VARIABLE.fullmatch(name):
            # Perhaps the key itself was written there: it must not be repeated.
            raise EngineRejected(
                f"{self._spec.name}: `api_key_env` is no name of an environment variable. Write the "
                "name of the variable there, never the key"
            )
        key = os.environ.get(name)
        if not key:
            raise EngineRejected(
                f"{self._spec.name}: the environment variable {name} is not set: export {name}=..."
            )
        return key

    async def stream(
        self,
        endpoint: Endpoint,
        request: GenerationRequest,
        sampling: Sampling,
        prompt: RemotePrompt,
        reader: Reader,
        began: float,
        deadline: float | None,
    ) -> AsyncGenerator[TextDelta]:
        """The pieces of one answer, which `reader` keeps. Raises `Failure`."""
        who = self.who(endpoint.url)
        key = self.key()
        try:
            client = self._client(endpoint.url).with_options(api_key=key or "none")
            opening = _open(client, self._spec, endpoint.url, request, sampling, prompt)
            stream = await self.within(deadline, opening, who)
            try:
                _check_kind(stream, who)
                reader.opened = True
                events = aiter(stream)
                while (event := await self.within(deadline, anext(events, None), who)) is not None:
                    delta = reader.take(event)
                    if delta.text or delta.thinking or delta.logprobs:
                        if reader.first is None:
                            reader.first = time.monotonic() - began
                            endpoint.answered()
                        yield delta
                    if reader.stopped:
                        break
            finally:
                await stream.close()
            if not reader.stopped:
                _check_end(reader, who)
            rest = reader.rest()
            if reader.first is None:
                endpoint.answered()
            if rest.text or rest.thinking:
                reader.first = reader.first or time.monotonic() - began
                yield rest
        except Failure:
            raise
        except Exception as error:  # noqa: BLE001  # the library, its transport and its parser raise their own
            raise failure(error, who, key, reader.opened, self._policy.silence) from None

    async def ask(
        self,
        endpoint: Endpoint,
        call: Callable[[AsyncOpenAI], Awaitable[T]],
        deadline: float | None = None,
    ) -> T:
        """One request that is answered as a whole. Raises `Failure`."""
        who = self.who(endpoint.url)
        key = self.key()
        try:
            client = self._client(endpoint.url).with_options(api_key=key or "none")
            answer = await self.within(deadline, call(client), who)
        except Failure:
            raise
        except Exception as error:  # noqa: BLE001  # as in `stream`
            raise failure(error, who, key, False, self._policy.silence) from None
        endpoint.answered()
        return answer

    async def enter(self, endpoint: Endpoint, tokens: int, deadline: float | None) -> Place:
        """A place at the endpoint, or `EngineTimedOut` where none is free within the time allowed."""
        try:
            return await self.within(deadline, endpoint.enter(tokens), self.who(endpoint.url))
        except Failure as late:
            raise late.error from None

    async def within(self, deadline: float | None, awaitable: Awaitable[T], who: str) -> T:
        """Wait for it, at most until the deadline (of `time.monotonic`). Raises `Failure`."""
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            async with asyncio.timeout(left) as scope:
                return await awaitable
        except TimeoutError:
            if not scope.expired():
                raise
            late = EngineTimedOut(f"{who}: no complete answer within the time allowed")
            raise Failure(late, "final") from None

    async def close(self) -> None:
        """Close the connections that this event loop opened."""
        clients = self._clients.pop(asyncio.get_running_loop(), {})
        for client in clients.values():
            await client.close()

    def _client(self, url: str) -> AsyncOpenAI:
        clients = self._clients.setdefault(asyncio.get_running_loop(), {})
        if url not in clients:
            clients[url] = AsyncOpenAI(
                base_url=url,
                api_key="none",
                max_retries=0,  # `remote_retries` knows of other addresses
                timeout=openai.Timeout(self._policy.silence, connect=self._policy.connect),
            )
        return clients[url]


async def _open(
    client: AsyncOpenAI,
    spec: ModelSpec,
    url: str,
    request: GenerationRequest,
    sampling: Sampling,
    prompt: RemotePrompt,
) -> Any:
    options: dict[str, Any] = {
        "model": spec.source,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    for name in ("temperature", "top_p", "max_tokens"):
        if getattr(sampling, name) is not None:
            options[name] = getattr(sampling, name)
    extra = {
        name: getattr(sampling, name)
        for name in ("top_k", "min_p", "repetition_penalty")
        if getattr(sampling, name) is not None
    }
    if prompt.sent_stops:
        options["stop"] = list(prompt.sent_stops)
    if request.seed is not None:
        options["seed"] = request.seed
    if prompt.messages is not None:
        if url.startswith(OPENAI) and "max_tokens" in options:
            # OpenAI's newer models refuse the old name, other servers do not know the new one.
            options["max_completion_tokens"] = options.pop("max_tokens")
        if request.logprobs is not None:
            options |= {"logprobs": True, "top_logprobs": request.logprobs}
        messages: Any = prompt.messages
        return await client.chat.completions.create(messages=messages, extra_body=extra or None, **options)
    if request.logprobs is not None:
        options["logprobs"] = request.logprobs
    if prompt.form is not None and prompt.form.channels is not None:
        # vLLM and SGLang strip special tokens, and the marks between such a family's channels are some.
        extra["skip_special_tokens"] = False
    return await client.completions.create(prompt=prompt.text, extra_body=extra or None, **options)


def _check_kind(stream: Any, who: str) -> None:
    kind = stream.response.headers.get("content-type", "")
    if not kind.startswith("text/event-stream"):
        told = f"sent {kind.partition(';')[0] or 'something without a content type'}, no stream of events"
        raise Failure(
            BrokenAnswer(f"{who}: the server {told}. Is `base_url` right (it often ends in /v1)?"), "broken"
        )


def _check_end(reader: Reader, who: str) -> None:
    if reader.finish is None:
        raise Failure(BrokenAnswer(f"{who}: the stream ended before the answer did"), "broken")
    if reader.finish == "content_filter":
        stopped = f"{who}: the server's content policy stopped this answer"
        raise Failure(EngineRejected(stopped), "final")
