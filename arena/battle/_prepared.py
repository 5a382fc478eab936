"""Prepared battles: those of scripts, whose answers exist, for people to vote on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

from arena.battle._live import LiveBattle, mirrored_turns, stored_turns
from arena.roster import Contestant
from results.ids import named_id
from results.records import BattleRecord, Side
from results.store import Store

# What a voter took back was not voted on.
_OPEN = """
    FROM battles b
    WHERE b.mode = 'script' AND b.state = 'done' AND b.failed_side IS NULL
      AND b.id IN (SELECT battle_id FROM generations)
      AND b.id NOT IN (SELECT battle_id FROM votes WHERE voter_id = ?::UUID AND excluded IS DISTINCT FROM 'withdrawn')
"""
_NEXT = f"""
    SELECT b.id::VARCHAR AS id {_OPEN} AND NOT list_contains(?::VARCHAR[], b.id::VARCHAR)
    ORDER BY (SELECT count(*) FROM votes v WHERE v.battle_id = b.id AND v.excluded IS NULL),
             md5(b.id::VARCHAR || ?::VARCHAR)
    LIMIT ?
"""  # noqa: S608
_TRIED = 20
"""Battles that are looked at, as one may have models that this release cannot read."""
_COUNT = f"SELECT count(*) AS n {_OPEN}"


def prepared_left(store: Store, voter_id: UUID) -> int:
    """How many prepared battles the voter has no vote on."""
    return int(store.query(_COUNT, [voter_id]).column("n")[0].as_py())


def load_prepared(
    store: Store,
    voter_id: UUID,
    passed: Sequence[UUID],
    contestants_of: Callable[[BattleRecord], dict[Side, Contestant] | None],
) -> LiveBattle | None:
    """A prepared battle that the voter has no vote on and did not pass over: one of those with the fewest votes, in
    an order that is the voter's own and stays. None where there is none."""
    rows = store.query(_NEXT, [voter_id, [str(each) for each in passed], str(voter_id), _TRIED])
    for battle_id in (UUID(each) for each in rows.column("id").to_pylist()):
        stored = store.battle(battle_id)
        contestants = None if stored is None else contestants_of(stored.battle)
        if stored is None or contestants is None:
            continue
        turns, mirrored = stored_turns(stored), is_mirrored(battle_id, voter_id)
        if mirrored:
            turns = mirrored_turns(turns)
            contestants = {"a": contestants["b"], "b": contestants["a"]}
        # An id of its own: others have the same battle before them, and it leads to nothing that is public.
        own_id = named_id("prepared battle", str(battle_id), str(voter_id))
        return LiveBattle(own_id, voter_id, contestants, turns, stored_id=battle_id, mirrored=mirrored)
    return None


def is_mirrored(battle_id: UUID, voter_id: UUID) -> bool:
    """Whether this voter sees the battle's sides exchanged: half of all voters do, each always in the same way."""
    return named_id("mirrored", str(battle_id), str(voter_id)).int & 1 == 1
