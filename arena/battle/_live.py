"""A battle that is going on, and the views of it that its voter may have."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from arena.roster import Contestant
from prompt_formats.conversation import Conversation
from results.records import Side, StoredBattle, Verdict
from results.store import CHANGE_WINDOW

SideStatus = Literal["waiting", "answering", "finished", "stopped", "failed"]
Phase = Literal["answering", "voting", "voted", "revealed"]
SIDES: tuple[Side, Side] = ("a", "b")


class BattleError(Exception):
    """The voter asked for something that this battle does not allow now. `code` names the reason."""

    def __init__(self, code: str, **figures: object) -> None:
        super().__init__(code)
        self.code = code
        self.figures = figures


@dataclass(frozen=True)
class SideView:
    """What a voter may see of one answer: nothing here tells which model it is.

    `dropped_rounds` (how the rounds began that the model's window left out) is filled once revealed: windows
    differ between models.
    """

    status: SideStatus
    text: str
    thinking: str
    error_kind: str | None
    dropped_rounds: tuple[str, ...] = ()


@dataclass(frozen=True)
class TurnView:
    """One prompt and its two answers."""

    prompt: str
    a: SideView
    b: SideView


@dataclass(frozen=True)
class BattleView:
    """A battle as its voter may see it now. `names` is set once revealed; `undo_seconds` while undo lasts.
    `prepared`: its answers were there before the voter came."""

    id: UUID
    phase: Phase
    turns: tuple[TurnView, ...]
    verdict: Verdict | None
    counted: bool
    undo_seconds: float
    may_continue: bool
    names: tuple[str, str] | None
    prepared: bool = False

    @property
    def stable(self) -> bool:
        """Whether the view stays as it is until its voter does something."""
        return self.phase in ("voting", "revealed")


@dataclass
class Answer:
    """One side's answer to the last prompt, while it is being made and after."""

    status: SideStatus = "waiting"
    text: str = ""
    thinking: str = ""
    error_kind: str | None = None
    error: str | None = None
    dropped_rounds: tuple[str, ...] = ()
    task: asyncio.Task[None] | None = None
    reading: bool = False
    stopping: bool = False

    def stop(self) -> None:
        # Only what is being read can be cancelled: a task that has not begun would never say that it ended,
        # and one that writes down what had arrived must not be cut short.
        self.stopping = True
        if self.reading and self.task is not None:
            self.reading = False
            self.task.cancel()

    @property
    def over(self) -> bool:
        return self.status in ("finished", "stopped", "failed")

    def view(self, revealed: bool) -> SideView:
        dropped = self.dropped_rounds if revealed else ()
        return SideView(self.status, self.text, self.thinking, self.error_kind, dropped)


@dataclass
class Turn:
    """One prompt and its two answers."""

    prompt: str
    answers: dict[Side, Answer] = field(default_factory=lambda: {side: Answer() for side in SIDES})


@dataclass
class LiveBattle:
    """All that is known of a battle, names included. Pages get its `view`.

    Sides are as the voter sees them. A prepared battle is stored as `stored_id`, for all its voters, and `mirrored`
    where its own sides are the other way round.
    """

    id: UUID
    voter_id: UUID
    contestants: dict[Side, Contestant]
    turns: list[Turn]
    stored_id: UUID | None = None
    mirrored: bool = False
    verdict: Verdict | None = None
    counted: bool = True
    voted_at: float = 0.0
    revealed: bool = False
    watchers: int = 0
    unwatched_since: float = field(default_factory=time.monotonic)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def touch(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    @property
    def prepared(self) -> bool:
        return self.stored_id is not None

    @property
    def in_store(self) -> UUID:
        """The id under which the store has the battle."""
        return self.stored_id or self.id

    @property
    def answers(self) -> dict[Side, Answer]:
        return self.turns[-1].answers

    @property
    def undo_seconds(self) -> float:
        if self.verdict is None or self.revealed:
            return 0.0
        return max(0.0, self.voted_at + CHANGE_WINDOW.total_seconds() - time.monotonic())

    @property
    def phase(self) -> Phase:
        if self.revealed:
            return "revealed"
        if self.verdict is not None:
            return "voted"
        return "voting" if all(answer.over for answer in self.answers.values()) else "answering"

    def view(self, max_turns: int) -> BattleView:
        failed = any(answer.status == "failed" for answer in self.answers.values())
        names = (self.contestants["a"].spec.name, self.contestants["b"].spec.name)
        return BattleView(
            id=self.id,
            phase=self.phase,
            turns=tuple(
                TurnView(
                    turn.prompt, turn.answers["a"].view(self.revealed), turn.answers["b"].view(self.revealed)
                )
                for turn in self.turns
            ),
            verdict=self.verdict,
            counted=self.counted and not failed,
            undo_seconds=self.undo_seconds,
            may_continue=(
                self.phase == "voting" and not failed and not self.prepared and len(self.turns) < max_turns
            ),
            names=names if self.revealed else None,
            prepared=self.prepared,
        )

    def conversation(self, side: Side) -> Conversation:
        conversation = Conversation()
        for turn in self.turns[:-1]:
            conversation = conversation.add("user", turn.prompt)
            answer = turn.answers[side]
            conversation = conversation.add(
                "assistant", answer.text, reasoning_content=answer.thinking or None
            )
        return conversation.add("user", self.turns[-1].prompt)


EXCHANGED: dict[Verdict, Verdict] = {"a": "b", "b": "a", "tie": "tie", "both_bad": "both_bad"}
"""What a verdict is called where the sides are exchanged."""

_STATUS_OF: dict[str, SideStatus] = {
    "stop": "finished",
    "length": "finished",
    "cancelled": "stopped",
    "error": "failed",
}


def stored_turns(stored: StoredBattle) -> list[Turn]:
    """The turns of a battle as the store holds it."""
    turns = [Turn(turn.message) for turn in stored.turns]
    for generation in stored.generations:
        answer = turns[generation.turn - 1].answers[generation.side]
        answer.status = _STATUS_OF[generation.finish_reason]
        answer.text, answer.thinking = generation.text, generation.thinking or ""
        answer.error_kind, answer.error = generation.error_kind, generation.error
        answer.dropped_rounds = dropped_rounds(generation.prompt_log)
    return turns


def mirrored_turns(turns: list[Turn]) -> list[Turn]:
    """The turns with their sides exchanged."""
    return [Turn(turn.prompt, {"a": turn.answers["b"], "b": turn.answers["a"]}) for turn in turns]


def dropped_rounds(prompt_log: dict[str, Any]) -> tuple[str, ...]:
    """How the rounds began that the model's window left out."""
    return tuple(str(dropped["begins"]) for dropped in prompt_log.get("dropped_rounds", ()))
