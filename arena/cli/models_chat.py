"""`arena models chat`: talk with a model in the terminal."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arena.cli._chat_tools import Reply, tools_of, with_tools
from arena.cli._common import DEFAULT_DATA, ConfigFile, DataDir, WorkFailed, console
from arena.cli._models import open_models, resolve_options, settings_of

if TYPE_CHECKING:
    from arena.config import Settings
    from arena.engines.base import Engine, Sampling
    from arena.roster import Contestant
    from prompt_formats import Conversation
    from results.store import Store

HELP = "/exit ends, /reset begins anew, /system TEXT sets a system prompt. Ctrl+C stops an answer."


def chat(
    name: Annotated[
        str, typer.Argument(help="A model's name, name@3, an alias, a folder, openai:MODEL@URL.")
    ],
    system: Annotated[str | None, typer.Option(help="A system prompt.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, max=5)] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1)] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    tools: Annotated[
        Path | None,
        typer.Option(
            help="A YAML file of tools that a model with tool tokens may call (docs/training.md).",
            dir_okay=False,
        ),
    ] = None,
    data: DataDir = DEFAULT_DATA,
    config: ConfigFile = None,
) -> None:
    """Talk with a model. Nothing of it is stored. Ctrl+C stops an answer; /exit or Ctrl+D ends."""
    from arena.engines.base import EngineError, Sampling

    settings = settings_of(data, config)
    sampling = Sampling(temperature=temperature, max_tokens=max_tokens)
    with open_models(data) as store:
        (contestant,) = resolve_options(store, settings, data, [name])
        reply = with_tools(contestant, data, tools_of(tools)) if tools is not None else _reply
        try:
            asyncio.run(_talk(store, settings, data, contestant, system, sampling, seed, reply))
        except EngineError as error:
            raise WorkFailed(str(error)) from None


async def _talk(
    store: Store,
    settings: Settings,
    data: Path,
    contestant: Contestant,
    system: str | None,
    sampling: Sampling,
    seed: int | None,
    reply: Reply,
) -> None:
    from arena.cli._engines import engine_pool
    from arena.engines.base import EngineError
    from arena.engines.local import LocalEngine

    async with engine_pool(store, settings, data) as pool:
        engine = await asyncio.to_thread(pool.get, contestant.spec)
        if isinstance(engine, LocalEngine):
            with console.status(f"Loading {contestant.version.label}"):
                await engine.load()
        console.print(f"[bold]{contestant.version.label}[/]  {HELP}", highlight=False)
        conversation = _begin(system)
        while (line := await _read()) is not None:
            word, _, rest = line.strip().partition(" ")
            if word in ("/exit", "/quit"):
                return
            if word in ("/reset", "/system"):
                system = (rest.strip() or None) if word == "/system" else system
                conversation = _begin(system)
                console.print("A new conversation.")
            elif word.startswith("/") and word in ("/help", "/?"):
                console.print(HELP, highlight=False)
            elif line.strip():
                asked = conversation.add("user", line)
                said: list[str] = []
                try:
                    await _until_stopped(reply(engine, asked, sampling, seed, said))
                except EngineError as error:
                    console.print(f"[red]{type(error).kind}:[/] {error}", highlight=False)
                    continue
                conversation = asked.add("assistant", "".join(said)) if "".join(said) else conversation


def _begin(system: str | None) -> Conversation:
    from prompt_formats import Conversation

    return Conversation().add("system", system) if system else Conversation()


async def _read() -> str | None:
    """A line of what the user types; None at the end of the input."""
    if sys.stdin.isatty():
        console.print("\n[bold cyan]>[/] ", end="")
    line = await asyncio.to_thread(sys.stdin.readline)
    return line.rstrip("\n") if line else None


async def _until_stopped(answering: Awaitable[None]) -> None:
    """Wait for an answer. Ctrl+C ends it, and what was said stays."""
    task = asyncio.ensure_future(answering)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        console.print(" [dim](stopped)[/]")
    finally:
        loop.remove_signal_handler(signal.SIGINT)


async def _reply(
    engine: Engine, conversation: Conversation, sampling: Sampling, seed: int | None, said: list[str]
) -> None:
    """The answer, written as it comes."""
    from arena.engines.base import GenerationRequest, TextDelta

    request = GenerationRequest(conversation=conversation, sampling=sampling, seed=seed)
    try:
        async with aclosing(engine.stream(request)) as chunks:
            async for chunk in chunks:
                if isinstance(chunk, TextDelta):
                    said.append(chunk.text)
                    console.print(chunk.thinking, end="", style="dim", markup=False, highlight=False)
                    sys.stdout.write(chunk.text)
                    sys.stdout.flush()
    finally:
        sys.stdout.write("\n")
        sys.stdout.flush()
