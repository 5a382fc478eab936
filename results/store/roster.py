"""The roster in the store: which version of each model takes part now, with its history."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from pydantic import Field

from results.ids import new_id
from results.records import ModelOwner, ModelVersion, ModelVersionRecord, Record, UtcTime, now
from results.store._models import VERSION_COLUMNS, audit_change, upsert_version, version_of
from results.store._operations import Nothing, Operation
from results.store._transaction import Row, Transaction, one
from results.store.errors import BadWrite

if TYPE_CHECKING:
    from results.store._store import Store

EMBEDDED = "embedded"
"""The origin of the models that come with Palaestra: they never take a name that somebody else gave or removed."""


class RosterEntry(Record):
    """A model of the roster. `owner` `file` means that only its `origin` (a settings file's path, or `serve` for
    its command line) changes it; `origin` is '' for the database's own entries."""

    version: ModelVersion
    owner: ModelOwner
    origin: str
    since: UtcTime


class Entering(Record):
    """Versions that take part from now on; with `whole`, they (and the models named in `keep`) are all that this
    origin has to name, and its other entries leave."""

    versions: list[ModelVersionRecord]
    owner: Literal["file", "user", "trainer"]
    origin: str = ""
    whole: bool = False
    keep: tuple[str, ...] = ()


class ModelName(Record):
    """The name of one model."""

    model: str


class Rollback(Record):
    """Go back to the version before; the same `request_id` again changes nothing."""

    name: str
    request_id: UUID = Field(default_factory=new_id)


def enter(
    store: Store,
    versions: Iterable[ModelVersionRecord],
    *,
    owner: Literal["user", "trainer"] = "user",
) -> list[RosterEntry]:
    """Put versions on the roster (a new digest becomes its model's version n+1), and give their entries.

    Raises BadWrite where a settings file owns the name, or an alias has it.
    """
    return store.perform(ENTER_ROSTER, Entering(versions=list(versions), owner=owner))


def replace_origin(
    store: Store, origin: str, versions: Iterable[ModelVersionRecord], keep: Sequence[str] = ()
) -> list[RosterEntry]:
    """Make `versions` (and the models named in `keep`, as they are) all that `origin` has on the roster.

    Gives the entries of this origin. A settings file takes a name over from whoever had it.
    """
    owner: Literal["file", "user"] = "user" if origin == EMBEDDED else "file"
    payload = Entering(versions=list(versions), owner=owner, origin=origin, whole=True, keep=tuple(keep))
    return store.perform(ENTER_ROSTER, payload)


def leave(store: Store, model: str) -> bool:
    """Take a model off the roster; its versions, battles and ratings stay. False where it was not on it.

    Raises BadWrite where a settings file owns the entry.
    """
    return store.perform(LEAVE_ROSTER, ModelName(model=model))


def entries(store: Store) -> list[RosterEntry]:
    """All models that take part now, by the order in which they first came."""
    return store.perform(ROSTER, Nothing())


def rollback(store: Store, model: str, request_id: UUID | None = None) -> RosterEntry:
    """Let the version take part that did before the current one. Raises BadWrite where there is none before, or a
    settings file owns the entry."""
    return store.perform(ROLL_BACK_ROSTER, Rollback(name=model, request_id=request_id or new_id()))


def _enter(tx: Transaction, payload: Entering) -> list[RosterEntry]:
    for version in payload.versions:
        _enter_one(tx, version, payload)
    names = {version.model for version in payload.versions}
    if payload.whole:
        for entry in _entries(tx):
            name = entry.version.model
            if entry.origin == payload.origin and name not in names and name not in payload.keep:
                _leave_as(tx, name, payload.owner, payload.origin)
        return [entry for entry in _entries(tx) if entry.origin == payload.origin]
    return [entry for entry in _entries(tx) if entry.version.model in names]


def _enter_one(tx: Transaction, version: ModelVersionRecord, payload: Entering) -> None:
    current = _current(tx, version.model)
    if payload.origin == EMBEDDED and current is not None and current[2] != EMBEDDED:
        taken, removed_by_a_user = current[0] is not None, current[2] == ""
        if taken or removed_by_a_user:
            return
    if payload.owner != "file" and current is not None and current[0] is not None and current[1] == "file":
        raise BadWrite(
            f"'{version.model}' is an entry of {_place(current[2])}: change it there, or take another name"
        )
    alias = tx.row(
        "SELECT arg_max(version_key, number) FROM aliases WHERE alias = ? AND undone_by IS NULL",
        version.model,
    )
    if alias is not None and alias[0] is not None:
        raise BadWrite(f"'{version.model}' is an alias: take another name, or remove the alias")
    ref = upsert_version(tx, version)
    if current is None or (ref.version_key, payload.owner, payload.origin) != tuple(current):
        _append(tx, version.model, ref.version_key, payload.owner, payload.origin)


