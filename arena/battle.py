"""Battles: two anonymous model versions answer one conversation, and a voter gives one verdict.

`BattleService` holds the battles that are going on; everything it acknowledges is in the store first. It is
asyncio code for one event loop and knows nothing of the page that shows it: a page reads `BattleView`s, which
hold the models' names only once the battle is revealed.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from pydantic import ValidationError

from arena._language import language_of
from arena.config import BattleSettings
from arena.engines.base import (
    Engine,
    EngineError,
    Finished,
    Generation,
    GenerationRequest,
    Prompted,
    Sampling,
)
from arena.engines.spec import ModelSpec
from arena.matchmaking import Policy, draw
from arena.roster import Contestant, Roster
from prompt_formats.conversation import Conversation
from results import ids
from results.records import (
    BattleRecord,
    GenerationRecord,
    Side,
    StoredBattle,
    TurnRecord,
    Verdict,
    VoteRecord,
    VoterRecord,
    now,
)
from results.store import CHANGE_WINDOW, Store, VoteClosed

log = logging.getLogger(__name__)

SideStatus = Literal["waiting", "answering", "finished", "stopped", "failed"]
Phase = Literal["answering", "voting", "voted", "revealed"]
SIDES: tuple[Side, Side] = ("a", "b")
UPDATES_PER_SECOND = 15
UNWATCHED_SECONDS = 60.0
KEPT_BATTLES = 2_000


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
    """A battle as its voter may see it now. `names` is set once revealed; `undo_seconds` while undo lasts."""

    id: UUID
    phase: Phase
    turns: tuple[TurnView, ...]
    verdict: Verdict | None
    counted: bool
    undo_seconds: float
    may_continue: bool
    names: tuple[str, str] | None

    @property
    def stable(self) -> bool:
        """Whether the view stays as it is until its voter does something."""
        return self.phase in ("voting", "revealed")


@dataclass
class _Answer:
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
class _Turn:
    prompt: str
    answers: dict[Side, _Answer] = field(default_factory=lambda: {side: _Answer() for side in SIDES})


@dataclass
class _Battle:
    id: UUID
    voter_id: UUID
    contestants: dict[Side, Contestant]
    turns: list[_Turn]
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
    def answers(self) -> dict[Side, _Answer]:
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
        names = tuple(self.contestants[side].spec.name for side in SIDES) if self.revealed else None
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
            may_continue=self.phase == "voting" and not failed and len(self.turns) < max_turns,
            names=names,  # type: ignore[arg-type]
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


_OPEN_BATTLE = """
    SELECT id::VARCHAR AS id FROM battles
    WHERE voter_id = ?::UUID AND mode = 'battle' AND state = 'open'
      AND created_at > (now() AT TIME ZONE 'UTC') - INTERVAL 1 DAY
    ORDER BY created_at DESC LIMIT 1
