"""Backups as files: their names, how many are kept, and putting one (or a rewritten copy) in the database's place.

Restoring and rewriting hold the store's lock themselves: no owner may live meanwhile.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import duckdb
from filelock import FileLock, Timeout

from results.records import Record, now
from results.store import _schema, _upkeep
from results.store._endpoint import Endpoint, Files
from results.store._opening import (
    Settings,
    connect,
    copy_database,
    explain_open_failure,
    log_file,
    sync_file,
    sync_folder,
)
from results.store._transaction import Transaction
from results.store.errors import BadWrite, StoreBusy, StoreCorrupt, StoreReadOnly, StoreTooNew

_STAMP = "%Y%m%dT%H%M%SZ"
_AUTOMATIC = re.compile(r"palaestra-\d{8}T\d{6}Z(-\d+)?\.duckdb")


class Restored(Record):
    """What `restore_backup` did. `kept_aside` is the database that was replaced; `problems` were found in the
    backup (only with `force` can there be any), `upgrades_from` is its schema where the next opening will
    upgrade it."""

    backup: Path
    database: Path
    kept_aside: Path | None
    problems: tuple[str, ...]
    upgrades_from: int | None


class Compacted(Record):
    """The database's size in bytes before and after it was rewritten."""

    before: int
    after: int


def new_backup_path(data_dir: Path, at: datetime | None = None) -> Path:
    """Where a backup made at `at` (now) goes unless its maker names a place: a free name in `backups`."""
    folder = Files(data_dir).backups
    stem = f"palaestra-{(at or now()).strftime(_STAMP)}"
    names = (f"{stem}{suffix}.duckdb" for suffix in ("", *(f"-{n}" for n in range(2, 10_000))))
    return next(folder / name for name in names if not (folder / name).exists())


def list_backups(data_dir: Path) -> list[Path]:
    """The backups with automatic names in `backups`, oldest first."""
    folder = Files(data_dir).backups
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _AUTOMATIC.fullmatch(path.name)]
    return sorted(found, key=lambda path: (path.stem[:26], len(path.stem), path.stem))


def prune_backups(data_dir: Path, keep: int) -> list[Path]:
    """Remove all but the newest `keep` (at least 1) of `list_backups`; the paths removed. Backups with other
    names, and those made before upgrades, are never touched."""
    if keep < 1:
        raise BadWrite(f"at least one backup must be kept, not {keep}")
    old = list_backups(data_dir)[:-keep]
    for path in old:
        path.unlink(missing_ok=True)
    return old


def restore_backup(
    data_dir: Path, backup: Path, *, settings: Settings | None = None, force: bool = False
) -> Restored:
    """Put a checked copy of `backup` in the place of the database, which is kept beside it under another name.

    The exchange is one rename: a process that dies on the way leaves the old database or the new one. Raises
    StoreBusy while a process owns the store, BadWrite where there is no such backup, StoreCorrupt where it
    cannot be read or, without `force`, where the check finds problems, and StoreTooNew; then nothing was
    changed.
    """
    if not backup.is_file():
        raise BadWrite(f"there is no backup {backup}")
    files = Files(data_dir)
    if files.database.exists() and backup.samefile(files.database):
        raise BadWrite(f"{backup} is the database itself: name a backup")
    with _nobody_owns(files):
        new = files.database.with_name("restoring-" + files.database.name)
        try:
            _copy_with_log(backup, new)
            version, problems = _look_into(new, backup, files.backups, settings or Settings())
            if problems and not force:
                raise StoreCorrupt(
                    f"{backup} was read, but it is not sound: {'; '.join(problems[:5])}"
                    + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
                    + ". Nothing was changed. Choose another backup, or restore it all the same with force."
                )
            aside = _keep_aside(files.database) if files.database.exists() else None
            _put_in_place(new, files)
        except OSError as error:
            raise StoreReadOnly(
                f"{backup} could not be restored to {data_dir} ({error.strerror or error}): nothing was "
                "changed. Check the space on the disk and the folder's permissions."
            ) from error
        finally:
            _remove(new)
    newest = _schema.migrations()[-1].version
    return Restored(
        backup=backup,
        database=files.database,
        kept_aside=aside,
        problems=tuple(problems),
        upgrades_from=version if version < newest else None,
    )


