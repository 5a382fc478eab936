"""Ids of rows. Whoever writes makes the id, so that a write whose answer was lost can be sent again
under it."""

from __future__ import annotations

import hashlib
from uuid import UUID, uuid5

from uuid_utils import compat

NAMESPACE = UUID("6a9f5f2e-3d0b-5f6f-9a51-70616c616573")


def new_id() -> UUID:
    """A new UUID version 7: ids made later sort later, which keeps key lookups in one part of the table."""
    return compat.uuid7()


def named_id(kind: str, *parts: str) -> UUID:
    """A UUID version 5 of `kind` and `parts`: the same parts give the same id, on every machine.

    Parts are length-prefixed before hashing, so `("ab", "c")` and `("a", "bc")` differ.
    """
    return uuid5(NAMESPACE, "".join(f"{len(part)}:{part}" for part in (kind, *parts)))


def vote_id(battle_id: UUID, voter_id: UUID) -> UUID:
    """The id of a voter's one vote on a battle."""
    return named_id("vote", str(battle_id), str(voter_id))


def item_id(text: str) -> UUID:
    """The id of an item: the first 128 bits of the SHA-256 of its text (UTF-8), which SQL can compute as
    well."""
    return UUID(bytes=hashlib.sha256(text.encode()).digest()[:16])
