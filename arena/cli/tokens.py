"""`arena tokens`: bearer tokens of the HTTP API and of operators."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from arena.cli._common import (
    DEFAULT_DATA,
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
    from results.store.tokens import TokenRecord

app = typer.Typer(no_args_is_help=True, help="Bearer tokens of the HTTP API and of operators.")

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
SCOPES = ("api", "operator")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Who or what will use it; no two active ones share a name.")],
    scope: Annotated[
        str, typer.Option(help="api: /v1 alone. operator: also load, upload, train, configure and /metrics.")
    ] = "api",
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="When it ends: 12h, 30d, 8w.", show_default="never")
    ] = None,
    as_json: AsJson = False,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Make a token and print it on stdout, once: only a hash of it is kept."""
    from arena.api.tokens import issue
    from results.records import now
    from results.store import BadWrite
    from results.store.tokens import add_token

    if scope not in SCOPES:
        raise BadInput(f"--scope {scope}: choose one of {', '.join(SCOPES)}")
    if not name.strip() or len(name) > 80:
        raise BadInput("a token's name has 1 to 80 characters")
    end = None if expires is None else now() + _duration(expires)
    record, text = issue(name.strip(), "operator" if scope == "operator" else "api", end)
    with _store(data) as store:
        try:
            add_token(store, record)
        except BadWrite as error:
            raise BadInput(str(error)) from None
    if as_json:
        print_json({**_shown(record), "token": text})
    else:
        output.print(text, markup=False, highlight=False)
    until = "until it is revoked" if end is None else f"until {end:%Y-%m-%d %H:%M} UTC"
    console.print(
        f"This is the only time that the token is shown. It works {until}; "
        f"end it with `arena tokens revoke {escape(record.name)}`.",
        highlight=False,
    )


@app.command(name="list")
def list_(as_json: AsJson = False, data: DataDir = DEFAULT_DATA) -> None:
    """List all tokens, without their secrets."""
    from results.store.tokens import tokens

    with _store(data) as store:
        found = tokens(store)
    if as_json:
        print_json([_shown(each) for each in found])
        return
    if not found:
        console.print(
            "There are no tokens: on this machine /v1 is open. `arena tokens create NAME` makes one."
        )
        return
    table = Table("name", "scope", "state", "made", "ends", "last used", "id")
    for each in found:
        times = (each.created_at, each.expires_at, each.last_used_at)
        made, ends, used = (_time(time) for time in times)
        table.add_row(escape(each.name), each.scope, each.state, made, ends, used, each.id.hex[:12])
    output.print(table)


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="The token's name, or its id (or how the id begins).")],
    as_json: AsJson = False,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """End a token: the next request with it is refused."""
    from results.store.tokens import revoke_token, tokens

    with _store(data) as store:
        found = tokens(store)
        named = [each for each in found if each.name == name and each.state != "revoked"]
        chosen = named or [each for each in found if len(name) >= 8 and each.id.hex.startswith(name)]
        if len(chosen) != 1:
            known = ", ".join(each.name for each in found if each.state != "revoked") or "none"
            what = "there is no such token" if not chosen else "several tokens are meant"
            raise BadInput(f"'{name}': {what}. Active ones: {known}")
        ended = revoke_token(store, chosen[0].id)
    if as_json:
        print_json(_shown(ended))
    console.print(f"{escape(ended.name)} opens nothing any more.", highlight=False)


def _shown(record: TokenRecord) -> dict[str, Any]:
    return {**record.model_dump(mode="json", exclude={"secret_sha256"}), "state": record.state}


def _time(time: datetime | None) -> str:
    return "-" if time is None else f"{time:%Y-%m-%d %H:%M}"


def _duration(text: str) -> timedelta:
    match = re.fullmatch(r"(\d{1,6})\s*([mhdw])", text.strip())
    if match is None or int(match[1]) == 0:
        raise BadInput(f"--expires {text}: give a number and m, h, d or w, such as 12h, 30d or 8w")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


@contextmanager
def _store(data: Path) -> Iterator[Store]:
    from results.store import StoreError, open_store

    try:
        with open_store(data) as store:
            yield store
    except StoreError as error:
        raise WorkFailed(str(error)) from error