def compact(data_dir: Path, *, settings: Settings | None = None) -> Compacted:
    """Write the database anew, so that its file holds nothing that was deleted: DuckDB marks deleted rows'
    blocks as free, but their old bytes stay in the file until they are used again.

    Raises StoreBusy while a process owns the store or the disk is too full, BadWrite where there is none.
    """
    files = Files(data_dir)
    if not files.database.is_file():
        raise BadWrite(f"there is no database in {data_dir}")
    with _nobody_owns(files):
        before = _size(files.database)
        new = files.backups / ".compacting.duckdb"
        _remove(new)
        try:
            connection = connect(files.database, files.backups, settings or Settings())
            try:
                connection.execute("CHECKPOINT")
                copy_database(connection, files.database, new)
            finally:
                connection.close()
            _put_in_place(new, files)
        except duckdb.Error as error:
            raise explain_open_failure(files.database, error) from error
        except OSError as error:
            raise StoreBusy(
                f"{files.database} could not be rewritten ({error.strerror or error}); it is as it was."
            ) from error
        finally:
            _remove(new)
        return Compacted(before=before, after=_size(files.database))


@contextmanager
def _nobody_owns(files: Files) -> Iterator[None]:
    try:
        files.database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(files.lock, timeout=0, thread_local=False)
        lock.acquire()
    except Timeout as error:
        endpoint = Endpoint.read(files.endpoint)
        who = f"process {endpoint.pid}" if endpoint else "another process"
        raise StoreBusy(
            f"{who} owns the store in {files.database.parent}: nothing was changed. End it (`arena serve`, "
            "`arena db serve` or another command) and try again."
        ) from error
    except OSError as error:
        raise StoreReadOnly(
            f"{files.lock} cannot be written ({error.strerror or error}). Check the folder's permissions."
        ) from error
    try:
        yield
    finally:
        lock.release()


def _copy_with_log(source: Path, target: Path) -> None:
    _remove(target)
    shutil.copyfile(source, target)
    if log_file(source).exists():
        shutil.copyfile(log_file(source), log_file(target))


def _look_into(copy: Path, backup: Path, backups: Path, settings: Settings) -> tuple[int, list[str]]:
    """The schema version of a copied backup and what its check finds; afterwards it has no log."""
    try:
        connection = connect(copy, backups, settings)
    except duckdb.Error as error:
        raise StoreCorrupt(
            f"{backup} cannot be read ({str(error).rstrip('. ')}): it is damaged or no backup of a store. "
            "Nothing was changed."
        ) from error
    try:
        version, newest = _schema.current_version(connection), _schema.migrations()[-1].version
        if version == 0:
            raise StoreCorrupt(f"{backup} is an empty database, no backup of a store. Nothing was changed.")
        if version > newest:
            raise StoreTooNew(
                f"{backup} has schema {version}, but this Palaestra knows schemas up to {newest}. Update "
                "Palaestra first. Nothing was changed."
            )
        problems = _upkeep.problems_of(Transaction(connection)) if version == newest else []
        connection.execute("CHECKPOINT")
    except duckdb.Error as error:
        raise StoreCorrupt(
            f"{backup} is damaged ({str(error).rstrip('. ')}). Nothing was changed."
        ) from error
    finally:
        connection.close()
    return version, problems


def _keep_aside(database: Path) -> Path:
    """A second name for the database and its log, so that replacing the first loses nothing."""
    stamp = now().strftime(_STAMP)
    names = (f"before-restore-{stamp}{suffix}" for suffix in ("", *(f"-{n}" for n in range(2, 10_000))))
    aside = next(
        path for name in names if not (path := database.with_name(f"{database.stem}.{name}.duckdb")).exists()
    )
    for source, target in ((log_file(database), log_file(aside)), (database, aside)):
        if source.exists():
            try:
                os.link(source, target)
            except OSError:
                # Not every file system has hard links.
                shutil.copyfile(source, target)
    return aside


def _put_in_place(new: Path, files: Files) -> None:
    """Exchange the database for `new`. A log that is still there belongs to the old file; DuckDB refuses it
    for the new one if this process dies before it is removed."""
    sync_file(new)
    os.replace(new, files.database)
    log_file(files.database).unlink(missing_ok=True)
    files.endpoint.unlink(missing_ok=True)
    sync_folder(files.database.parent)


def _remove(path: Path) -> None:
    for each in (path, log_file(path)):
        each.unlink(missing_ok=True)


def _size(path: Path) -> int:
    return sum(each.stat().st_size for each in (path, log_file(path)) if each.exists())
