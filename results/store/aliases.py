"""Aliases (`champion`): names that stand for one model version, switched atomically, with their history."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from pydantic import Field

from results.ids import new_id
from results.records import ModelVersion, Record, UtcTime, now
from results.store._models import VERSION_COLUMNS, audit_change, require_versions, version_of
from results.store._operations import Nothing, Operation
from results.store._transaction import Transaction, one
from results.store.errors import BadWrite
from results.store.roster import Rollback

if TYPE_CHECKING:
    from results.store._store import Store


NAME = r"^[^\s@/:][^@/:\n]{0,119}$"


class Alias(Record):
    """An alias and the version that it stands for now."""

    alias: str
    version: ModelVersion
    since: UtcTime


class AliasChange(Record):
    """One entry of an alias's history. `version` is None where it was removed; `undone` tells of a rollback."""

    alias: str
    number: int
    version: ModelVersion | None
    set_at: UtcTime
    undone: bool


class SetAlias(Record):
    """Let `alias` stand for a version, or for none."""

    alias: str = Field(pattern=NAME)
    version_key: int | None


class AliasName(Record):
    """The name of an alias; None for all of them."""

    alias: str | None = None


class Reference(Record):
    """A model's name, `name@number`, or an alias."""

    text: str


class Found(Record):
    """What a reference leads to. `on_roster` tells whether the model takes part now; `removed`, that it did and was
    taken off. `version` is None where nothing has this name."""

    version: ModelVersion | None
    kind: Literal["model", "version", "alias", "nothing"]
    on_roster: bool = False
    removed: bool = False


def set_alias(store: Store, alias: str, version_key: int) -> Alias:
    """Let the alias stand for a version from now on; readers see the old one or the new one, nothing between.

    Raises BadWrite where a model has this name, it is no name for an alias, or there is no such version.
    """
    if not re.fullmatch(NAME, alias):
        raise BadWrite(f"'{alias}' cannot be an alias: take up to 120 characters without '@', '/' or ':'")
    stored = store.perform(SET_ALIAS, SetAlias(alias=alias, version_key=version_key))
    if stored is None:
        raise BadWrite(f"the alias '{alias}' was removed by somebody else at the same moment")
    return stored


def remove_alias(store: Store, alias: str) -> None:
    """Remove an alias; its history stays. Nothing happens where there is none."""
    store.perform(SET_ALIAS, SetAlias(alias=alias, version_key=None))


def aliases(store: Store) -> list[Alias]:
    """All aliases, by name."""
    return store.perform(ALIASES, Nothing())


def alias_history(store: Store, alias: str | None = None) -> list[AliasChange]:
    """All that an alias (or each of them) has stood for, oldest first."""
    return store.perform(ALIAS_HISTORY, AliasName(alias=alias))


def rollback_alias(store: Store, alias: str, request_id: UUID | None = None) -> Alias:
    """Let the alias stand for what it stood for before. Raises BadWrite where there is nothing before."""
    return store.perform(ROLL_BACK_ALIAS, Rollback(name=alias, request_id=request_id or new_id()))


def find_version(store: Store, reference: str) -> Found:
    """What a name, `name@number` or alias leads to: of a model's name, the version on the roster, and where it never
    was there (or is no longer), its newest. One read, on one snapshot."""
    return store.perform(FIND_VERSION, Reference(text=reference))


def _set(tx: Transaction, payload: SetAlias) -> Alias | None:
    if payload.version_key is not None:
        require_versions(tx, payload.version_key)
        if tx.row("SELECT 1 FROM models WHERE name = ?", payload.alias):
            raise BadWrite(f"a model is named '{payload.alias}': choose another name for the alias")
    before = _current_key(tx, payload.alias)
    if before != payload.version_key:
        number = one(
            tx.row("SELECT coalesce(max(number), 0) + 1 FROM aliases WHERE alias = ?", payload.alias)
        )
        tx.insert(
            "aliases",
            {
                "alias": payload.alias,
                "number": number,
                "version_key": payload.version_key,
                "set_at": now(),
            },
        )
        audit_change(tx, "alias", payload.alias, "alias set", before, payload.version_key)
    return _alias(tx, payload.alias)


def _roll_back(tx: Transaction, payload: Rollback) -> Alias:
    if not tx.row(
        "SELECT 1 FROM aliases WHERE alias = ? AND undone_by = ?", payload.name, payload.request_id
    ):
        current = _current_key(tx, payload.name)
        before = tx.row(
            "SELECT number, version_key FROM aliases WHERE alias = ? AND undone_by IS NULL "
            "AND version_key IS NOT NULL AND version_key IS DISTINCT FROM ? ORDER BY number DESC LIMIT 1",
            payload.name,
            current,
        )
        if before is None:
            raise BadWrite(f"the alias '{payload.name}' has stood for nothing else before")
        tx.write(
            "UPDATE aliases SET undone_by = ? WHERE alias = ? AND number > ? AND undone_by IS NULL",
            payload.request_id,
            payload.name,
            before[0],
        )
        audit_change(tx, "alias", payload.name, "alias rollback", current, int(before[1]))
    found = _alias(tx, payload.name)
    if found is None:
        raise BadWrite(f"the alias '{payload.name}' stands for nothing now")
    return found


