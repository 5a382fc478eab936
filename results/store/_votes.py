"""Operations on votes: cast, change, withdraw."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pydantic import Field

from results.ids import new_id, vote_id
from results.records import Record, UtcTime, VoteOutcome, VoteRecord, now
from results.store._counting import Counted, count
from results.store._operations import Operation
from results.store._transaction import Transaction
from results.store.cells import cell_of
from results.store.errors import BadWrite, VoteClosed

CHANGE_WINDOW = timedelta(seconds=10)


class Withdrawal(Record):
    """A voter takes a vote back."""

    battle_id: UUID
    voter_id: UUID
    request_id: UUID
    time: UtcTime = Field(default_factory=now)


class VoteId(Record):
    """Whose vote on which battle."""

    battle_id: UUID
    voter_id: UUID


class _Vote(Record):
    """A stored vote, as far as changing it needs."""

    id: UUID
    request_id: UUID | None
    verdict: Any
    version_a: int
    version_b: int
    category: str
    language: str
    excluded: str | None
    time: UtcTime
    changed_at: UtcTime

    @property
    def where(self) -> Counted:
        return Counted(self.version_a, self.version_b, self.category, self.language)

    @property
    def outcome(self) -> VoteOutcome:
        return VoteOutcome(
            vote_id=self.id, verdict=self.verdict, counted=self.excluded is None, excluded=self.excluded
        )

    def state(self) -> str:
        return json.dumps({"verdict": self.verdict, "excluded": self.excluded})


def _stored(tx: Transaction, battle_id: UUID, voter_id: UUID) -> _Vote | None:
    columns = list(_Vote.model_fields)
    row = tx.row(
        f"SELECT {', '.join(columns)} FROM votes WHERE id = ?",  # noqa: S608
        vote_id(battle_id, voter_id),
    )
    return None if row is None else _Vote.model_validate(dict(zip(columns, row, strict=True)))


def _is_settled(tx: Transaction, vote: _Vote, request_id: UUID, time: datetime) -> bool:
    """Whether a request was applied before (it is sent again when an answer was lost), or is overtaken by a
    later one."""
    if request_id == vote.request_id or time < vote.changed_at:
        return True
    return (
        tx.row(
            "SELECT 1 FROM audit WHERE entity_id = ? AND (request_id = ? OR earlier_request_id = ?)",
            vote.id, request_id, request_id,
        )
        is not None
    )  # fmt: skip


def _require_open(vote: _Vote, time: datetime) -> None:
    if time - vote.time > CHANGE_WINDOW:
        raise VoteClosed(
            f"the vote {vote.id} was cast at {vote.time:%H:%M:%S} UTC and stands: it could be changed for "
            f"{CHANGE_WINDOW.total_seconds():.0f} seconds."
        )


def _audit(tx: Transaction, action: str, vote: _Vote, request_id: UUID, time: datetime, after: str) -> None:
    tx.insert(
        "audit",
        {
            "id": new_id(),
            "time": time,
            "action": action,
            "entity_id": vote.id,
            "request_id": request_id,
            "earlier_request_id": vote.request_id,
            "before": vote.state(),
            "after": after,
        },
    )


def _record_vote(tx: Transaction, vote: VoteRecord) -> VoteOutcome:
    stored = _stored(tx, vote.battle_id, vote.voter_id)
    if stored is None:
        return _cast(tx, vote)
    if _is_settled(tx, stored, vote.request_id, vote.time):
        return stored.outcome
    if stored.excluded != "withdrawn":
        _require_open(stored, vote.time)
    return _replace(tx, stored, vote)


def _failed(tx: Transaction, battle_id: UUID) -> str | None:
    row = tx.row("SELECT failed_side FROM battles WHERE id = ?", battle_id)
    return "failed_side" if row is not None and row[0] is not None else None


def _cast(tx: Transaction, vote: VoteRecord) -> VoteOutcome:
    battle = tx.row(
        "SELECT version_a, version_b, category, language, selection_probability, failed_side "
        "FROM battles WHERE id = ?",
        vote.battle_id,
    )
    if battle is None:
        raise BadWrite(f"there is no battle {vote.battle_id} to vote on")
    if tx.row("SELECT 1 FROM voters WHERE id = ?", vote.voter_id) is None:
        raise BadWrite(f"the voter {vote.voter_id} is not registered: register the voter first")
    version_a, version_b, category, language, probability, failed_side = battle
    stored_id, excluded = vote_id(vote.battle_id, vote.voter_id), "failed_side" if failed_side else None
    tx.insert(
        "votes",
        {
            "id": stored_id,
            "battle_id": vote.battle_id,
            "voter_id": vote.voter_id,
            "request_id": vote.request_id,
            "verdict": vote.verdict,
            "version_a": version_a,
            "version_b": version_b,
            "category": category,
            "language": language,
            "selection_probability": probability,
            "excluded": excluded,
            "cell": cell_of(version_a, version_b, vote.verdict) if excluded is None else None,
            "seq": tx.take_seq(),
            "time": vote.time,
            "changed_at": vote.time,
            "mirrored": vote.mirrored or None,
        },
    )
    if excluded is None:
        count(tx, Counted(version_a, version_b, category, language), vote.verdict, +1)
    return VoteOutcome(vote_id=stored_id, verdict=vote.verdict, counted=excluded is None, excluded=excluded)


def _replace(tx: Transaction, stored: _Vote, vote: VoteRecord) -> VoteOutcome:
    """A changed verdict keeps its place in time; a vote after a withdrawal is a new one and takes a new
    place."""
    again = stored.excluded == "withdrawn"
    excluded = _failed(tx, vote.battle_id) if again else stored.excluded
    after = json.dumps({"verdict": vote.verdict, "excluded": excluded})
    _audit(tx, "vote again" if again else "change vote", stored, vote.request_id, vote.time, after)
    if stored.excluded is None:
        count(tx, stored.where, stored.verdict, -1)
    if excluded is None:
        count(tx, stored.where, vote.verdict, +1)
    cell = cell_of(stored.version_a, stored.version_b, vote.verdict) if excluded is None else None
    tx.write(
        "UPDATE votes SET verdict = ?, request_id = ?, excluded = ?, cell = ?, changed_at = ? WHERE id = ?",
        vote.verdict, vote.request_id, excluded, cell, vote.time, stored.id,
    )  # fmt: skip
    if again:
        tx.write("UPDATE votes SET time = ?, seq = ? WHERE id = ?", vote.time, tx.take_seq(), stored.id)
    return VoteOutcome(vote_id=stored.id, verdict=vote.verdict, counted=excluded is None, excluded=excluded)


def _withdraw(tx: Transaction, withdrawal: Withdrawal) -> None:
    stored = _stored(tx, withdrawal.battle_id, withdrawal.voter_id)
    if stored is None:
        raise BadWrite(
            f"the voter {withdrawal.voter_id} has no vote on battle {withdrawal.battle_id} to withdraw"
        )
    if stored.excluded == "withdrawn" or _is_settled(tx, stored, withdrawal.request_id, withdrawal.time):
        return
    _require_open(stored, withdrawal.time)
    after = json.dumps({"verdict": stored.verdict, "excluded": "withdrawn"})
    _audit(tx, "withdraw vote", stored, withdrawal.request_id, withdrawal.time, after)
    if stored.excluded is None:
        count(tx, stored.where, stored.verdict, -1)
    tx.write(
        "UPDATE votes SET excluded = 'withdrawn', cell = NULL, request_id = ?, changed_at = ? WHERE id = ?",
        withdrawal.request_id, withdrawal.time, stored.id,
    )  # fmt: skip


def _vote(tx: Transaction, payload: VoteId) -> VoteOutcome | None:
    stored = _stored(tx, payload.battle_id, payload.voter_id)
    return None if stored is None else stored.outcome


RECORD_VOTE = Operation("record_vote", VoteRecord, VoteOutcome, _record_vote)
WITHDRAW_VOTE = Operation("withdraw_vote", Withdrawal, None, _withdraw)
VOTE = Operation("vote", VoteId, VoteOutcome | None, _vote, kind="read")
