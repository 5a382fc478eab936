"""`arena db`: checking, backing up, restoring, upgrading and serving the store."""

from __future__ import annotations

import json
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from arena.cli._backups import back_up, keep_backing_up, tell_backup
from arena.cli._common import (
    DEFAULT_DATA,
    FAILED,
    AsJson,
    BadInput,
    DataDir,
    WorkFailed,
    console,
    output,
    print_json,
)

if TYPE_CHECKING:
    from results.store import Store

app = typer.Typer(no_args_is_help=True, help="Check, back up, restore, upgrade and serve the database.")

_DATABASE = "palaestra.duckdb"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

Wait = Annotated[
    float,
    typer.Option("--wait", metavar="SECONDS", min=0, help="How long to wait for an owner that is silent."),
]
Keep = Annotated[
    int | None,
    typer.Option("--keep", metavar="N", min=1, help="Remove all but the newest N automatic backups."),
]


@app.command()
def check(
    repair: Annotated[
        bool, typer.Option("--repair", help="Count all comparisons anew (pair_counts), then check again.")
    ] = False,
    as_json: AsJson = False,
    wait: Wait = 30.0,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Check that everything stored agrees; exit code 1 if anything does not."""
    with _store(data, wait) as store, console.status("Checking"):
        found = store.check()
        repaired = bool(found) and repair
        if repaired:
            store.rebuild_pair_counts()
        left = store.check() if repaired else found
    if as_json:
        print_json({"problems": left, "repaired": [each for each in found if each not in left]})
    else:
        for problem in left:
            output.print(problem, markup=False, highlight=False)
    if gone := len(found) - len(left):
        console.print(f"{gone} {_plural('problem', gone)} repaired.")
    if left:
        console.print(
            f"[bold red]{len(left)} {_plural('problem', len(left))} found.[/]"
            + ("" if repair else " `arena db check --repair` recounts pair_counts;")
            + " a backup is put back by `arena db restore`."
        )
        raise typer.Exit(FAILED)
    console.print("No problems.")


@app.command()
def backup(
    file: Annotated[
        Path | None,
        typer.Argument(help="The file to make.", show_default="in DATA/backups, named by the time"),
    ] = None,
    keep: Keep = None,
    as_json: AsJson = False,
    wait: Wait = 30.0,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Copy the database to a file while everybody goes on working."""
    with _store(data, wait) as store, console.status("Backing up"):
        made = back_up(store, file, keep)
    if as_json:
        print_json(made)
    else:
        output.print(made["file"], markup=False, highlight=False)
    tell_backup(made)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A backup: a path, or a name in DATA/backups.")],
    force: Annotated[
        bool, typer.Option("--force", help="Restore even a backup in which the check finds problems.")
    ] = False,
    as_json: AsJson = False,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Put a backup in the place of the database, after checking it. The database that was there is kept beside
    it. Refused while a process has the store open."""
    from results.store import StoreError, list_backups, restore_backup

    named = data / "backups" / file.name
    chosen = file if file.exists() or file != Path(file.name) else named
    if not chosen.is_file():
        there = ", ".join(path.name for path in list_backups(data)[-5:])
        raise BadInput(
            f"there is no backup {file}." + (f" The newest in {data}/backups: {there}" if there else "")
        )
    try:
        with console.status("Checking and restoring"):
            done = restore_backup(data, chosen, force=force)
    except StoreError as error:
        raise WorkFailed(str(error).replace(" with force.", " with --force.")) from error
    if as_json:
        print_json(done.model_dump(mode="json"))
    console.print(
        f"[bold]{escape(str(done.database))}[/] is now {escape(str(done.backup))}.", highlight=False
    )
    if done.kept_aside is not None:
        console.print(
            f"What was there before is kept as {escape(str(done.kept_aside))}; remove it when it is not needed.",
            highlight=False,
        )
    for problem in done.problems:
        console.print(f"  still wrong: {escape(problem)}", highlight=False)
    if done.upgrades_from is not None:
        console.print(f"It has schema {done.upgrades_from}: the next command that opens it upgrades it.")


@app.command()
def migrate(as_json: AsJson = False, wait: Wait = 30.0, data: DataDir = DEFAULT_DATA) -> None:
    """Bring the database to this version's schema, after a backup. (Every command does so on opening; this one
    says what was done.)"""
    with _store(data, wait) as store:
        change = store.migration
        version = int(store.query("SELECT max(version) AS v FROM schema_version")["v"][0].as_py())
    if as_json:
        print_json(
            {
                "from": change.before if change else version,
                "to": version,
                "backup": str(change.backup) if change else None,
            }
        )
    if change is None:
        console.print(f"Schema {version} is up to date: nothing to do.")
    else:
        console.print(
            f"Upgraded from schema {change.before} to {change.after}. As it was before: "
            f"{escape(str(change.backup))}",
            highlight=False,
        )


@app.command()
def compact(as_json: AsJson = False, data: DataDir = DEFAULT_DATA) -> None:
    """Write the database anew, so that the file holds no more bytes of what was deleted. Refused while a
    process has the store open."""
    from results.store import StoreError
    from results.store import compact as rewrite

    _need_database(data)
    try:
        with console.status("Rewriting"):
            done = rewrite(data)
    except StoreError as error:
        raise WorkFailed(str(error)) from error
    if as_json:
        print_json(done.model_dump())
    console.print(f"{done.before:,} bytes before, {done.after:,} bytes now.", highlight=False)


@app.command()
def audit(
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many of the newest changes.")] = 50,
    as_json: AsJson = False,
    wait: Wait = 30.0,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Show what people changed, the newest first: votes, screening, forgetting, models, aliases, datasets, trainings,
    tokens."""
    with _store(data, wait) as store:
        rows = store.query(
            "SELECT time, action, entity_id::VARCHAR AS entity, before, after FROM audit "
            "ORDER BY time DESC, id DESC LIMIT ?",
            [limit],
        ).to_pylist()
    if as_json:
        print_json(
            [
                {**row, "time": f"{row['time'].isoformat()}Z", "before": json.loads(row["before"]),
                 "after": json.loads(row["after"])}
                for row in rows
            ]
        )  # fmt: skip
        return
    table = Table(box=None, pad_edge=False)
    for title in ("time (UTC)", "change", "before", "after"):
        table.add_column(title, overflow="fold", no_wrap=title == "time (UTC)")
    for row in rows:
        table.add_row(
            f"{row['time']:%Y-%m-%d %H:%M:%S}", row["action"], escape(row["before"]), escape(row["after"])
        )
    output.print(table)