def _current_key(tx: Transaction, alias: str) -> int | None:
    row = tx.row(
        "SELECT version_key FROM aliases WHERE alias = ? AND undone_by IS NULL ORDER BY number DESC LIMIT 1",
        alias,
    )
    return None if row is None or row[0] is None else int(row[0])


def _alias(tx: Transaction, alias: str) -> Alias | None:
    return next((each for each in _list(tx, Nothing()) if each.alias == alias), None)


def _list(tx: Transaction, payload: Nothing) -> list[Alias]:
    rows = tx.rows(
        f"SELECT {VERSION_COLUMNS}, a.alias, a.set_at FROM aliases a "  # noqa: S608
        "JOIN (SELECT alias, max(number) AS number FROM aliases WHERE undone_by IS NULL GROUP BY alias) "
        "USING (alias, number) JOIN model_versions v ON v.version_key = a.version_key "
        "JOIN models m ON m.model_key = v.model_key ORDER BY a.alias"
    )
    return [Alias(alias=row[7], version=version_of(row[:7]), since=row[8]) for row in rows]


def _history(tx: Transaction, payload: AliasName) -> list[AliasChange]:
    rows = tx.rows(
        f"SELECT {VERSION_COLUMNS}, a.alias, a.number, a.set_at, a.undone_by IS NOT NULL FROM aliases a "  # noqa: S608
        "LEFT JOIN model_versions v ON v.version_key = a.version_key "
        "LEFT JOIN models m ON m.model_key = v.model_key "
        "WHERE ? IS NULL OR a.alias = ? ORDER BY a.alias, a.number",
        payload.alias,
        payload.alias,
    )
    return [
        AliasChange(
            alias=row[7],
            number=row[8],
            version=None if row[0] is None else version_of(row[:7]),
            set_at=row[9],
            undone=row[10],
        )
        for row in rows
    ]


def _find(tx: Transaction, payload: Reference) -> Found:
    name, at, digits = payload.text.rpartition("@")
    if at and digits.isascii() and digits.isdigit() and len(digits) < 10:
        version = _version(tx, "m.name = ? AND v.number = ?", name, int(digits))
        return _found(tx, "version", version)
    key = _current_key(tx, payload.text)
    if key is not None:
        return _found(tx, "alias", _version(tx, "v.version_key = ?", key))
    standing = tx.row(
        "SELECT version_key FROM roster JOIN models USING (model_key) WHERE name = ? AND undone_by IS NULL "
        "ORDER BY number DESC LIMIT 1",
        payload.text,
    )
    if standing is not None and standing[0] is not None:
        return _found(tx, "model", _version(tx, "v.version_key = ?", int(standing[0])))
    return _found(
        tx,
        "model",
        _version(tx, "m.name = ? ORDER BY v.number DESC LIMIT 1", payload.text),
        removed=standing is not None,
    )


def _found(
    tx: Transaction,
    kind: Literal["model", "version", "alias"],
    version: ModelVersion | None,
    removed: bool = False,
) -> Found:
    if version is None:
        return Found(version=None, kind="nothing")
    standing = tx.row(
        "SELECT r.version_key FROM roster r JOIN models m USING (model_key) WHERE m.name = ? "
        "AND r.undone_by IS NULL ORDER BY r.number DESC LIMIT 1",
        version.model,
    )
    on_roster = standing is not None and standing[0] is not None
    return Found(version=version, kind=kind, on_roster=on_roster, removed=removed)


def _version(tx: Transaction, condition: str, *params: object) -> ModelVersion | None:
    row = tx.row(
        f"SELECT {VERSION_COLUMNS} FROM model_versions v JOIN models m USING (model_key) WHERE {condition}",  # noqa: S608
        *params,
    )
    return None if row is None else version_of(row)


SET_ALIAS = Operation("set_alias", SetAlias, Alias | None, _set)
ROLL_BACK_ALIAS = Operation("roll_back_alias", Rollback, Alias, _roll_back)
ALIASES = Operation("aliases", Nothing, list[Alias], _list, kind="read")
ALIAS_HISTORY = Operation("alias_history", AliasName, list[AliasChange], _history, kind="read")
FIND_VERSION = Operation("find_version", Reference, Found, _find, kind="read")
