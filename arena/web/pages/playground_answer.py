"""One answer of the Playground in the making, and the conversation that it belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from arena.engines.base import Chunk, EngineError, Finished, Generation, Prompted
from prompt_formats.conversation import Conversation

UPDATES_PER_SECOND = 15

Status = Literal["waiting", "answering", "finished", "stopped", "failed"]


class Turn(BaseModel):
    """One question and what was answered. The answer begins with `prefill`, which the person wrote."""

    model_config = ConfigDict(frozen=True)

    user: str
    prefill: str = ""
    text: str = ""
    thinking: str = ""
    status: Status = "waiting"


@dataclass
class Answer:
    """What has come of an answer so far."""

    status: Status = "waiting"
    text: str = ""
    thinking: str = ""
    prompted: Prompted | None = None
    generation: Generation | None = None
    error: EngineError | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.status not in ("waiting", "answering")


def conversation_of(turns: Sequence[Turn], system: str) -> Conversation:
    """What the model is to continue: failed turns, to which it said nothing, are left out."""
    conversation = Conversation()
    if system.strip():
        conversation = conversation.add("system", system)
    for turn in turns[:-1]:
        if turn.status == "failed":
            continue
        thinking = {"reasoning_content": turn.thinking} if turn.thinking else {}
        conversation = conversation.add("user", turn.user)
        conversation = conversation.add("assistant", turn.prefill + turn.text, **thinking)
    return conversation.add("user", turns[-1].user)


class RunningAnswer:
    """Reads an engine's stream in a task of its own, so that it can be stopped from elsewhere."""

    def __init__(self, chunks: AsyncGenerator[Chunk, None]) -> None:
        self._answer = Answer()
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._read(chunks))

    def stop(self) -> None:
        """Stop the model; `follow` then ends with what there is."""
        self._task.cancel()

    async def follow(self) -> AsyncGenerator[Answer]:
        """The answer as it grows, a few times a second, at last the whole. Ends the answer if it is left early."""
        try:
            last = False
            while not last:
                await self._changed.wait()
                self._changed.clear()
                last = self._answer.over
                yield self._answer
                if not last:
                    await asyncio.sleep(1 / UPDATES_PER_SECOND)
            await self._task  # an error that is no EngineError is a fault of ours, and raised here
        finally:
            self._task.cancel()

    async def _read(self, chunks: AsyncGenerator[Chunk, None]) -> None:
        answer = self._answer
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    match chunk:
                        case Prompted():
                            answer.prompted = chunk
                        case Finished():
                            answer.generation = chunk.generation
                        case _:
                            answer.text += chunk.text
                            answer.thinking += chunk.thinking
                            answer.status = "answering"
                    self._changed.set()
            answer.status = "finished"
        except asyncio.CancelledError:
            answer.status = "stopped"
        except EngineError as error:
            answer.status, answer.error = "failed", error
        finally:
            if not answer.over:
                answer.status = "failed"
            self._changed.set()