@app.command()
def serve(
    backup_every: Annotated[
        str | None,
        typer.Option(
            "--backup-every",
            metavar="TIME",
            help="Make a hot backup this often: 30m, 6h, 1d.",
            show_default="never",
        ),
    ] = None,
    keep: Keep = None,
    as_json: AsJson = False,
    wait: Wait = 30.0,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Own the store for other processes until stopped (Ctrl-C or SIGTERM), with backups on a schedule.

    With --json each event is one line of JSON on stdout.
    """
    from results.store import StoreError, open_store

    every = None if backup_every is None else _duration(backup_every)
    if keep is not None and every is None:
        raise BadInput("--keep says how many scheduled backups stay; add --backup-every")
    stop = threading.Event()
    try:
        store = open_store(data, timeout=wait)
    except StoreError as error:
        raise WorkFailed(str(error)) from error
    try:
        if not store.is_owner:
            raise WorkFailed(
                f"process {store.owner_pid} owns the store in {data} already and serves it to others; end it first"
            )
        with _stopped_by_signals(stop):
            _event(as_json, {"event": "serving", "database": str(store.data_dir / _DATABASE)})
            console.print(f"Serving the store in {escape(str(data))}. Stop with Ctrl-C.", highlight=False)
            _keep_serving(store, stop, every, keep, as_json)
    finally:
        store.close()
    _event(as_json, {"event": "stopped"})
    console.print("Everything is stored; stopped.")


def _keep_serving(
    store: Store, stop: threading.Event, every: timedelta | None, keep: int | None, as_json: bool
) -> None:
    if every is None:
        stop.wait()
    else:
        keep_backing_up(store, stop, every.total_seconds(), keep, lambda event: _event(as_json, event))


@contextmanager
def _store(data: Path, wait: float) -> Iterator[Store]:
    """The store of an existing database, with its errors as failures of the command."""
    from results.store import StoreError, open_store

    _need_database(data)
    try:
        with open_store(data, timeout=wait) as store:
            yield store
    except StoreError as error:
        raise WorkFailed(str(error)) from error


def _need_database(data: Path) -> None:
    if not any((data / f"{_DATABASE}{suffix}").exists() for suffix in ("", ".wal")):
        raise BadInput(f"there is no database in {data}; name the right folder with --data")


def _duration(text: str) -> timedelta:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", text.strip())
    if match is None or float(match[1]) == 0:
        raise BadInput(f"--backup-every {text}: give a number and s, m, h or d, such as 30m, 6h or 1d")
    return timedelta(seconds=float(match[1]) * _UNITS[match[2]])


@contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {each: signal.signal(each, ask) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _event(as_json: bool, event: dict[str, Any]) -> None:
    if as_json:
        sys.stdout.write(json.dumps(event, ensure_ascii=False) + "\n")
        sys.stdout.flush()


def _plural(word: str, count: int) -> str:
    return word if count == 1 else word + "s"
