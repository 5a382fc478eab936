"""What can go wrong with the store. Every message is for people: what was wrong, where, and what to do."""

from __future__ import annotations


class StoreError(Exception):
    """Base of all errors of the store. Unless a subclass says otherwise, nothing was written."""


class BadWrite(StoreError):
    """The write contradicts what is stored (an unknown battle, another message under the same turn)."""


class KnownRows(BadWrite):
    """Rows that were sent as new are stored already, or twice in what was sent; nothing was written."""


class VoteClosed(BadWrite):
    """The vote stands: the time within which it could be changed or withdrawn is over."""


class BadQuery(StoreError):
    """The query is not one read-only SELECT, or DuckDB refused it."""


class StoreBusy(StoreError):
    """The store cannot answer now; nothing was written. Trying again later is safe."""


class StoreUnknownOutcome(StoreError):
    """Nobody can say whether the write was stored. Sending it again under the same id is safe."""


class StoreTooNew(StoreError):
    """The database was made by a newer Palaestra than this one."""


class StoreCorrupt(StoreError):
    """The database file or its write-ahead log cannot be read."""


class StoreReadOnly(StoreError):
    """The data directory, or the database in it, cannot be written."""


class ReservationRefused(StoreError):
    """More memory, GPU memory or cores than this machine has in all: waiting would not help."""


class ReservationTimedOut(StoreError):
    """What was waited for did not become free in time, or the wait was cancelled. Nothing is held."""


class StoreClosed(StoreError):
    """This `Store` was closed, or was inherited by a forked process; open the store again."""


BY_NAME: dict[str, type[StoreError]] = {
    error.__name__: error
    for error in (
        StoreError, BadWrite, KnownRows, VoteClosed, BadQuery, StoreBusy, StoreUnknownOutcome, StoreTooNew,
        StoreCorrupt, StoreReadOnly, StoreClosed, ReservationRefused, ReservationTimedOut,
    )
}  # fmt: skip
