"""`arena models add`: look at a model, try it, and put it on the roster."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arena.cli._common import (
    DEFAULT_DATA,
    AsJson,
    BadInput,
    ConfigFile,
    DataDir,
    WorkFailed,
    console,
    output,
    print_json,
)
from arena.cli._models import embedded_where_needed, open_models, settings_of
from arena.config import ConfigError

if TYPE_CHECKING:
    from rich.status import Status

    from arena.config import Settings
    from arena.engines.spec import ModelSpec
    from arena.roster.checking import Check
    from results.store import Store


def add(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder, a GGUF file, an adapter's folder, a hub id, openai:MODEL@BASE_URL, or a model of the "
            "roster to make a variant of."
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="Its name on the roster (default: from the source).")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub model.")] = None,
    adapter: Annotated[
        Path | None, typer.Option(help="Folder of a LoRA or IA3 adapter for this base.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="An adapter's base (default: what its configuration names).")
    ] = None,
    quantisation: Annotated[str | None, typer.Option(help="none, int8, nf4, ...")] = None,
    prompt_format: Annotated[str | None, typer.Option(help="A format's name (`arena format list`).")] = None,
    system_prompt: Annotated[str | None, typer.Option(help="Put in front of every conversation.")] = None,
    few_shot: Annotated[
        Path | None, typer.Option(help="Examples (JSON, JSON lines or YAML, each with user and assistant).")
    ] = None,
    context_length: Annotated[int | None, typer.Option(help="Use at most this many tokens.")] = None,
    licence: Annotated[str | None, typer.Option(help="Its licence, where its card says none.")] = None,
    data_licence: Annotated[
        list[str] | None, typer.Option(help="Licence of data it was trained on; may be repeated.")
    ] = None,
    parent: Annotated[
        str | None, typer.Option(help="What it was made from: name@3, a name, a hub id.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="May be repeated.")] = None,
    note: Annotated[str | None, typer.Option(help="A remark, shown with the model.")] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="chat (the server renders the prompt) or completions (we do).")
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(help="Environment variable with the endpoint's key, never the key itself.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Default for its answers, as those below.")
    ] = None,
    top_p: Annotated[float | None, typer.Option()] = None,
    top_k: Annotated[int | None, typer.Option()] = None,
    min_p: Annotated[float | None, typer.Option()] = None,
    repetition_penalty: Annotated[float | None, typer.Option()] = None,
    max_tokens: Annotated[int | None, typer.Option()] = None,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Load it and have it answer first.")
    ] = True,
    data: DataDir = DEFAULT_DATA,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Put a model on the roster, after it was looked at and has answered. What is edited becomes name@n+1."""
    fields: dict[str, Any] = {
        "name": name,
        "revision": revision,
        "adapter": str(adapter) if adapter is not None else None,
        "quantisation": quantisation,
        "prompt_format": prompt_format,
        "system_prompt": system_prompt,
        "context_length": context_length,
        "licence": licence,
        "data_licences": tuple(data_licence) if data_licence else None,
        "parent": parent,
        "tags": tuple(tag) if tag else None,
        "note": note,
        "endpoint": endpoint,
        "api_key_env": api_key_env,
    }
    sampling = {
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "max_tokens": max_tokens,
    }
    told = {key: value for key, value in sampling.items() if value is not None}
    _add(source, fields, told, base, few_shot, check, data, config, as_json)


def _add(
    source: str,
    fields: dict[str, Any],
    sampling: dict[str, Any],
    base: str | None,
    few_shot: Path | None,
    check: bool,
    data: Path,
    config: Path | None,
    as_json: bool,
) -> None:
    from arena.engines.base import EngineError
    from arena.roster import sync
    from arena.roster.adding import add as add_model
    from arena.roster.adding import propose, read_examples
    from arena.roster.overview import details

    settings = settings_of(data, config)
    try:
        if few_shot is not None:
            fields["few_shot"] = read_examples(few_shot)
        with open_models(data) as store:
            embedded_where_needed(store, settings, data, [word for word in (source, base) if word])
            with console.status("Looking at the model"):
                sync(store, settings, data)
                proposal = propose(store, data, source, fields, sampling=sampling, base=base)
            checked = _checked(proposal.spec, store, settings, data) if check else None
            with console.status("Hashing the weights"):
                contestant = add_model(store, data, proposal, checked.context_length if checked else None)
            shown = details(store, contestant.version.label).overview
    except ConfigError as error:
        raise BadInput(str(error)) from None
    except EngineError as error:
        raise WorkFailed(f"nothing was added: {error}") from None
    if as_json:
        told = checked.model_dump(mode="json") if checked else None
        print_json(
            {**shown.model_dump(mode="json"), "spec": contestant.spec.model_dump(mode="json"), "check": told}
        )
        return
    from arena.cli._models_tables import found_view

    output.print(found_view(shown, checked))
    console.print(f"[bold green]{shown.reference}[/] is on the roster", highlight=False)
    if not check:
        console.print("It was not tried: whether it loads and answers is not known (--no-check).")


def _checked(spec: ModelSpec, store: Store, settings: Settings, data: Path) -> Check:
    from arena.cli._engines import engine_pool
    from arena.roster.checking import check

    words = {
        "listing": f"Asking {spec.base_url or 'the endpoint'} for its models",
        "loading": "Loading the weights",
        "answering": "Waiting for an answer",
    }

    async def tried(status: Status) -> Check:
        async with engine_pool(store, settings, data) as pool:
            return await check(spec, lambda stage: status.update(words[stage]), pool)

    with console.status("Trying the model") as status:
        return asyncio.run(tried(status))
