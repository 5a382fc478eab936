"""Operations on battles, their turns and generations, and on voters."""

from __future__ import annotations

import json
from typing import Any, TypeVar
from uuid import UUID

from results.ids import item_id
from results.records import (
    BattleRecord,
    BattleState,
    GenerationRecord,
    Record,
    StoredBattle,
    TurnRecord,
    VoterRecord,
    now,
)
from results.store._counting import exclude_counted_votes
from results.store._models import require_versions
from results.store._operations import Operation
from results.store._transaction import Transaction
from results.store.errors import BadWrite

RecordT = TypeVar("RecordT", bound=Record)


class NewBattle(Record):
    """A battle with its first turn."""

    battle: BattleRecord
    first_turn: TurnRecord | None = None


class BattleStateChange(Record):
    """A battle's new state."""

    battle_id: UUID
    state: BattleState


class BattleId(Record):
    """Which battle."""

    battle_id: UUID


_VISIBLE = "(import_id IS NULL OR import_id IN (SELECT i.id FROM imports i WHERE i.state = 'done'))"


def require_battle(tx: Transaction, battle_id: UUID) -> None:
    """Raise BadWrite unless the store knows the battle."""
    if tx.row("SELECT 1 FROM battles WHERE id = ?", battle_id) is None:
        raise BadWrite(f"there is no battle {battle_id}: create it first")


def _create(tx: Transaction, payload: NewBattle) -> None:
    battle, turn = payload.battle, payload.first_turn
    if turn is not None and turn.battle_id != battle.id:
        raise BadWrite(f"the first turn belongs to battle {turn.battle_id}, not to {battle.id}")
    require_versions(tx, battle.version_a, battle.version_b)
    known = tx.row("SELECT version_a, version_b FROM battles WHERE id = ?", battle.id)
    if known is not None:
        if known != (battle.version_a, battle.version_b):
            raise BadWrite(f"battle {battle.id} exists already, between versions {known[0]} and {known[1]}")
        if turn is not None:
            _add_turn(tx, turn)
        return
    prompt = battle.prompt if battle.prompt is not None else turn.message if turn is not None else None
    if prompt is not None:
        _keep_item(tx, prompt, battle)
    tx.insert(
        "battles",
        {
            **battle.model_dump(exclude={"prompt"}),
            "item_id": item_id(prompt) if prompt is not None else None,
            "state": "open",
        },
    )
    if turn is not None:
        tx.insert("turns", turn.model_dump())


def _keep_item(tx: Transaction, prompt: str, battle: BattleRecord) -> None:
    known = tx.row("SELECT import_id FROM items WHERE id = ?", item_id(prompt))
    if known is None:
        tx.insert(
            "items",
            {
                "id": item_id(prompt),
                "text": prompt,
                "category": battle.category,
                "language": battle.language,
                "origin": battle.mode,
                "created_at": now(),
            },
        )
    elif known[0] is not None:
        # An import that is broken off takes its own items with it, but not this one any more.
        tx.write("UPDATE items SET import_id = NULL WHERE id = ?", item_id(prompt))


def _add_turn(tx: Transaction, turn: TurnRecord) -> None:
    require_battle(tx, turn.battle_id)
    known = tx.row(
        "SELECT message FROM turns WHERE battle_id = ? AND number = ?", turn.battle_id, turn.number
    )
    if known is None:
        tx.insert("turns", turn.model_dump())
    elif known[0] != turn.message:
        raise BadWrite(f"turn {turn.number} of battle {turn.battle_id} exists already, with another message")


def _record_generation(tx: Transaction, generation: GenerationRecord) -> None:
    require_battle(tx, generation.battle_id)
    if tx.row("SELECT 1 FROM generations WHERE id = ?", generation.id) is not None:
        return
    tx.insert(
        "generations",
        {
            **generation.model_dump(exclude={"prompt_log", "sampling"}),
            "prompt_log": json.dumps(generation.prompt_log, ensure_ascii=False),
            "sampling": json.dumps(generation.sampling, ensure_ascii=False),
        },
    )
    if generation.error_kind is not None:
        changed = tx.write(
            "UPDATE battles SET failed_side = ? WHERE id = ? AND failed_side IS NULL",
            generation.side,
            generation.battle_id,
        )
        if changed:
            exclude_counted_votes(tx, generation.battle_id, "failed_side")


def _set_state(tx: Transaction, payload: BattleStateChange) -> None:
    require_battle(tx, payload.battle_id)
    tx.write("UPDATE battles SET state = ? WHERE id = ?", payload.state, payload.battle_id)


def _register_voter(tx: Transaction, voter: VoterRecord) -> None:
    known = tx.row("SELECT consent_at FROM voters WHERE id = ?", voter.id)
    if known is None:
        tx.insert("voters", voter.model_dump())
    elif known[0] is None and voter.consent_at is not None:
        tx.write("UPDATE voters SET consent_at = ? WHERE id = ?", voter.consent_at, voter.id)


def _battle(tx: Transaction, payload: BattleId) -> StoredBattle | None:
    columns = [*(name for name in BattleRecord.model_fields if name != "prompt"), "state", "failed_side"]
    row = tx.row(
        f"SELECT {', '.join(columns)}, conversation_a, conversation_b, "  # noqa: S608
        f"(SELECT text FROM items WHERE items.id = battles.item_id) FROM battles WHERE id = ? AND {_VISIBLE}",
        payload.battle_id,
    )
    if row is None:
        return None
    *values, conversation_a, conversation_b, prompt = row
    fields = dict(zip(columns, values, strict=True))
    state, failed_side = fields.pop("state"), fields.pop("failed_side")
    return StoredBattle(
        battle=BattleRecord(**fields, prompt=prompt),
        state=state,
        failed_side=failed_side,
        turns=tuple(_records(tx, TurnRecord, "turns", payload.battle_id, "number")),
        generations=tuple(
            _records(tx, GenerationRecord, "generations", payload.battle_id, "turn, side, created_at")
        ),
        conversation_a=json.loads(conversation_a) if conversation_a else None,
        conversation_b=json.loads(conversation_b) if conversation_b else None,
    )


def _records(
    tx: Transaction, record: type[RecordT], table: str, battle_id: UUID, order: str
) -> list[RecordT]:
    columns = list(record.model_fields)
    rows = tx.rows(
        f"SELECT {', '.join(columns)} FROM {table} WHERE battle_id = ? ORDER BY {order}",  # noqa: S608
        battle_id,
    )
    return [record.model_validate(_decoded(dict(zip(columns, row, strict=True)))) for row in rows]


def _decoded(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: json.loads(value) if name in ("prompt_log", "sampling") else value
        for name, value in fields.items()
    }


CREATE_BATTLE = Operation("create_battle", NewBattle, None, _create)
ADD_TURN = Operation("add_turn", TurnRecord, None, _add_turn)
RECORD_GENERATION = Operation("record_generation", GenerationRecord, None, _record_generation)
SET_BATTLE_STATE = Operation("set_battle_state", BattleStateChange, None, _set_state)
REGISTER_VOTER = Operation("register_voter", VoterRecord, None, _register_voter)
BATTLE = Operation("battle", BattleId, StoredBattle | None, _battle, kind="read")
