"""`arena serve`: the web app."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from pathlib import Path
from typing import Annotated

import typer
from rich.logging import RichHandler

from arena.cli._common import DEFAULT_DATA, BadInput, DataDir, WorkFailed, console
from arena.config import ConfigError, Settings, load_settings


def serve(
    data: DataDir = DEFAULT_DATA,
    config: Annotated[
        Path | None, typer.Option("--config", help="Settings file (default: arena.toml in the data folder).")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on (default 127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (default 7860).")] = None,
    root_path: Annotated[
        str | None, typer.Option("--root-path", help="Path under which a proxy serves the arena.")
    ] = None,
    join_code: Annotated[
        str | None,
        typer.Option(
            envvar="ARENA_JOIN_CODE", help="Code that voters enter; needed to listen on another address."
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="A folder, a hub id, or openai:MODEL@BASE_URL; may be repeated."),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log what happens, not only warnings.")] = False,
) -> None:
    """Serve the arena's web app on 127.0.0.1:7860.

    Without models in arena.toml or --model, the embedded demo contestants take part.
    """
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(message)s",
        handlers=[RichHandler(console=console, show_path=False)],
    )
    try:
        settings = _settings(data, config, host, port, root_path, join_code)
    except ConfigError as error:
        raise BadInput(str(error)) from None
    words = [word for entry in (model or []) for word in entry.split()]
    _check_address(settings)
    asyncio.run(_serve(settings, data, words))


def _settings(
    data: Path, config: Path | None, host: str | None, port: int | None, root_path: str | None, join: str | None
) -> Settings:
    settings = load_settings(data, config)
    given = {"host": host, "port": port, "root_path": root_path, "join_code": join}
    server = {**settings.server.model_dump(), **{key: value for key, value in given.items() if value is not None}}
    return settings.model_copy(update={"server": type(settings.server).model_validate(server)})


def _check_address(settings: Settings) -> None:
    server = settings.server
    loopback = server.host in ("127.0.0.1", "localhost", "::1")
    if not loopback and server.join_code is None:
        raise BadInput(
            f"--host {server.host} would let anybody on the network in. Set a code that voters must enter: "
            "--join-code CODE (or ARENA_JOIN_CODE, or join_code under [server] in arena.toml; 6 characters or more)."
        )
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    with contextlib.closing(socket.socket(family)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((server.host, server.port))
        except OSError as error:
            raise BadInput(
                f"cannot listen on {server.host}:{server.port}: {error.strerror}. Choose another port with --port."
            ) from None


async def _serve(settings: Settings, data: Path, words: list[str]) -> None:
    # Imported here: Gradio takes seconds, and no other command should wait for it.
    import uvicorn

    from arena.battle import BattleService
    from arena.engines.factory import EnginePool, weights_digest
    from arena.matchmaking import policy_from
    from arena.roster import configured_specs, enrol
    from arena.web._frame import PageContext
    from arena.web.app import create_app
    from arena.web.voters import VoterCookies, load_secret
    from results.store import StoreError, open_store

    data.mkdir(parents=True, exist_ok=True)
    try:
        specs = configured_specs(settings, words, default_specs(data))
    except ConfigError as error:
        raise BadInput(str(error)) from None
    if any("demo" in spec.tags for spec in specs):
        prepare_embedded(data)
    try:
        store = await asyncio.to_thread(open_store, data)
    except StoreError as error:
        raise WorkFailed(str(error)) from None
    pool = EnginePool(data)
    try:
        with console.status("Reading the models..."):
            roster = await asyncio.to_thread(enrol, store, specs, lambda spec: weights_digest(spec, data))
        policy = policy_from(settings.matchmaking)
        _warn_about_unknown(settings, [spec.name for spec in specs])
        battles = BattleService(store, roster, pool.get, policy, settings.battle)
        context = PageContext(settings, store, roster, battles, VoterCookies(load_secret(data)))
        app = create_app(context)
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                host=settings.server.host,
                port=settings.server.port,
                log_level="warning",
                timeout_graceful_shutdown=3,
                root_path=settings.server.root_path,
            )
        )
        serving = asyncio.create_task(server.serve())
        loading = asyncio.create_task(_load(pool, roster))
        await _announce(server, serving, settings)
        await serving
        loading.cancel()
    finally:
        await pool.close()
        await asyncio.to_thread(store.close)