"""
_STATUS_OF: dict[str, SideStatus] = {
    "stop": "finished",
    "length": "finished",
    "cancelled": "stopped",
    "error": "failed",
}


def _stored_turns(stored: StoredBattle) -> list[_Turn]:
    turns = [_Turn(turn.message) for turn in stored.turns]
    for generation in stored.generations:
        answer = turns[generation.turn - 1].answers[generation.side]
        answer.status = _STATUS_OF[generation.finish_reason]
        answer.text, answer.thinking = generation.text, generation.thinking or ""
        answer.error_kind, answer.error = generation.error_kind, generation.error
        answer.dropped_rounds = _dropped_rounds(generation.prompt_log)
    return turns


class BattleService:
    """Draws, runs, stores and reveals battles for the voters of one arena."""

    def __init__(
        self,
        store: Store,
        roster: Roster,
        engine_for: Callable[[ModelSpec], Engine],
        policy: Policy,
        settings: BattleSettings,
        rng: random.Random | None = None,
    ) -> None:
        self._store = store
        self._roster = roster
        self._engine_for = engine_for
        self._policy = policy
        self._settings = settings
        self._rng = rng or random.SystemRandom()
        self._battles: OrderedDict[UUID, _Battle] = OrderedDict()
        self._current: dict[UUID, UUID] = {}
        self._starts: dict[UUID, deque[float]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, voter_id: UUID, prompt: str) -> BattleView:
        """Draw a pair and let both answer. The battle is in the store before either begins.

        Raises:
            BattleError: `empty_prompt`, `long_prompt`, `no_pair` (fewer than two contestants are usable),
                `busy` (the voter's battle is still answering) or `too_many` (hourly limit).
        """
        self._check_prompt(prompt)
        current = self._battles.get(self._current.get(voter_id, voter_id))
        if current is not None and current.phase == "answering":
            raise BattleError("busy")
        self._count_start(voter_id)
        names = self._roster.available()
        if len(names) < 2:
            raise BattleError("no_pair")
        drawn = draw(names, self._policy, self._rng)
        contestants: dict[Side, Contestant] = {
            "a": self._roster.contestant(drawn.a),
            "b": self._roster.contestant(drawn.b),
        }
        battle = _Battle(ids.new_id(), voter_id, contestants, [_Turn(prompt)])
        record = BattleRecord(
            id=battle.id,
            version_a=contestants["a"].version.version_key,
            version_b=contestants["b"].version.version_key,
            selection_policy=drawn.policy,
            selection_probability=drawn.probability,
            voter_id=voter_id,
            prompt=prompt,
            language=language_of(prompt),
        )
        first = TurnRecord(battle_id=battle.id, number=1, message=prompt)
        await asyncio.to_thread(self._store.register_voter, VoterRecord(id=voter_id, consent_at=now()))
        await asyncio.to_thread(self._store.create_battle, record, first)
        self._keep(battle)
        self._answer(battle)
        return self._view(battle)

    async def go_on(self, voter_id: UUID, battle_id: UUID, prompt: str) -> BattleView:
        """Send a further prompt to both sides of the voter's battle.

        Raises:
            BattleError: `empty_prompt`, `long_prompt`, `unknown_battle` or `closed` (it is answering, voted,
                has a failed side, or has its full number of turns).
        """
        self._check_prompt(prompt)
        battle = self._own(voter_id, battle_id)
        async with battle.lock:
            if not self._view(battle).may_continue:
                raise BattleError("closed")
            number = len(battle.turns) + 1
            await asyncio.to_thread(
                self._store.add_turn, TurnRecord(battle_id=battle.id, number=number, message=prompt)
            )
            battle.turns.append(_Turn(prompt))
            self._answer(battle)
        return self._view(battle)

    async def stop(self, voter_id: UUID, battle_id: UUID) -> None:
        """Stop the sides that still answer; what they wrote so far stands."""
        battle = self._own(voter_id, battle_id)
        for answer in battle.answers.values():
            answer.stop()

    async def vote(self, voter_id: UUID, battle_id: UUID, verdict: Verdict) -> BattleView:
        """Record the verdict; it is in the store when this returns.

        Raises:
            BattleError: `unknown_battle`, `answering` (a side has not ended) or `voted` (undo comes first).
        """
        battle = self._own(voter_id, battle_id)
        async with battle.lock:
            if battle.phase == "answering":
                raise BattleError("answering")
            if battle.phase != "voting":
                raise BattleError("voted")
            outcome = await asyncio.to_thread(
                self._store.record_vote,
                VoteRecord(battle_id=battle.id, voter_id=voter_id, request_id=ids.new_id(), verdict=verdict),
            )
            battle.verdict, battle.counted = verdict, outcome.counted
            battle.voted_at = time.monotonic()
            battle.touch()
            self._spawn(self._reveal_later(battle, battle.voted_at))
        return self._view(battle)

    async def undo(self, voter_id: UUID, battle_id: UUID) -> BattleView:
        """Take the vote back while nothing is revealed and its window lasts.

        Raises:
            BattleError: `unknown_battle` or `too_late`.
        """
        battle = self._own(voter_id, battle_id)
        async with battle.lock:
            if battle.undo_seconds <= 0:
                raise BattleError("too_late")
            try:
                await asyncio.to_thread(self._store.withdraw_vote, battle.id, voter_id, ids.new_id())
            except VoteClosed:
                raise BattleError("too_late") from None
            battle.verdict, battle.counted = None, True
            battle.touch()
        return self._view(battle)

    async def reveal(self, voter_id: UUID, battle_id: UUID) -> BattleView:
        """Show the names now and give up the undo.

        Raises:
            BattleError: `unknown_battle` or `not_voted`.
        """
        battle = self._own(voter_id, battle_id)
        if battle.verdict is None:
            raise BattleError("not_voted")
        await self._reveal(battle)
        return self._view(battle)

    def leave(self, voter_id: UUID) -> None:
        """The voter begins a new round: the current battle is no longer shown on the next visit."""
        self._current.pop(voter_id, None)

    def view(self, voter_id: UUID, battle_id: UUID) -> BattleView | None:
        """The voter's battle as it is now, or None where it is not known (any more)."""
        battle = self._battles.get(battle_id)
        return None if battle is None or battle.voter_id != voter_id else self._view(battle)

    def current(self, voter_id: UUID) -> BattleView | None:
        """The battle that the voter was last at, if this process still holds it."""
        battle = self._battles.get(self._current.get(voter_id, voter_id))
        return None if battle is None else self._view(battle)

    async def restore(self, voter_id: UUID) -> tuple[BattleView | None, str | None]:
        """After a restart: the voter's open battle from the store, or the prompt of one that was cut off.

        A battle that died while answering is abandoned; its last prompt comes back to be sent again.
        """
        rows = await asyncio.to_thread(self._store.query, _OPEN_BATTLE, [voter_id])
        if rows.num_rows == 0:
            return None, None
        stored = await asyncio.to_thread(self._store.battle, UUID(rows["id"][0].as_py()))
        assert stored is not None
        turns = _stored_turns(stored)
        contestants = await asyncio.to_thread(self._contestants, stored.battle)
        if contestants is None or not turns or not all(a.over for a in turns[-1].answers.values()):
            await asyncio.to_thread(self._store.set_battle_state, stored.battle.id, "abandoned")
            return None, stored.turns[-1].message if stored.turns else None
        battle = _Battle(stored.battle.id, voter_id, contestants, turns)
        vote = await asyncio.to_thread(self._store.vote, battle.id, voter_id)
        self._keep(battle)
        if vote is not None and vote.excluded != "withdrawn":
            battle.verdict, battle.counted = vote.verdict, vote.counted
            battle.voted_at = time.monotonic() - CHANGE_WINDOW.total_seconds()
            await self._reveal(battle)
        return self._view(battle), None

    def _contestants(self, battle: BattleRecord) -> dict[Side, Contestant] | None:
        versions = {version.version_key: version for version in self._store.model_versions()}
        try:
            return {
                "a": Contestant(
                    ModelSpec.model_validate(versions[battle.version_a].spec), versions[battle.version_a]
                ),
                "b": Contestant(
                    ModelSpec.model_validate(versions[battle.version_b].spec), versions[battle.version_b]
                ),
            }
        except ValidationError:  # enrolled by a newer release, with fields that this one does not know
            return None

    async def follow(self, voter_id: UUID, battle_id: UUID) -> AsyncIterator[BattleView]:
        """Views of the battle as it changes, at most `UPDATES_PER_SECOND`, until it is stable."""
        battle = self._own(voter_id, battle_id)
        battle.watchers += 1
        try:
            while True:
                changed = battle.changed
                view = self._view(battle)
                yield view
                if view.stable:
                    return
                pause = asyncio.create_task(asyncio.sleep(1 / UPDATES_PER_SECOND))
                # A countdown changes by itself once a second; answers change when tokens come.
                limit = 1.0 if view.phase == "voted" else None
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), limit)
                await pause
        finally:
            battle.watchers -= 1
            battle.unwatched_since = time.monotonic()

    async def close(self) -> None:
        """Stop everything that answers and wait until it is recorded."""
        for battle in self._battles.values():
            for answer in battle.answers.values():
                answer.stop()
        answering = [a.task for b in self._battles.values() for a in b.answers.values() if a.task]
        await asyncio.gather(*answering, return_exceptions=True)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _answer(self, battle: _Battle) -> None:
        for side in SIDES:
            task = asyncio.create_task(self._answer_side(battle, side))
            battle.answers[side].task = task
        self._spawn(self._stop_when_unwatched(battle))
        battle.touch()

    async def _answer_side(self, battle: _Battle, side: Side) -> None:
        answer = battle.answers[side]
        turn = len(battle.turns)
        contestant = battle.contestants[side]
        spec = contestant.spec
        request = GenerationRequest(
            conversation=battle.conversation(side),
            sampling=Sampling(max_tokens=self._settings.max_tokens).model_copy(
                update=spec.sampling.model_dump(exclude_none=True)
            ),
            seed=self._rng.randrange(2**31),
            timeout=self._settings.answer_timeout,
        )
        begun = time.monotonic()
        generation: Generation | None = None
        prompted: Prompted | None = None
        status: SideStatus = "finished"
        answer.reading = not answer.stopping
        try:
            if answer.stopping:
                raise asyncio.CancelledError  # stopped before it began
            async with aclosing(self._engine_for(spec).stream(request)) as chunks:  # type: ignore[type-var]
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
        answer.reading = False
        if generation is not None:
            answer.text, answer.thinking = generation.text, generation.thinking or ""
        # What was asked is kept also of an answer that was stopped or failed, where the engine told it.
        prompt = generation or prompted
        answer.dropped_rounds = _dropped_rounds(prompt.prompt_log if prompt else {})
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
            prompt_log=prompt.prompt_log if prompt else {},
            sampling={**request.sampling.model_dump(exclude_none=True), "seed": request.seed},
            error_kind=answer.error_kind,
            error=answer.error,
        )
        try:
            await asyncio.to_thread(self._store.record_generation, record)
        except Exception as error:
            # Whatever the store's reason: an answer that was not kept must not be voted on as if it were.
            log.exception("battle %s side %s: the answer could not be stored", battle.id, side)
            answer.error_kind, answer.error, status = "not_stored", str(error), "failed"
        answer.status = status
        battle.touch()

    async def _stop_when_unwatched(self, battle: _Battle) -> None:
        """A closed browser must not hold a model for the rest of an answer that nobody reads."""
        while battle.phase == "answering":
            await asyncio.sleep(1)
            unwatched = battle.watchers == 0 and time.monotonic() - battle.unwatched_since
            if unwatched and unwatched > UNWATCHED_SECONDS:
                await self.stop(battle.voter_id, battle.id)
                return

    async def _reveal_later(self, battle: _Battle, voted_at: float) -> None:
        await asyncio.sleep(CHANGE_WINDOW.total_seconds())
        if battle.voted_at == voted_at and battle.verdict is not None:
            await self._reveal(battle)

    async def _reveal(self, battle: _Battle) -> None:
        async with battle.lock:
            if battle.revealed or battle.verdict is None:
                return
            # In the store first: after a restart a revealed battle must not be open to a changed mind.
            await asyncio.to_thread(self._store.set_battle_state, battle.id, "done")
            battle.revealed = True
            battle.touch()

    def _spawn(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _keep(self, battle: _Battle) -> None:
        self._battles[battle.id] = battle
        self._current[battle.voter_id] = battle.id
        while len(self._battles) > KEPT_BATTLES:
            old_id, old = self._battles.popitem(last=False)
            if self._current.get(old.voter_id) == old_id:
                del self._current[old.voter_id]

    def _own(self, voter_id: UUID, battle_id: UUID) -> _Battle:
        battle = self._battles.get(battle_id)
        if battle is None or battle.voter_id != voter_id:
            raise BattleError("unknown_battle")
        return battle

    def _view(self, battle: _Battle) -> BattleView:
        return battle.view(self._settings.max_turns)

    def _check_prompt(self, prompt: str) -> None:
        if not prompt.strip():
            raise BattleError("empty_prompt")
        if len(prompt) > self._settings.max_prompt_chars:
            raise BattleError("long_prompt", limit=self._settings.max_prompt_chars, length=len(prompt))

    def _count_start(self, voter_id: UUID) -> None:
        starts = self._starts.setdefault(voter_id, deque())
        while starts and starts[0] < time.monotonic() - 3600:
            starts.popleft()
        if len(starts) >= self._settings.per_voter_per_hour:
            raise BattleError("too_many", limit=self._settings.per_voter_per_hour)
        starts.append(time.monotonic())


def _dropped_rounds(prompt_log: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(dropped["begins"]) for dropped in prompt_log.get("dropped_rounds", ()))


def _finish_reason(
    status: SideStatus, generation: Generation | None
) -> Literal["stop", "length", "cancelled", "error"]:
    if status == "stopped":
        return "cancelled"
    return "error" if status == "failed" or generation is None else generation.finish_reason
