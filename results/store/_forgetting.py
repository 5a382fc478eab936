"""Forgetting what voters gave: votes, the conversations they began, and who they are."""

from __future__ import annotations

import json
from uuid import UUID

from pydantic import Field

from results.ids import new_id
from results.records import Record, UtcTime, now
from results.store._operations import Operation
from results.store._transaction import Transaction, one

_GONE = "(SELECT id FROM old_battles WHERE id NOT IN (SELECT id FROM kept_battles))"
_DONE = "(import_id IS NULL OR import_id IN (SELECT i.id FROM imports i WHERE i.state = 'done'))"


class ForgetVoter(Record):
    """Whom to forget. With `keep_verdicts` the votes stay, without anything that leads to the voter."""

    voter_id: UUID
    keep_verdicts: bool = False
    dry_run: bool = False
    time: UtcTime = Field(default_factory=now)


class ForgetOlder(Record):
    """Forget what voters of this arena (not of imports) gave before `before`."""

    before: UtcTime
    keep_verdicts: bool = False
    dry_run: bool = False
    time: UtcTime = Field(default_factory=now)


class Forgotten(Record):
    """What was removed (`votes` with `keep_verdicts`: made anonymous). `battles` counts whole battles,
    `emptied_battles` those of which only who met whom is left, because other verdicts refer to them."""

    voters: int
    votes: int
    battles: int
    emptied_battles: int
    turns: int
    generations: int
    prompts: int
    audit_rows: int

    @property
    def is_empty(self) -> bool:
        """Whether there was nothing to forget."""
        return not any(self.model_dump().values())


def _forget_voter(tx: Transaction, asked: ForgetVoter) -> Forgotten:
    tx.write(
        "CREATE TEMP TABLE old_votes AS SELECT id, battle_id FROM votes WHERE voter_id = ?", asked.voter_id
    )
    # An imported battle tells nobody who began it: where its only votes are the voter's, so was its prompt.
    tx.write(
        "CREATE TEMP TABLE old_battles AS SELECT id, item_id FROM battles WHERE voter_id = ? "
        "OR (mode = 'import' AND id IN (SELECT battle_id FROM old_votes) AND id NOT IN "
        "(SELECT battle_id FROM votes WHERE voter_id IS DISTINCT FROM ?) "
        "AND id NOT IN (SELECT battle_id FROM judgments))",
        asked.voter_id,
        asked.voter_id,
    )
    tx.write("CREATE TEMP TABLE old_voters AS SELECT id FROM voters WHERE id = ?", asked.voter_id)
    return _forget(tx, "forget voter", asked.keep_verdicts, asked.dry_run, asked.time)


def _forget_older(tx: Transaction, asked: ForgetOlder) -> Forgotten:
    tx.write(
        "CREATE TEMP TABLE old_votes AS SELECT id, battle_id FROM votes "
        "WHERE import_id IS NULL AND voter_id IS NOT NULL AND time < ?",
        asked.before,
    )
    tx.write(
        "CREATE TEMP TABLE old_battles AS SELECT id, item_id FROM battles "
        "WHERE import_id IS NULL AND voter_id IS NOT NULL AND created_at < ?",
        asked.before,
    )
    tx.write(
        "CREATE TEMP TABLE old_voters AS SELECT id FROM voters WHERE import_id IS NULL AND created_at < ? "
        "AND id NOT IN (SELECT voter_id FROM votes WHERE voter_id IS NOT NULL "
        "AND id NOT IN (SELECT id FROM old_votes)) "
        "AND id NOT IN (SELECT voter_id FROM battles WHERE voter_id IS NOT NULL "
        "AND id NOT IN (SELECT id FROM old_battles))",
        asked.before,
    )
    return _forget(tx, "forget older", asked.keep_verdicts, asked.dry_run, asked.time)


