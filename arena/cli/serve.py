"""`arena serve`: the web app."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError
from rich.logging import RichHandler
from rich.markup import escape

from arena.cli._common import DEFAULT_DATA, BadInput, ConfigFile, DataDir, WorkFailed, console
from arena.cli._embedded import prepare_embedded
from arena.config import ConfigError, PairBoost, ServerSettings, Settings, load_settings, nearest
from arena.engines.base import EngineError

if TYPE_CHECKING:
    from arena.api.service import Readiness
    from arena.engines.pool import EnginePool
    from arena.engines.spec import ModelSpec
    from arena.roster import Roster
    from results.store import Store

log = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(
    data: DataDir = DEFAULT_DATA,
    config: ConfigFile = None,
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
    boost: Annotated[
        str | None,
        typer.Option(
            metavar="NEW,PARENT[=SHARE]",
            help="Let two models meet more often: with this probability (default 0.5) their battle is drawn.",
        ),
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
        settings = _settings(data, config, host, port, root_path, join_code, boost)
    except ConfigError as error:
        raise BadInput(str(error)) from None
    words = [word for entry in (model or []) for word in entry.split()]
    _check_address(settings)
    data.mkdir(parents=True, exist_ok=True)
    asyncio.run(_serve(settings, data, words))


def _settings(
    data: Path,
    config: Path | None,
    host: str | None,
    port: int | None,
    root_path: str | None,
    join: str | None,
    boost: str | None,
) -> Settings:
    settings = load_settings(data, config)
    given = {"host": host, "port": port, "root_path": root_path, "join_code": join}
    server = {
        **settings.server.model_dump(),
        **{key: value for key, value in given.items() if value is not None},
    }
    changes: dict[str, Any] = {}
    if boost is not None:
        changes["matchmaking"] = settings.matchmaking.model_copy(update={"boost": _boost(boost)})
    try:
        return settings.model_copy(update={"server": ServerSettings.model_validate(server), **changes})
    except ValidationError as error:
        options = (
            f"--{str(problem['loc'][0]).replace('_', '-')}: {problem['msg']}" for problem in error.errors()
        )
        raise ConfigError("\n".join(options)) from None


def _boost(told: str) -> PairBoost:
    """`NEW,PARENT=0.8` as a boost. Raises BadInput."""
    names, _, share = told.partition("=")
    pair = [name.strip() for name in names.split(",")]
    if len(pair) != 2 or not all(pair) or pair[0] == pair[1]:
        raise BadInput(f"--boost {told}: name two models, for example --boost challenger,champion=0.8")
    try:
        return PairBoost.model_validate({"pair": pair, "probability": share.strip() or 0.5})
    except ValidationError:
        raise BadInput(f"--boost {told}: the share of battles is above 0 and below 1, such as 0.8") from None


def _check_address(settings: Settings) -> None:
    server = settings.server
    if server.host not in LOOPBACK and server.join_code is None:
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
    from arena.api.records import RequestLog
    from arena.api.service import service_of
    from arena.battle import BattleService
    from arena.cli._serving import DrainingServer, look_after_trainings, upkeep_by_schedule
    from arena.engines.observed import ObservedEngine, Telemetry
    from arena.engines.pool import EnginePool
    from arena.matchmaking import policy_from
    from arena.roster import needs_embedded, open_roster
    from arena.web._frame import PageContext
    from arena.web.app import create_app
    from arena.web.voters import VoterCookies, load_secret
    from prompt_formats import PromptFormatError
    from results.store import StoreError, open_store

    try:
        store = await asyncio.to_thread(open_store, data)
    except StoreError as error:
        raise WorkFailed(str(error)) from None
    pool = await asyncio.to_thread(EnginePool.from_settings, settings, data, store, "`arena serve`")
    await asyncio.to_thread(pool.share)
    telemetry = Telemetry()
    request_log = RequestLog(data / "logs", settings.log) if settings.log.requests else None

    def engine_of_battle(spec: ModelSpec) -> ObservedEngine:
        return telemetry.observed(pool.get(spec), spec.name, "battle")

    try:
        await asyncio.to_thread(_check_operator, settings, store, data)
        if await asyncio.to_thread(needs_embedded, store, settings, data, words, serving=True):
            await asyncio.to_thread(prepare_embedded, data)
        with console.status("Reading the models"):
            roster = await asyncio.to_thread(open_roster, store, settings, data, words)
        _warn_of_unknown_names(settings, [contestant.spec.name for contestant in roster.contestants()])
        policy = policy_from(settings.matchmaking)
        battles = BattleService(store, roster, engine_of_battle, policy, settings.battle)
        cookies = VoterCookies(load_secret(data))
        context = PageContext(settings, store, roster, battles, cookies, pool, telemetry, matchmaking=policy)
        service = service_of(settings, store, pool, telemetry, request_log)
        service.readiness.expect(roster.available())
        for name, reason in roster.unusable().items():
            service.readiness.settled(name, reason)
        server = DrainingServer(create_app(context, lambda: _announce(settings), service), service)
        serving = asyncio.create_task(server.serve())
        loading = asyncio.create_task(_load(pool, roster, service.readiness))
        trainings = asyncio.create_task(look_after_trainings(store, roster))
        with upkeep_by_schedule(store, settings.store):
            await serving
        for beside in (loading, trainings):
            beside.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await beside
    except (ConfigError, PromptFormatError) as error:
        raise BadInput(str(error)) from None
    except StoreError as error:
        raise WorkFailed(str(error)) from None
    finally:
        await pool.close()
        await asyncio.to_thread(store.close)
        if request_log is not None:
            request_log.close()


def _check_operator(settings: Settings, store: Store, data: Path) -> None:
    from results.store.tokens import tokens

    if settings.server.host in LOOPBACK:
        return
    if not any(each.scope == "operator" and each.state == "active" for each in tokens(store)):
        raise BadInput(
            f"--host {settings.server.host} needs an operator's token beside the join code: without one nobody could "
            "load or configure anything. Make one: arena tokens create NAME --scope operator"
            + ("" if data == DEFAULT_DATA else f" --data {data}")
        )


def _announce(settings: Settings) -> None:
    server = settings.server
    host = f"[{server.host}]" if ":" in server.host else server.host
    console.print(
        f"\n[bold]Palaestra is at http://{host}:{server.port}{server.root_path}/[/]  (Ctrl+C stops it)"
    )


async def _load(pool: EnginePool, roster: Roster, readiness: Readiness) -> None:
    """Load the local models one after the other, so that the first battle need not wait; say how it went.

    One that cannot be loaded, for whatever reason, is left out of battles, and the others go on.
    """
    for contestant in roster.contestants():
        name = contestant.spec.name
        problem: str | None = None
        try:
            told = await _loaded(pool, contestant.spec)
            console.print(f"  {name}: {told}", highlight=False, markup=False)
        except EngineError as error:
            problem = str(error)
        except Exception as error:
            # A fault of ours or of a library: this model's alone. The server must become ready without it.
            log.exception("loading %s failed", name)
            problem = f"{type(error).__name__}: {error}"
        if problem is not None:
            roster.set_unusable(name, problem)
        readiness.settled(name, problem)
    for name, reason in roster.unusable().items():
        console.print(f"  [yellow]{escape(name)}: left out of battles: {escape(reason)}[/]", highlight=False)
    if len(roster.available()) < 2:
        console.print("  [yellow]Fewer than two models can answer: no battle is possible.[/]")


async def _loaded(pool: EnginePool, spec: ModelSpec) -> str:
    """Load a model if it is local and fits; how that went, in words. Raises EngineError."""
    from arena.engines.local import LocalEngine

    begun = time.monotonic()
    engine = await asyncio.to_thread(pool.get, spec)
    if not await asyncio.to_thread(pool.fits, spec):
        return "loaded when it is asked (the memory budget is in use)"
    if not isinstance(engine, LocalEngine):
        return str(spec.base_url)
    ready = await engine.load()
    figures = f"{ready.dtype} on {ready.device}, {ready.memory / 2**20:.0f} MiB"
    return f"ready ({figures}, {time.monotonic() - begun:.1f} s)"


def _warn_of_unknown_names(settings: Settings, names: list[str]) -> None:
    boost = settings.matchmaking.boost
    for name in [*settings.matchmaking.weights, *(boost.pair if boost else ())]:
        if name not in names:
            console.print(
                f"[yellow]matchmaking names '{name}', which is not on the roster{nearest(name, names)}[/]"
            )
