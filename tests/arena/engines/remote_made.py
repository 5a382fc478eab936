"""Remote engines on the scripted server, for the tests of several files."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx

from arena.engines.base import Chunk, Finished, Generation, GenerationRequest, Prompted
from arena.engines.remote import RemoteEngine, Remotes
from arena.engines.remote_retries import RetryPolicy
from arena.engines.spec import ModelSpec
from prompt_formats.conversation import Conversation

ASKED = GenerationRequest(conversation=Conversation().add("user", "프랑스의 수도는?"))
QUICK = RetryPolicy(tries=3, silent_tries=2, patience=20, first_wait=0.01, connect=20, silence=20)
"""Tries again at once, and is patient where a busy machine answers late."""
HASTY = replace(QUICK, patience=0.5, silence=1)
"""For servers that never answer."""


def engine(
    server: str,
    model: str,
    retries: RetryPolicy = QUICK,
    remotes: Remotes | None = None,
    **fields: Any,
) -> RemoteEngine:
    fields = {"base_url": f"{server}/v1", "name": f"remote-{model}", **fields}
    return RemoteEngine(ModelSpec(kind="openai", source=model, **fields), retries, remotes)


async def read(engine: RemoteEngine, request: GenerationRequest = ASKED) -> tuple[list[Chunk], Generation]:
    """The chunks between the first (the prompt) and the last, and the generation."""
    chunks = [chunk async for chunk in engine.stream(request)]
    await engine.close()
    assert isinstance(chunks[0], Prompted)
    assert isinstance(chunks[-1], Finished)
    return chunks[1:-1], chunks[-1].generation


def seen(server: str, model: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{server}/seen/{model}", trust_env=False).json()
    return found
