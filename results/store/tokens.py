"""Bearer tokens as the store keeps them: names, scopes, hashes of secrets, never a secret."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal
from uuid import UUID

from pydantic import Field

from results.records import Record, UtcTime, now
from results.store._audit import note
from results.store._operations import Nothing, Operation
from results.store._transaction import Transaction
from results.store.errors import BadWrite

if TYPE_CHECKING:
    from results.store._store import Store

Scope = Literal["api", "operator"]


class TokenRecord(Record):
    """One token. `secret_sha256` is the hash (hex) of its secret; times are null where they do not apply."""

    id: UUID
    name: str = Field(min_length=1, max_length=80)
    scope: Scope = "api"
    secret_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    created_at: UtcTime = Field(default_factory=now)
    expires_at: UtcTime | None = None
    revoked_at: UtcTime | None = None
    last_used_at: UtcTime | None = None

    @property
    def state(self) -> Literal["active", "expired", "revoked"]:
        """Whether the token opens anything now."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now() else "active"


class _TokenId(Record):
    id: UUID


class _TokenTime(Record):
    id: UUID
    time: UtcTime = Field(default_factory=now)


_COLUMNS = tuple(TokenRecord.model_fields)
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM tokens"  # noqa: S608


def _record(row: tuple[object, ...]) -> TokenRecord:
    return TokenRecord.model_validate(dict(zip(_COLUMNS, row, strict=True)))


def _add(tx: Transaction, token: TokenRecord) -> None:
    known = [_record(row) for row in tx.rows(f"{_SELECT} WHERE id = ? OR name = ?", token.id, token.name)]
    if any(each.id == token.id for each in known):
        return
    if any(each.state == "active" for each in known):
        raise BadWrite(f"there is a token named '{token.name}' already: revoke it, or choose another name")
    tx.insert("tokens", token.model_dump())
    note(tx, "token create", token.id, {}, {"token": token.name})


def _one(tx: Transaction, asked: _TokenId) -> TokenRecord | None:
    row = tx.row(f"{_SELECT} WHERE id = ?", asked.id)
    return None if row is None else _record(row)


def _all(tx: Transaction, asked: Nothing) -> list[TokenRecord]:
    return [_record(row) for row in tx.rows(f"{_SELECT} ORDER BY created_at, name")]


def _revoke(tx: Transaction, asked: _TokenTime) -> TokenRecord:
    revoked = tx.write(
        "UPDATE tokens SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", asked.time, asked.id
    )
    found = _one(tx, _TokenId(id=asked.id))
    if found is None:
        raise BadWrite(f"there is no token {asked.id}")
    if revoked:
        note(tx, "token revoke", asked.id, {"token": found.name}, {})
    return found


def _touch(tx: Transaction, asked: _TokenTime) -> None:
    tx.write(
        "UPDATE tokens SET last_used_at = ? WHERE id = ? AND (last_used_at IS NULL OR last_used_at < ?)",
        asked.time, asked.id, asked.time,
    )  # fmt: skip


ADD_TOKEN = Operation("add_token", TokenRecord, None, _add)
TOKEN = Operation("token", _TokenId, TokenRecord | None, _one, kind="read")
TOKENS = Operation("tokens", Nothing, list[TokenRecord], _all, kind="read")
REVOKE_TOKEN = Operation("revoke_token", _TokenTime, TokenRecord, _revoke)
TOUCH_TOKEN = Operation("touch_token", _TokenTime, None, _touch)


def add_token(store: Store, token: TokenRecord) -> None:
    """Keep a new token. Raises BadWrite where an active one has its name."""
    store.perform(ADD_TOKEN, token)


def token(store: Store, token_id: UUID) -> TokenRecord | None:
    """The token of that id, in whatever state."""
    return store.perform(TOKEN, _TokenId(id=token_id))


def tokens(store: Store) -> list[TokenRecord]:
    """All tokens that were ever made, oldest first."""
    return store.perform(TOKENS, Nothing())


def revoke_token(store: Store, token_id: UUID) -> TokenRecord:
    """End a token for good; it is refused from the next request on. Raises BadWrite for an unknown one."""
    return store.perform(REVOKE_TOKEN, _TokenTime(id=token_id))


def touch_token(store: Store, token_id: UUID) -> None:
    """Note that the token was used now."""
    store.perform(TOUCH_TOKEN, _TokenTime(id=token_id))
