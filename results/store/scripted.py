"""Battles made by a script: its answers as they come, and the battles formed of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import Field

from results.records import BattleRecord, GenerationRecord, Record, TurnRecord, UtcTime, now
from results.store import _battles
from results.store._operations import Operation
from results.store._transaction import Transaction

if TYPE_CHECKING:
    from results.store._store import Store


class ScriptRun(Record):
    """One `battles run`. `id` is v5 over what it was asked for; `config` says it in words."""

    id: UUID
    config: dict[str, Any]
    created_at: UtcTime = Field(default_factory=now)


class ScriptAnswer(Record):
    """One model version's answers to all turns of one prompt.

    `messages` are the user's messages; `generations` holds, a turn each, the fields of a `GenerationRecord`
    that an answer has by itself (text, counts, prompt, timings).
    """

    id: UUID
    version_key: int
    sample: int = Field(ge=0)
    messages: tuple[str, ...] = Field(min_length=1)
    generations: tuple[dict[str, Any], ...] = Field(min_length=1)
    created_at: UtcTime = Field(default_factory=now)


class ScriptBattle(Record):
    """A finished battle of a script, with its turns and answers, and the prompt's reference answers."""

    run_id: UUID
    battle: BattleRecord
    turns: tuple[TurnRecord, ...] = Field(min_length=1)
    generations: tuple[GenerationRecord, ...]
    prompt_id: str
    sample: int
    reference: tuple[str, ...] | None = None


class _Runs(Record):
    run: ScriptRun


class _Answers(Record):
    answers: list[ScriptAnswer]


class _ScriptBattles(Record):
    battles: list[ScriptBattle]


class _RunId(Record):
    run_id: UUID


class _Wanted(Record):
    ids: list[UUID]


def _begin(tx: Transaction, payload: _Runs) -> None:
    if tx.row("SELECT 1 FROM script_runs WHERE id = ?", payload.run.id) is None:
        tx.insert(
            "script_runs",
            {
                **payload.run.model_dump(exclude={"config"}),
                "config": json.dumps(payload.run.config, ensure_ascii=False),
                "state": "running",
            },
        )


def _finish(tx: Transaction, payload: _RunId) -> None:
    tx.write(
        "UPDATE script_runs SET state = 'done', finished_at = ? WHERE id = ? AND state <> 'done'",
        now(),
        payload.run_id,
    )


def _keep_answers(tx: Transaction, payload: _Answers) -> None:
    for answer in payload.answers:
        if tx.row("SELECT 1 FROM script_answers WHERE id = ?", answer.id) is None:
            tx.insert(
                "script_answers",
                {
                    **answer.model_dump(exclude={"messages", "generations"}),
                    "messages": json.dumps(answer.messages, ensure_ascii=False),
                    "generations": json.dumps(answer.generations, ensure_ascii=False),
                },
            )


def _known(tx: Transaction, payload: _Wanted) -> list[ScriptAnswer]:
    rows = tx.rows(
        "SELECT id, version_key, sample, messages, generations, created_at FROM script_answers "
        "WHERE id IN (SELECT unnest(?::UUID[]))",
        payload.ids,
    )
    return [
        ScriptAnswer(
            id=id_, version_key=key, sample=sample, messages=tuple(json.loads(messages)),
            generations=tuple(json.loads(generations)), created_at=created_at,
        )
        for id_, key, sample, messages, generations, created_at in rows
    ]  # fmt: skip


def _keep_battles(tx: Transaction, payload: _ScriptBattles) -> int:
    """The number of battles that were not there before."""
    added = 0
    for each in payload.battles:
        battle = each.battle.id
        if tx.row("SELECT 1 FROM battles WHERE id = ?", battle) is None:
            _battles.CREATE_BATTLE.run(tx, _battles.NewBattle(battle=each.battle, first_turn=each.turns[0]))
            for turn in each.turns[1:]:
                _battles.ADD_TURN.run(tx, turn)
            for generation in each.generations:
                _battles.RECORD_GENERATION.run(tx, generation)
            tx.write("UPDATE battles SET state = 'done' WHERE id = ?", battle)
            added += 1
        row = tx.row("SELECT 1 FROM script_battles WHERE run_id = ? AND battle_id = ?", each.run_id, battle)
        if row is None:
            reference = None if each.reference is None else json.dumps(each.reference, ensure_ascii=False)
            tx.insert(
                "script_battles",
                {
                    "run_id": each.run_id,
                    "battle_id": battle,
                    "prompt_name": each.prompt_id,
                    "sample": each.sample,
                    "reference": reference,
                },
            )
    return added


BEGIN_SCRIPT_RUN = Operation("begin_script_run", _Runs, None, _begin)
FINISH_SCRIPT_RUN = Operation("finish_script_run", _RunId, None, _finish)
RECORD_SCRIPT_ANSWERS = Operation("record_script_answers", _Answers, None, _keep_answers)
SCRIPT_ANSWERS = Operation("script_answers", _Wanted, list[ScriptAnswer], _known, kind="read")
RECORD_SCRIPT_BATTLES = Operation("record_script_battles", _ScriptBattles, int, _keep_battles)


def begin_script_run(store: Store, run: ScriptRun) -> None:
    """Make a run known; one that is known stays as it is."""
    store.perform(BEGIN_SCRIPT_RUN, _Runs(run=run))


def finish_script_run(store: Store, run_id: UUID) -> None:
    """Mark a run as done."""
    store.perform(FINISH_SCRIPT_RUN, _RunId(run_id=run_id))


def record_answers(store: Store, answers: list[ScriptAnswer]) -> None:
    """Store answers; those that are known stay as they are."""
    store.perform(RECORD_SCRIPT_ANSWERS, _Answers(answers=answers))


def known_answers(store: Store, ids: list[UUID]) -> dict[UUID, ScriptAnswer]:
    """Those of the answers that are stored, by id."""
    return {answer.id: answer for answer in store.perform(SCRIPT_ANSWERS, _Wanted(ids=ids))}


def record_script_battles(store: Store, battles: list[ScriptBattle]) -> int:
    """Store whole battles, each complete or not at all; returns how many are new.

    They are done battles of mode `script`, on which people can vote and judges can judge.
    """
    return store.perform(RECORD_SCRIPT_BATTLES, _ScriptBattles(battles=battles))
