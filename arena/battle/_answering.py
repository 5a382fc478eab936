"""One side of a battle: from its engine's stream to a stored generation."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, Literal

from arena.battle._live import LiveBattle, SideStatus, dropped_rounds
from arena.config import BattleSettings
from arena.engines.base import (
    Engine,
    EngineError,
    Finished,
    Generation,
    GenerationRequest,
    Prompted,
)
from arena.engines.spec import ModelSpec
from results import ids
from results.records import GenerationRecord, Side
from results.store import Store

log = logging.getLogger(__name__)


async def answer_side(
    battle: LiveBattle,
    side: Side,
    store: Store,
    engine_for: Callable[[ModelSpec], Engine],
    settings: BattleSettings,
    seed: int,
) -> None:
    """Read one side's stream to its end, failure or cancellation, and store what came of it.

    Only then does the answer's status say that it is over: what can be voted on has been stored.
    """
    answer = battle.answers[side]
    turn = len(battle.turns)
    contestant = battle.contestants[side]
    spec = contestant.spec
    request = GenerationRequest(
        conversation=battle.conversation(side),
        sampling=spec.sampling.model_copy(
            update={"max_tokens": min(settings.max_tokens, spec.sampling.max_tokens or settings.max_tokens)}
        ),
        seed=seed,
        timeout=settings.answer_timeout,
    )
    begun = time.monotonic()
    generation: Generation | None = None
    prompted: Prompted | None = None
    status: SideStatus = "finished"
    answer.reading = not answer.stopping
    try:
        if answer.stopping:
            raise asyncio.CancelledError  # stopped before it began
        async with aclosing(engine_for(spec).stream(request)) as chunks:
            async for chunk in chunks:
                if isinstance(chunk, Finished):
                    generation = chunk.generation
                elif isinstance(chunk, Prompted):
                    prompted = chunk
                else:
                    answer.status = "answering"
                    answer.text += chunk.text
                    answer.thinking += chunk.thinking
                    battle.touch()
    except asyncio.CancelledError:
        status = "stopped"
    except EngineError as error:
        log.warning("battle %s side %s (%s): %s: %s", battle.id, side, spec.name, error.kind, error)
        answer.error_kind, answer.error = error.kind, str(error)
        status = "failed"
    except Exception as error:
        # A fault in an engine must end in a failed side, not in a battle that never ends.
        log.exception("battle %s side %s (%s)", battle.id, side, spec.name)
        answer.error_kind, answer.error = EngineError.kind, f"{type(error).__name__}: {error}"
        status = "failed"
    answer.reading = False
    if generation is not None:
        answer.text, answer.thinking = generation.text, generation.thinking or ""
    # What was asked is kept also of an answer that was stopped or failed, where the engine told it.
    prompt = generation or prompted
    answer.dropped_rounds = dropped_rounds(prompt.prompt_log if prompt else {})
    record = GenerationRecord(
        id=ids.new_id(),
        battle_id=battle.id,
        turn=turn,
        side=side,
        version_key=contestant.version.version_key,
        text=answer.text,
        thinking=answer.thinking or None,
        finish_reason=_finish_reason(status, generation),
        prompt_tokens=prompt.prompt_tokens if prompt else None,
        completion_tokens=generation.completion_tokens if generation else None,
        time_to_first_token=generation.time_to_first_token if generation else None,
        duration=generation.duration if generation else time.monotonic() - begun,
        rendered_prompt=prompt.rendered_prompt if prompt else None,
        rendered_by=prompt.rendered_by if prompt else None,
        prompt_log=_log(prompt, generation),
        sampling={**request.sampling.model_dump(exclude_none=True), "seed": request.seed},
        error_kind=answer.error_kind,
        error=answer.error,
    )
    try:
        await asyncio.to_thread(store.record_generation, record)
    except Exception as error:
        # Whatever the store's reason: an answer that was not kept must not be voted on as if it were.
        log.exception("battle %s side %s: the answer could not be stored", battle.id, side)
        answer.error_kind, answer.error, status = "not_stored", str(error), "failed"
    answer.status = status
    battle.touch()


def _log(prompt: Generation | Prompted | None, generation: Generation | None) -> dict[str, Any]:
    """What the engine told of the prompt, with the cost of the answer where it has a price."""
    log = dict(prompt.prompt_log) if prompt else {}
    if generation is not None and generation.cost is not None:
        log["cost"] = generation.cost.model_dump()
    return log


def _finish_reason(
    status: SideStatus, generation: Generation | None
) -> Literal["stop", "length", "cancelled", "error"]:
    if status == "stopped":
        return "cancelled"
    return "error" if status == "failed" or generation is None else generation.finish_reason