def _forget(tx: Transaction, action: str, keep_verdicts: bool, dry_run: bool, time: UtcTime) -> Forgotten:
    """Forget the rows that the temporary tables name, and drop these."""
    staying = "false" if keep_verdicts else "id IN (SELECT id FROM old_votes)"
    tx.write(
        "CREATE TEMP TABLE kept_battles AS SELECT id FROM old_battles WHERE "  # noqa: S608
        f"id IN (SELECT battle_id FROM votes WHERE NOT ({staying})) "
        "OR id IN (SELECT battle_id FROM judgments)"
    )
    tx.write(
        "CREATE TEMP TABLE old_items AS SELECT DISTINCT item_id AS id FROM old_battles "
        "JOIN items ON items.id = item_id "
        "WHERE origin IN ('battle', 'named', 'import') AND NOT held_out AND item_id NOT IN "
        "(SELECT item_id FROM battles WHERE item_id IS NOT NULL AND id NOT IN (SELECT id FROM old_battles))"
    )
    forgotten = Forgotten(
        voters=_count(tx, "old_voters"),
        votes=_count(tx, "old_votes"),
        battles=_count(tx, "old_battles") - _count(tx, "kept_battles"),
        emptied_battles=_count(tx, "kept_battles"),
        turns=_count(tx, "turns WHERE battle_id IN (SELECT id FROM old_battles)"),
        generations=_count(tx, "generations WHERE battle_id IN (SELECT id FROM old_battles)"),
        prompts=_count(tx, "old_items"),
        audit_rows=_count(tx, "audit WHERE entity_id IN (SELECT id FROM old_votes)"),
    )
    if not dry_run and not forgotten.is_empty:
        _apply(tx, keep_verdicts)
        # Who was forgotten must not be found here: the row's entity is a number of its own.
        tx.insert(
            "audit",
            {
                "id": new_id(),
                "time": time,
                "action": action,
                "entity_id": new_id(),
                "before": json.dumps({"keep_verdicts": keep_verdicts}),
                "after": forgotten.model_dump_json(),
            },
        )
    for table in ("old_votes", "old_battles", "old_voters", "kept_battles", "old_items"):
        tx.write(f"DROP TABLE {table}")
    return forgotten


def _apply(tx: Transaction, keep_verdicts: bool) -> None:
    if keep_verdicts:
        # A vote's id is made of its battle's and its voter's, so it would still lead to the voter.
        tx.write(
            "UPDATE votes SET id = uuid(), voter_id = NULL, request_id = NULL WHERE id IN (SELECT id FROM old_votes)"
        )
    else:
        tx.write(
            f"""
            UPDATE pair_counts p SET n = p.n - d.n FROM (
                SELECT version_a, version_b, category, language, verdict, count(*) AS n FROM votes
                WHERE id IN (SELECT id FROM old_votes) AND excluded IS NULL AND {_DONE} GROUP BY ALL
            ) d
            WHERE p.version_a = d.version_a AND p.version_b = d.version_b AND p.category = d.category
              AND p.language = d.language AND p.verdict = d.verdict AND p.source = 'human' AND p.judge = ''
            """  # noqa: S608
        )
        tx.write("DELETE FROM votes WHERE id IN (SELECT id FROM old_votes)")
    for table, column in (
        ("audit", "entity_id IN (SELECT id FROM old_votes)"),
        ("turns", "battle_id IN (SELECT id FROM old_battles)"),
        ("generations", "battle_id IN (SELECT id FROM old_battles)"),
        # A judge's replies quote what they judge; grades and outcomes are numbers, and stay with their battle.
        ("judge_calls", "battle_id IN (SELECT id FROM old_battles)"),
        ("rubric_grades", f"battle_id IN {_GONE}"),
        ("judge_outcomes", f"battle_id IN {_GONE}"),
        ("script_battles", f"battle_id IN {_GONE}"),
        ("items", "id IN (SELECT id FROM old_items)"),
        ("battles", "id IN (SELECT id FROM old_battles) AND id NOT IN (SELECT id FROM kept_battles)"),
        ("voters", "id IN (SELECT id FROM old_voters)"),
    ):
        tx.write(f"DELETE FROM {table} WHERE {column}")  # noqa: S608
    tx.write(
        "UPDATE battles SET voter_id = NULL, item_id = NULL, conversation_a = NULL, conversation_b = NULL "
        "WHERE id IN (SELECT id FROM kept_battles)"
    )


def _count(tx: Transaction, what: str) -> int:
    return int(one(tx.row(f"SELECT count(*) FROM {what}")))  # noqa: S608


FORGET_VOTER = Operation(
    "forget_voter", ForgetVoter, Forgotten, _forget_voter, kind="write alone", timeout=600
)
FORGET_OLDER = Operation(
    "forget_older", ForgetOlder, Forgotten, _forget_older, kind="write alone", timeout=600
)