def _leave(tx: Transaction, payload: ModelName) -> bool:
    current = _current(tx, payload.model)
    if current is None or current[0] is None:
        return False
    if current[1] == "file":
        raise BadWrite(f"'{payload.model}' is an entry of {_place(current[2])}: delete it there")
    _leave_as(tx, payload.model, current[1], "")
    return True


def _leave_as(tx: Transaction, model: str, owner: str, origin: str) -> None:
    _append(tx, model, None, owner, origin)


def _roll_back(tx: Transaction, payload: Rollback) -> RosterEntry:
    key = _model_key(tx, payload.name)
    if not tx.row("SELECT 1 FROM roster WHERE model_key = ? AND undone_by = ?", key, payload.request_id):
        current = _current(tx, payload.name)
        if current is not None and current[1] == "file" and current[0] is not None:
            raise BadWrite(f"'{payload.name}' is an entry of {_place(current[2])}: change it there")
        now_key = None if current is None else current[0]
        before = tx.row(
            "SELECT number, version_key FROM roster WHERE model_key = ? AND undone_by IS NULL "
            "AND version_key IS NOT NULL AND version_key IS DISTINCT FROM ? ORDER BY number DESC LIMIT 1",
            key,
            now_key,
        )
        if before is None:
            raise BadWrite(f"'{payload.name}' has no earlier version to go back to")
        tx.write(
            "UPDATE roster SET undone_by = ? WHERE model_key = ? AND number > ? AND undone_by IS NULL",
            payload.request_id,
            key,
            before[0],
        )
        audit_change(tx, "model", payload.name, "roster rollback", now_key, int(before[1]))
    return next(entry for entry in _entries(tx) if entry.version.model == payload.name)


def _entries(tx: Transaction) -> list[RosterEntry]:
    rows = tx.rows(
        f"SELECT {VERSION_COLUMNS}, r.owner, r.origin, r.set_at FROM ("  # noqa: S608
        "SELECT model_key, arg_max(struct_pack(k := version_key, o := owner, g := origin, t := set_at), number) "
        "AS c FROM roster WHERE undone_by IS NULL GROUP BY model_key"
        ") s, LATERAL (SELECT s.c.k AS version_key, s.c.o AS owner, s.c.g AS origin, s.c.t AS set_at) r "
        "JOIN model_versions v ON v.version_key = r.version_key JOIN models m ON m.model_key = v.model_key "
        "ORDER BY m.model_key"
    )
    return [
        RosterEntry(version=version_of(row[:7]), owner=row[7], origin=row[8], since=row[9]) for row in rows
    ]


def _list(tx: Transaction, payload: Nothing) -> list[RosterEntry]:
    return _entries(tx)


def _current(tx: Transaction, model: str) -> Row | None:
    """(version_key or None, owner, origin) of the model's current row; None where it never was on the roster."""
    return tx.row(
        "SELECT version_key, r.owner, origin FROM roster r JOIN models m USING (model_key) "
        "WHERE m.name = ? AND undone_by IS NULL ORDER BY r.number DESC LIMIT 1",
        model,
    )


def _append(tx: Transaction, model: str, version_key: int | None, owner: str, origin: str) -> None:
    key = _model_key(tx, model)
    before = _current(tx, model)
    number = one(tx.row("SELECT coalesce(max(number), 0) + 1 FROM roster WHERE model_key = ?", key))
    tx.insert(
        "roster",
        {
            "model_key": key,
            "number": number,
            "version_key": version_key,
            "owner": owner,
            "origin": origin,
            "set_at": now(),
        },
    )
    action = "roster leave" if version_key is None else "roster enter"
    audit_change(tx, "model", model, action, None if before is None else before[0], version_key)


def _model_key(tx: Transaction, model: str) -> int:
    row = tx.row("SELECT model_key FROM models WHERE name = ?", model)
    if row is None:
        raise BadWrite(f"there is no model '{model}'")
    return int(row[0])


def _place(origin: str) -> str:
    return "the arena that is being served (--model)" if origin == "serve" else origin


ENTER_ROSTER = Operation("enter_roster", Entering, list[RosterEntry], _enter)
LEAVE_ROSTER = Operation("leave_roster", ModelName, bool, _leave)
ROLL_BACK_ROSTER = Operation("roll_back_roster", Rollback, RosterEntry, _roll_back)
ROSTER = Operation("roster", Nothing, list[RosterEntry], _list, kind="read")
