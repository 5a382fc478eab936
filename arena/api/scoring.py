"""`echo` with `logprobs` for completions: how likely each token of a given text is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from arena.api import shapes
from arena.api.errors import unsupported
from arena.api.requests import CompletionRequest
from arena.engines.base import GenerationRequest
from arena.engines.observed import ObservedEngine


async def echoed(
    head: shapes.Head,
    engine: ObservedEngine,
    requests: Sequence[GenerationRequest],
    asked: CompletionRequest,
) -> dict[str, Any]:
    """The prompts, scored token by token, followed by their answers. Raises `ApiError`, `EngineError`."""
    raise unsupported("echo", "not with logprobs yet")
