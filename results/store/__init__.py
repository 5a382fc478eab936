"""The store: one DuckDB database in the data directory, shared by all processes of one machine.

`open_store(data_dir)` gives a `Store`. Whoever opens it first owns the database file and serves the others.
"""

from results.store._backups import (
    Compacted,
    Restored,
    compact,
    list_backups,
    new_backup_path,
    prune_backups,
    restore_backup,
)
from results.store._forgetting import Forgotten
from results.store._imports import CHUNK_ROWS, IMPORT_SCHEMA
from results.store._opening import Settings
from results.store._screening import ScreeningOutcome
from results.store._store import Store, open_store
from results.store._votes import CHANGE_WINDOW
from results.store.errors import (
    BadQuery,
    BadWrite,
    ReservationRefused,
    ReservationTimedOut,
    StoreBusy,
    StoreClosed,
    StoreCorrupt,
    StoreError,
    StoreReadOnly,
    StoreTooNew,
    StoreUnknownOutcome,
    VoteClosed,
)

__all__ = [
    "CHANGE_WINDOW",
    "CHUNK_ROWS",
    "IMPORT_SCHEMA",
    "BadQuery",
    "BadWrite",
    "Compacted",
    "Forgotten",
    "ReservationRefused",
    "ReservationTimedOut",
    "Restored",
    "ScreeningOutcome",
    "Settings",
    "Store",
    "StoreBusy",
    "StoreClosed",
    "StoreCorrupt",
    "StoreError",
    "StoreReadOnly",
    "StoreTooNew",
    "StoreUnknownOutcome",
    "VoteClosed",
    "compact",
    "list_backups",
    "new_backup_path",
    "open_store",
    "prune_backups",
    "restore_backup",
]
