"""`echo` with `logprobs` for completions: how likely each token of a given text is, and what would follow it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from arena.api import shapes
from arena.api.answers import whole
from arena.api.errors import ApiError, unsupported
from arena.api.requests import CompletionRequest
from arena.engines.base import Generation, GenerationRequest, ScoreRequest, TokenLogprob
from arena.engines.observed import ObservedEngine


async def echoed(
    head: shapes.Head,
    engine: ObservedEngine,
    requests: Sequence[GenerationRequest],
    asked: CompletionRequest,
) -> dict[str, Any]:
    """The prompts, scored token by token, followed by their answers (none with `max_tokens=0`).

    Raises `ApiError` for an empty prompt and an engine that does not tell tokens, and `EngineError`.
    """
    prompts = asked.prompts
    if not all(prompts):
        raise ApiError(400, "prompt: there is nothing to score", code="invalid_value", param="prompt")
    scored = await engine.loglikelihood(
        [ScoreRequest(text="", continuations=(prompt,), alternatives=asked.logprobs) for prompt in prompts]
    )
    traces = [scores[0].trace for scores in scored]
    if not all(traces):
        raise unsupported("echo", "this engine does not tell the log-probabilities of given text")
    made: Sequence[Generation | None] = [None] * len(requests)
    if asked.max_tokens != 0:
        made = await whole(engine, requests)
    choices = [
        _choice(index, prompts[index // asked.choices], traces[index // asked.choices], generation)
        for index, generation in enumerate(made)
    ]
    read, written = sum(map(len, traces)), sum(each.completion_tokens or 0 for each in made if each)
    used = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    return shapes.completion(head, choices, used)


def _choice(
    index: int, prompt: str, trace: Sequence[TokenLogprob], made: Generation | None
) -> dict[str, Any]:
    tokens = [*trace, *((made.logprobs or ()) if made else ())]
    return shapes.completion_choice(
        index,
        prompt + (made.text if made else ""),
        made.finish_reason if made else "length",
        shapes.completion_logprobs(tokens, first_is_given=True),
    )
