"""Answers to many requests: known ones from the store, the rest from an engine, each as it is finished.

An answer's identity is the model version's digest (weights, adapter, quantisation, prompt format, system prompt,
sampling defaults) and everything that the request says. lm-eval's own cache leaves the model out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from arena.engines.base import (
    Engine,
    EngineError,
    EngineRejected,
    EngineUnavailable,
    Generation,
    GenerationRequest,
    OverContext,
    Score,
    ScoreRequest,
)
from arena.engines.jobs import answers as engine_answers
from arena.roster import Contestant
from evaluators.suites.errors import NeedsLoglikelihood
from results.store.suites import AnswerRecord, answer_id

TOGETHER = 64
"""Requests that are scored before the results of any of them are seen."""
LONG = 4000
"""Characters of a prompt that are stored with a request."""
FAILURES = 5
"""After so many requests that found no model, and none that did, a model is given up."""


@dataclass(frozen=True)
class Ask:
    """A request with its identity."""

    id: UUID
    request: dict[str, Any]
    ask: GenerationRequest | ScoreRequest


@dataclass(frozen=True)
class Answered:
    """An answer, or why there is none. `new`: it was made now, and lies not in the store yet."""

    answer: AnswerRecord | None
    error: EngineError | None = None
    new: bool = False


def ask_of(
    contestant: Contestant,
    ask: GenerationRequest | ScoreRequest,
    *,
    seed: int = 0,
    repeat: int = 0,
    dtype: str = "",
    fresh: str = "",
) -> Ask:
    """A request with its identity. `repeat` counts the answers to one item: each has a seed of its own. Without
    sampling (temperature 0) the seed changes nothing and is no part of the identity; `repeat` still is. `fresh`
    names a run whose answers are its own."""
    identity: dict[str, Any] = {}
    if isinstance(ask, GenerationRequest):
        temperature = ask.sampling.over(contestant.spec.sampling).temperature
        if temperature != 0:
            ask = ask.model_copy(update={"seed": (seed * 1_000_003 + repeat) % 2**32})
            identity["seed"] = ask.seed
        identity |= ask.model_dump(mode="json", exclude_defaults=True, exclude={"seed", "timeout"})
    else:
        identity |= ask.model_dump(mode="json", exclude_defaults=True)
    if repeat:
        identity["repeat"] = repeat
    if dtype and contestant.spec.kind == "local":
        identity["dtype"] = dtype
    if fresh:
        identity["fresh"] = fresh
    return Ask(answer_id(contestant.version.digest, identity), _brief(identity), ask)


def _brief(identity: dict[str, Any]) -> dict[str, Any]:
    """What is stored of a request: long texts by their hash, as the rendered prompt lies beside them."""
    prompt = {key: identity[key] for key in ("conversation", "text") if key in identity}
    text = json.dumps(prompt, ensure_ascii=False)
    if len(text) <= LONG:
        return identity
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {**{k: v for k, v in identity.items() if k not in prompt}, "prompt_sha256": digest}


async def answered(
    contestant: Contestant,
    engine: Engine,
    asks: Sequence[Ask],
    known: Mapping[UUID, AnswerRecord],
    *,
    concurrency: int | None = None,
) -> AsyncGenerator[tuple[int, Answered], None]:
    """Each ask's place and its answer, known ones first, the others as they are finished; equal asks are made once.

    Raises:
        NeedsLoglikelihood: continuations are to be scored, and the model cannot do that.
        EngineUnavailable: the model cannot be loaded or reached at all.
    """
    places: dict[UUID, list[int]] = {}
    for place, ask in enumerate(asks):
        if ask.id in known:
            yield place, Answered(known[ask.id])
        else:
            places.setdefault(ask.id, []).append(place)
    left = [asks[found[0]] for found in places.values()]
    texts = [ask for ask in left if isinstance(ask.ask, GenerationRequest)]
    scored = [ask for ask in left if isinstance(ask.ask, ScoreRequest)]
    failures = successes = 0
    for made in (_scores(contestant, engine, scored), _texts(contestant, engine, texts, concurrency)):
        async with aclosing(made) as results:
            async for ask, result in results:
                if isinstance(result.error, EngineUnavailable):
                    failures += 1
                    if failures >= FAILURES and not successes:
                        raise result.error
                else:
                    successes += 1
                for place in places[ask.id]:
                    yield place, result


async def _texts(
    contestant: Contestant, engine: Engine, asks: Sequence[Ask], concurrency: int | None
) -> AsyncGenerator[tuple[Ask, Answered], None]:
    requests = [ask.ask for ask in asks if isinstance(ask.ask, GenerationRequest)]
    async with aclosing(engine_answers(engine, requests, concurrency=concurrency)) as results:
        async for place, result in results:
            if isinstance(result, EngineError):
                yield asks[place], Answered(None, result)
            else:
                yield asks[place], Answered(answer_of(contestant, asks[place], result), new=True)


async def _scores(
    contestant: Contestant, engine: Engine, asks: Sequence[Ask]
) -> AsyncGenerator[tuple[Ask, Answered], None]:
    scorer = getattr(engine, "loglikelihood", None)
    if asks and scorer is None:
        raise NeedsLoglikelihood(_alternative(contestant, "it has no way to score text"))
    for first in range(0, len(asks), TOGETHER):
        part = asks[first : first + TOGETHER]
        try:
            found = await scorer([ask.ask for ask in part])  # type: ignore[misc]  # checked above
        except EngineRejected as error:
            if contestant.spec.kind == "openai":
                raise NeedsLoglikelihood(_alternative(contestant, str(error))) from error
            found = None
        except EngineError:
            found = None
        if found is not None:
            for ask, scores in zip(part, found, strict=True):
                yield ask, Answered(_scored(contestant, ask, scores), new=True)
            continue
        # One that does not fit fails all that were sent with it.
        for ask in part:
            try:
                ((scores),) = await scorer([ask.ask])  # type: ignore[misc]
            except EngineError as error:
                yield ask, Answered(None, error)
            else:
                yield ask, Answered(_scored(contestant, ask, scores), new=True)


def _alternative(contestant: Contestant, reason: str) -> str:
    return (
        f"{contestant.version.label} cannot run multiple choice by loglikelihood: {reason}. "
        "Use a suite that generates its answer: scorer `choice_letter` instead of `choice`, or an lm-eval task whose "
        "output_type is generate_until"
    )


def is_final(error: EngineError) -> bool:
    """Whether asking again cannot help: the item does not fit the model's context. It counts as not solved."""
    return isinstance(error, OverContext)


def answer_of(contestant: Contestant, ask: Ask, made: Generation) -> AnswerRecord:
    """A generation as it is stored."""
    return AnswerRecord(
        id=ask.id,
        version_key=contestant.version.version_key,
        request=ask.request,
        rendered_prompt=made.rendered_prompt,
        text=made.text,
        thinking=made.thinking,
        finish_reason=made.finish_reason,
        prompt_tokens=made.prompt_tokens,
        completion_tokens=made.completion_tokens,
        duration=made.duration,
        cost=None if made.cost is None else made.cost.amount,
        prompt_log=made.prompt_log,
    )


def _scored(contestant: Contestant, ask: Ask, scores: Sequence[Score]) -> AnswerRecord:
    return AnswerRecord(
        id=ask.id,
        version_key=contestant.version.version_key,
        request=ask.request,
        choices=tuple((score.logprob, score.tokens, score.greedy) for score in scores),
    )
