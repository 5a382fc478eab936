"""Scoring by a completions endpoint that echoes the prompt with its log-probabilities.

A continuation's tokens are those of context and continuation together, after as many as the context alone has (as
lm-eval cuts them), so that no tokenizer is needed here and characters split across tokens do no harm.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from arena.engines.base import EngineRejected, GenerationRequest, Score, ScoreRequest
from arena.engines.remote_prompt import CHARACTERS_PER_TOKEN, remote_prompt
from arena.engines.spec import ModelSpec

PROMPTS_TOGETHER = 16

T = TypeVar("T")


class Ask(Protocol):
    """Makes one request of about so many tokens, with retries. Raises `EngineError`."""

    async def __call__(self, call: Callable[[Any], Awaitable[T]], tokens: int) -> T: ...


class Together(Protocol):
    """Does all the work, several at a time; the results are in order."""

    async def __call__(self, works: Sequence[Callable[[], Awaitable[T]]]) -> list[T]: ...


async def score_all(
    spec: ModelSpec,
    requests: Sequence[ScoreRequest],
    formats: Path | None,
    ask: Ask,
    together: Together,
) -> list[tuple[Score, ...]]:
    """See `RemoteEngine.loglikelihood`."""
    if spec.endpoint != "completions":
        raise EngineRejected(
            f"{spec.name}: a chat endpoint cannot tell how likely given text is. "
            'Set `endpoint = "completions"` if the server has /v1/completions and echoes log-probabilities '
            "(vLLM, SGLang), or use a task that generates its answer (`generate_until`)"
        )
    if any(request.whole is not None for request in requests):
        raise EngineRejected(
            f"{spec.name}: whole texts are scored by local models: ask this model's own server for an echo"
        )
    contexts = [_context(spec, request, formats) for request in requests]

    def work(
        context: str, blanks: str, continuations: tuple[str, ...]
    ) -> Callable[[], Awaitable[tuple[Score, ...]]]:
        async def one() -> tuple[Score, ...]:
            alone, *wholes = await _echoes(
                spec, [context, *(context + blanks + each for each in continuations)], ask
            )
            return tuple(_score(echo[len(alone) :]) for echo in wholes)

        return one

    return await together(
        [work(*context, request.continuations) for context, request in zip(contexts, requests, strict=True)]
    )


Echo = list[tuple[str, float | None, dict[str, float]]]


async def _echoes(spec: ModelSpec, texts: Sequence[str], ask: Ask) -> list[Echo]:
    """For each text its tokens, with their log-probability (none for the first) and the likeliest at their place."""
    found: list[Echo] = []
    for begin in range(0, len(texts), PROMPTS_TOGETHER):
        part = list(texts[begin : begin + PROMPTS_TOGETHER])

        async def call(client: Any, part: list[str] = part) -> Any:
            # One token more than is read: some servers refuse max_tokens 0.
            return await client.completions.create(
                model=spec.source, prompt=part, max_tokens=1, echo=True, logprobs=1, temperature=0.0
            )

        answer = await ask(call, round(sum(map(len, part)) / CHARACTERS_PER_TOKEN))
        choices = sorted(answer.choices or (), key=lambda choice: choice.index)
        if len(choices) != len(part):
            raise _cannot_echo(spec, f"{len(choices)} answers to {len(part)} prompts")
        found += [_echo(spec, choice, text) for choice, text in zip(choices, part, strict=True)]
    return found


def _echo(spec: ModelSpec, choice: Any, text: str) -> Echo:
    logprobs = choice.logprobs
    tokens = getattr(logprobs, "tokens", None) or []
    values = getattr(logprobs, "token_logprobs", None) or []
    tops = getattr(logprobs, "top_logprobs", None) or []
    if not (len(tokens) == len(values) == len(tops)) or len(tokens) < 2:
        raise _cannot_echo(spec, "its answers hold no log-probabilities of the prompt")
    if not (choice.text or "").startswith(text):
        raise _cannot_echo(spec, "its answers do not begin with the prompt")
    echo = [(token, value, top or {}) for token, value, top in zip(tokens, values, tops, strict=True)]
    return echo[:-1]  # the last was generated


def _score(tokens: Echo) -> Score:
    values = [value for _, value, _ in tokens if value is not None]
    greedy = all(value is not None and value >= max(top.values(), default=value) for _, value, top in tokens)
    return Score(logprob=sum(values), tokens=len(tokens), greedy=greedy)


def _context(spec: ModelSpec, request: ScoreRequest, formats: Path | None) -> tuple[str, str]:
    """The context, and the blanks between it and the continuations."""
    asked = GenerationRequest(conversation=request.conversation, text=request.text)
    text = remote_prompt(spec, asked, formats).text or ""
    # Blanks at the end of raw text belong to the tokens that follow them (as in lm-eval's encoding).
    context = text if request.conversation is not None else text.rstrip()
    if not context:
        raise EngineRejected(f"{spec.name}: there is nothing before the continuations: give a context")
    return context, text[len(context) :]


def _cannot_echo(spec: ModelSpec, why: str) -> EngineRejected:
    return EngineRejected(
        f"{spec.name}: this server cannot score given text: {why}. vLLM and SGLang can; elsewhere use a task that "
        "generates its answer (`generate_until`)"
    )
