"""Whether a model really loads and answers, tried before it joins the roster."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Callable
from typing import Literal

import openai
from pydantic import BaseModel, ConfigDict

from arena.config import ConfigError
from arena.engines.base import GenerationRequest, Sampling
from arena.engines.local import LocalEngine
from arena.engines.pool import EnginePool
from arena.engines.remote import RemoteEngine
from arena.engines.remote_connection import OPENAI, Connections
from arena.engines.remote_errors import failure
from arena.engines.remote_retries import RetryPolicy
from arena.engines.spec import ModelSpec
from prompt_formats import Conversation

PROMPT = "Say hello."
ANSWER_TOKENS = 24
ANSWER_TIMEOUT = 180.0
LISTING_TIMEOUT = 15.0
PROMPTLY = RetryPolicy(tries=2, silent_tries=1, patience=20)
"""Somebody waits for the check: an endpoint that is down is told at once."""


Stage = Literal["listing", "loading", "answering"]
"""What a check is doing: asking an endpoint for its models, loading the weights, waiting for an answer."""


class NotServed(ConfigError):
    """The endpoint is there and does not serve this model; the message names what it serves."""


class Check(BaseModel):
    """How a model answered. `memory` is its weights' size in bytes, times are seconds; `context_length` is what an
    endpoint's list says. `notes` are for people."""

    model_config = ConfigDict(frozen=True)

    answer: str
    load_seconds: float | None = None
    tokens_per_second: float | None = None
    device: str | None = None
    dtype: str | None = None
    memory: int | None = None
    context_length: int | None = None
    notes: tuple[str, ...] = ()


async def check(spec: ModelSpec, progress: Callable[[Stage], None], pool: EnginePool) -> Check:
    """Load the model (or ask the endpoint for its list), then have it answer a short prompt.

    `progress` is told what is being done. Local weights are loaded within the pool's budget and stay loaded; an
    endpoint is asked within the pool's limits, but with less patience.

    Raises:
        EngineError: it cannot be loaded or reached, or did not answer.
        NotServed: the endpoint does not serve this model.
    """
    notes: list[str] = []
    context_length = None
    if spec.kind == "openai":
        progress("listing")
        context_length = await _listed(spec, notes)
    engine: LocalEngine | RemoteEngine | None = None
    try:
        if spec.kind == "openai":
            engine = RemoteEngine(spec, PROMPTLY, pool.remotes)
        else:
            engine = await asyncio.to_thread(pool.get, spec)
        ready, seconds = None, None
        if isinstance(engine, LocalEngine):
            progress("loading")
            began = asyncio.get_running_loop().time()
            ready = await engine.load()
            seconds = asyncio.get_running_loop().time() - began
        progress("answering")
        request = GenerationRequest(
            conversation=Conversation().add("user", PROMPT),
            sampling=Sampling(max_tokens=ANSWER_TOKENS),
            timeout=ANSWER_TIMEOUT,
        )
        (generation,) = await engine.generate([request])
    finally:
        if spec.kind == "openai" and engine is not None:
            await engine.close()
    answer = generation.text or (f"(thinking) {generation.thinking}" if generation.thinking else "")
    if not answer.strip():
        notes.append(f"it answered '{PROMPT}' with nothing")
    tokens = generation.completion_tokens
    return Check(
        answer=answer,
        load_seconds=seconds,
        tokens_per_second=tokens / generation.duration if tokens and generation.duration > 0 else None,
        device=ready.device if ready else None,
        dtype=ready.dtype if ready else None,
        memory=ready.memory if ready else None,
        context_length=context_length,
        notes=tuple(notes),
    )


async def _listed(spec: ModelSpec, notes: list[str]) -> int | None:
    """The context length that the endpoint's list tells (vLLM does). A server without a list is noted."""
    url = spec.base_url or OPENAI
    connections = Connections(spec, PROMPTLY)
    key = connections.key()
    client = openai.AsyncOpenAI(base_url=url, api_key=key or "none", max_retries=0, timeout=LISTING_TIMEOUT)
    try:
        models = [model async for model in await client.models.list()]
    except (openai.NotFoundError, openai.InternalServerError) as error:
        notes.append(f"the server has no list of its models (HTTP {error.status_code})")
        return None
    except Exception as error:  # noqa: BLE001  # the library, its transport and its parser raise their own
        raise failure(error, connections.who(url), key, False, LISTING_TIMEOUT).error from None
    finally:
        await client.close()
    found = next((model for model in models if model.id == spec.source), None)
    if found is None:
        served = sorted(model.id for model in models)
        close = difflib.get_close_matches(spec.source, served, n=3, cutoff=0.4) or served[:10]
        raise NotServed(
            f"{url} does not serve '{spec.source}'"
            + (f" (it serves: {', '.join(close)})" if close else " (its list of models is empty)")
        )
    length = (found.model_extra or {}).get("max_model_len") or (found.model_extra or {}).get("context_length")
    return length if isinstance(length, int) and length > 0 else None
