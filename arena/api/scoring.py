"""`echo` with `logprobs` for completions: how likely each token of a given text is, and what would follow it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from arena.api import shapes
from arena.api.answers import whole
from arena.api.errors import ApiError, unsupported
from arena.api.requests import CompletionRequest
from arena.engines.base import Generation, GenerationRequest, Score, ScoreRequest
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
        [ScoreRequest(whole=prompt, alternatives=asked.logprobs) for prompt in prompts]
    )
    found = [scores[0] for scores in scored]
    if not all(score.trace for score in found):
        raise unsupported("echo", "this engine does not tell the log-probabilities of given text")
    made: Sequence[Generation | None] = [None] * len(requests)
    if asked.max_tokens != 0:
        made = await whole(engine, requests)
    choices = [
        _choice(index, prompts[index // asked.choices], found[index // asked.choices], generation)
        for index, generation in enumerate(made)
    ]
    read = sum(len(score.trace) for score in found)
    written = sum(each.completion_tokens or 0 for each in made if each)
    used = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    return shapes.completion(head, choices, used)


def _choice(
    index: int, prompt: str | tuple[int, ...], score: Score, made: Generation | None
) -> dict[str, Any]:
    given = prompt
    if not isinstance(given, str):
        given = (made.rendered_prompt if made else None) or "".join(each.token for each in score.trace)
    said = (made.logprobs or ()) if made else ()
    text = given + (made.text if made else "")
    # Callers count what follows the prompt, and cut it off: a token that ended the answer at once is one too.
    unspoken = max(0, (made.completion_tokens or 0) - len(said)) if made else 0
    told = shapes.completion_logprobs(
        [*score.trace, *said],
        first_is_given=len(score.trace) > score.tokens,
        text=text,
        unspoken=unspoken,
    )
    return shapes.completion_choice(index, text, made.finish_reason if made else "length", told)
