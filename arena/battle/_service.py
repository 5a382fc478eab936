"""The service that draws, runs, stores and reveals battles."""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from arena._language import language_of
from arena.battle._answering import answer_side
from arena.battle._live import (
    EXCHANGED,
    SIDES,
    BattleError,
    BattleView,
    LiveBattle,
    Turn,
    stored_turns,
)
from arena.battle._prepared import load_prepared, prepared_left
from arena.config import BattleSettings
from arena.engines.base import Engine
from arena.engines.spec import ModelSpec
from arena.matchmaking import Policy, draw
from arena.roster import Contestant, Roster
from results import ids
from results.records import BattleRecord, Side, TurnRecord, Verdict, VoteRecord, VoterRecord, now
from results.store import CHANGE_WINDOW, Store, VoteClosed

UPDATES_PER_SECOND = 15
UNWATCHED_SECONDS = 60.0
KEPT_BATTLES = 2_000

_OPEN_BATTLE = """
    SELECT id::VARCHAR AS id FROM battles
    WHERE voter_id = ?::UUID AND mode = 'battle' AND state = 'open'
      AND created_at > (now() AT TIME ZONE 'UTC') - INTERVAL 1 DAY
    ORDER BY created_at DESC LIMIT 1
"""


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
        self._battles: OrderedDict[UUID, LiveBattle] = OrderedDict()
        self._current: dict[UUID, UUID] = {}
        self._starts: dict[UUID, deque[float]] = {}
        self._passed: dict[UUID, set[UUID]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, voter_id: UUID, prompt: str) -> BattleView:
        """Draw a pair and let both answer. The battle is in the store before either begins.

        Raises:
            BattleError: `empty_prompt`, `long_prompt`, `no_pair` (fewer than two contestants are usable),
                `busy` (the voter's battle is still answering) or `too_many` (hourly limit).
        """
        self._check_prompt(prompt)
        self._check_free(voter_id)
        names = self._roster.available()
        if len(names) < 2:
            raise BattleError("no_pair")
        self._count_start(voter_id)
        drawn = draw(names, self._policy, self._rng)
        contestants: dict[Side, Contestant] = {
            "a": self._roster.contestant(drawn.a),
            "b": self._roster.contestant(drawn.b),
        }
        battle = LiveBattle(ids.new_id(), voter_id, contestants, [Turn(prompt)])
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

    async def prepared_left(self, voter_id: UUID) -> int:
        """How many battles of scripts the voter could still vote on."""
        return await asyncio.to_thread(prepared_left, self._store, voter_id)

    async def start_prepared(self, voter_id: UUID) -> BattleView:
        """A battle of a script that the voter has not voted on, ready for the vote: the least voted-on first. One
        that was shown and not voted on is passed over until all others have been shown.

        Raises:
            BattleError: `busy` (the voter's battle is still answering) or `none_prepared`.
        """
        current = self._check_free(voter_id)
        passed = self._passed.setdefault(voter_id, set())
        if current is not None and current.prepared and current.verdict is None:
            passed.add(current.in_store)
        battle = await asyncio.to_thread(
            load_prepared, self._store, voter_id, tuple(passed), self._contestants
        )
        if battle is None and passed:
            passed.clear()
            battle = await asyncio.to_thread(load_prepared, self._store, voter_id, (), self._contestants)
        if battle is None:
            raise BattleError("none_prepared")
        self._keep(battle)
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
            battle.turns.append(Turn(prompt))
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
            if battle.prepared:  # others were made known when their prompt was sent
                await asyncio.to_thread(
                    self._store.register_voter, VoterRecord(id=voter_id, consent_at=now())
                )
            vote = VoteRecord(
                battle_id=battle.in_store,
                voter_id=voter_id,
                request_id=ids.new_id(),
                verdict=EXCHANGED[verdict] if battle.mirrored else verdict,
                mirrored=battle.mirrored,
            )
            outcome = await asyncio.to_thread(self._store.record_vote, vote)
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
                await asyncio.to_thread(self._store.withdraw_vote, battle.in_store, voter_id, ids.new_id())
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

    def open_battles(self) -> int:
        """How many battles are being answered or wait for their voters' verdict."""
        battles = [self._battles.get(battle_id) for battle_id in self._current.values()]
        return sum(battle is not None and not battle.revealed for battle in battles)

    async def restore(self, voter_id: UUID) -> tuple[BattleView | None, str | None]:
        """After a restart: the voter's open battle from the store, or the prompt of one that was cut off.

        A battle that died while answering is abandoned; its last prompt comes back to be sent again.
        """
        rows = await asyncio.to_thread(self._store.query, _OPEN_BATTLE, [voter_id])
        if rows.num_rows == 0:
            return None, None
        stored = await asyncio.to_thread(self._store.battle, UUID(rows["id"][0].as_py()))
        assert stored is not None
        turns = stored_turns(stored)
        contestants = await asyncio.to_thread(self._contestants, stored.battle)
        if contestants is None or not turns or not all(a.over for a in turns[-1].answers.values()):
            await asyncio.to_thread(self._store.set_battle_state, stored.battle.id, "abandoned")
            return None, stored.turns[-1].message if stored.turns else None
        battle = LiveBattle(stored.battle.id, voter_id, contestants, turns)
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

    def _answer(self, battle: LiveBattle) -> None:
        for side in SIDES:
            battle.answers[side].task = asyncio.create_task(
                answer_side(
                    battle,
                    side,
                    self._store,
                    self._engine_for,
                    self._settings,
                    seed=self._rng.randrange(2**31),
                )
            )
        self._spawn(self._stop_when_unwatched(battle))
        battle.touch()

    async def _stop_when_unwatched(self, battle: LiveBattle) -> None:
        """A closed browser must not hold a model for the rest of an answer that nobody reads."""
        while battle.phase == "answering":
            await asyncio.sleep(1)
            unwatched = battle.watchers == 0 and time.monotonic() - battle.unwatched_since
            if unwatched and unwatched > UNWATCHED_SECONDS:
                await self.stop(battle.voter_id, battle.id)
                return

    async def _reveal_later(self, battle: LiveBattle, voted_at: float) -> None:
        await asyncio.sleep(CHANGE_WINDOW.total_seconds())
        if battle.voted_at == voted_at and battle.verdict is not None:
            await self._reveal(battle)

    async def _reveal(self, battle: LiveBattle) -> None:
        async with battle.lock:
            if battle.revealed or battle.verdict is None:
                return
            # In the store first: after a restart a revealed battle must not be open to a changed mind.
            await asyncio.to_thread(self._store.set_battle_state, battle.in_store, "done")
            battle.revealed = True
            battle.touch()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _keep(self, battle: LiveBattle) -> None:
        self._battles[battle.id] = battle
        self._current[battle.voter_id] = battle.id
        while len(self._battles) > KEPT_BATTLES:
            old_id, old = self._battles.popitem(last=False)
            if self._current.get(old.voter_id) == old_id:
                del self._current[old.voter_id]

    def _own(self, voter_id: UUID, battle_id: UUID) -> LiveBattle:
        battle = self._battles.get(battle_id)
        if battle is None or battle.voter_id != voter_id:
            raise BattleError("unknown_battle")
        return battle

    def _view(self, battle: LiveBattle) -> BattleView:
        return battle.view(self._settings.max_turns)

    def _check_prompt(self, prompt: str) -> None:
        if not prompt.strip():
            raise BattleError("empty_prompt")
        if len(prompt) > self._settings.max_prompt_chars:
            raise BattleError("long_prompt", limit=self._settings.max_prompt_chars, length=len(prompt))

    def _check_free(self, voter_id: UUID) -> LiveBattle | None:
        """The battle that the voter was last at, if any. Raises BattleError where it is still answering."""
        current = self._battles.get(self._current.get(voter_id, voter_id))
        if current is not None and current.phase == "answering":
            raise BattleError("busy")
        return current

    def _count_start(self, voter_id: UUID) -> None:
        starts = self._starts.setdefault(voter_id, deque())
        while starts and starts[0] < time.monotonic() - 3600:
            starts.popleft()
        if len(starts) >= self._settings.per_voter_per_hour:
            raise BattleError("too_many", limit=self._settings.per_voter_per_hour)
        starts.append(time.monotonic())
