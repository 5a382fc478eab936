"""Making backups, once and on a schedule: for `arena db` and `arena serve`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from arena.cli._common import BadInput, WorkFailed, console

if TYPE_CHECKING:
    from results.store import Store

RETRY_SECONDS = 60.0
"""How soon a failed backup is tried again, where the schedule itself is not sooner."""


def back_up(store: Store, file: Path | None, keep: int | None) -> dict[str, Any]:
    """Copy the database to `file` (by default a new one in `backups`), and remove all but the newest `keep`.

    Raises `BadInput` where the file cannot be made there, `WorkFailed` where the copy failed.
    """
    from results.store import BadWrite, StoreError, new_backup_path, prune_backups

    target = file or new_backup_path(store.data_dir)
    started = time.monotonic()
    try:
        store.backup(target)
        size = target.stat().st_size
        removed = [] if keep is None else prune_backups(store.data_dir, keep)
    except BadWrite as error:
        raise BadInput(str(error)) from error
    except (StoreError, OSError) as error:
        raise WorkFailed(str(error)) from error
    return {
        "file": str(target),
        "bytes": size,
        "seconds": round(time.monotonic() - started, 3),
        "removed": [str(path) for path in removed],
    }


def tell_backup(made: dict[str, Any]) -> None:
    """Say on stderr what was made."""
    console.print(
        f"Backed up to {escape(made['file'])}: {made['bytes']:,} bytes in {made['seconds']:.1f} s"
        + (f"; {len(made['removed'])} older removed" if made["removed"] else ""),
        highlight=False,
    )


def keep_backing_up(
    store: Store,
    stop: threading.Event,
    every: float,
    keep: int | None,
    event: Callable[[dict[str, Any]], None] = lambda _: None,
) -> None:
    """Make a backup every `every` seconds until `stop` is set, tell of each, and call `event` with it too.

    One that fails is told and tried again sooner; the store goes on.
    """
    pause = every
    while not stop.wait(pause):
        pause = every
        try:
            made = back_up(store, None, keep)
        except (BadInput, WorkFailed) as error:
            # The next try may find the disk well.
            pause = min(pause, RETRY_SECONDS)
            event({"event": "backup failed", "error": str(error)})
            console.print(f"[bold red]no backup:[/] {escape(str(error))}", highlight=False)
        else:
            event({"event": "backup", **made})
            tell_backup(made)
