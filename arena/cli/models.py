"""`arena models`: the roster, and the model that comes with Palaestra."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arena.cli import models_add, models_chat, models_merge
from arena.cli._common import DEFAULT_DATA, AsJson, BadInput, ConfigFile, DataDir, console, output, print_json
from arena.cli._embedded import prepare_embedded
from arena.cli._models import open_models, settings_of

if TYPE_CHECKING:
    from results.store import Store

app = typer.Typer(no_args_is_help=True, help="Models: the roster, and the model that comes with Palaestra.")
app.command(name="add")(models_add.add)
app.command(name="chat")(models_chat.chat)
app.command(name="merge")(models_merge.merge)

Name = Annotated[str, typer.Argument(help="A model's name, name@3, or an alias.")]


@app.command(name="list")
def list_models(
    data: DataDir = DEFAULT_DATA,
    config: ConfigFile = None,
    commercial: Annotated[
        bool,
        typer.Option("--commercial", help="Only those whose commercial use is allowed (if on conditions)."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """The models that take part, with size, licence and whether they may be used commercially."""
    from arena.roster.overview import overview

    with _store(data) as store:
        failed = _synced(store, data, config)
        models = overview(store)
    left_out = [model for model in models if commercial and not model.commercial.allowed]
    shown = [model for model in models if model not in left_out]
    if as_json:
        print_json(
            [{**model.model_dump(mode="json"), "unusable": failed.get(model.model)} for model in shown]
        )
        return
    from arena.cli._models_tables import roster_table

    if shown:
        output.print(roster_table(shown))
    else:
        console.print("No model is on the roster. `arena models add SOURCE` puts one there.", highlight=False)
    for model in left_out:
        reason = next((r for r in model.commercial.reasons if r.status == model.commercial.status), None)
        told = reason.text() if reason else f"{model.reference}: {model.commercial.status}"
        if reason is not None and reason.model != model.reference:  # what it was made from
            told = f"{model.reference}, because of {told}"
        console.print(f"left out: {told}", highlight=False, markup=False)
    for name, why in failed.items():
        console.print(f"cannot be used: {name}: {why}", highlight=False, markup=False)


@app.command()
def show(
    name: Name, data: DataDir = DEFAULT_DATA, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """All that is known of a model: facts, versions and what changed between them, lineage, aliases."""
    from arena.config import ConfigError
    from arena.roster import find
    from arena.roster.overview import details
    from trainers.lineage import training_of

    with _store(data) as store:
        _synced(store, data, config)
        try:
            found = details(store, name)
            # Of what is known from imported votes alone there is no spec.
            here = "source" in found.spec
            training = training_of(store, find(store, found.overview.reference).spec) if here else None
        except ConfigError as error:
            raise BadInput(str(error)) from None
    if as_json:
        made = None if training is None else training.model_dump(mode="json")
        print_json({**found.model_dump(mode="json"), "training": made})
        return
    from arena.cli._models_tables import details_view

    output.print(details_view(found, training))


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="A model's name.")], data: DataDir = DEFAULT_DATA
) -> None:
    """Take a model off the roster; its versions, battles and ratings stay. Adding it again brings it back."""
    from arena.roster._references import nearest_known
    from results.store import BadWrite
    from results.store.aliases import aliases, find_version
    from results.store.roster import leave

    with _store(data) as store:
        try:
            left = leave(store, name)
        except BadWrite as error:
            raise BadInput(str(error)) from None
        if not left:
            known = find_version(store, name)
            if known.version is None:
                raise BadInput(f"there is no model '{name}'{nearest_known(store, name)}")
            remedy = f": name the model, '{known.version.model}'" if known.kind != "model" else ""
            raise BadInput(f"'{name}' is not on the roster{remedy}")
        standing = [each.alias for each in aliases(store) if each.version.model == name]
    console.print(f"{name} is off the roster; its battles and ratings stay.", highlight=False, markup=False)
    if standing:
        console.print(f"Still standing for it: {', '.join(standing)}", highlight=False, markup=False)


@app.command()
def prepare(data: DataDir = DEFAULT_DATA) -> None:
    """Fetch, check and convert the embedded model, once; prints its folder."""
    output.print(str(prepare_embedded(data)), highlight=False)


@app.command()
def alias(
    name: Annotated[str | None, typer.Argument(help="The alias, for example champion.")] = None,
    version: Annotated[str | None, typer.Argument(help="What it stands for: name@3, or a name.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Let it stand for nothing.")] = False,
    data: DataDir = DEFAULT_DATA,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Let a name stand for a model version, at once for everybody; without arguments, list the aliases."""
    from arena.config import ConfigError
    from arena.roster import find
    from results.store import BadWrite
    from results.store.aliases import aliases, remove_alias, set_alias

    if (name is None) != (version is None) and not (name is not None and remove):
        raise BadInput("name the alias and the version: arena models alias champion name@3 (or --remove)")
    if remove and (name is None or version is not None):
        raise BadInput("--remove goes with the name of the alias alone")
    with _store(data) as store:
        _synced(store, data, config)
        before = {each.alias: each.version.label for each in aliases(store)}
        try:
            if remove and name is not None:
                if name not in before:
                    raise BadInput(f"there is no alias '{name}' (there are: {', '.join(before) or 'none'})")
                remove_alias(store, name)
            elif name is not None and version is not None:
                set_alias(store, name, find(store, version).version.version_key)
        except (ConfigError, BadWrite, ValueError) as error:
            raise BadInput(str(error)) from None
        after = {each.alias: each.version.label for each in aliases(store)}
    if as_json:
        print_json(after)
    elif name is None:
        for each, label in after.items():
            output.print(f"{each} -> {label}", highlight=False, markup=False)
    else:
        told = after.get(name, "nothing")
        console.print(
            f"{name} -> {told} (before: {before.get(name, 'nothing')})", highlight=False, markup=False
        )


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(help="An alias, or a model's name.")],
    data: DataDir = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Go back: an alias to what it stood for before, a model to the version that took part before."""
    from results.store import BadWrite
    from results.store.aliases import alias_history, rollback_alias
    from results.store.roster import rollback as rollback_model

    with _store(data) as store:
        try:
            if alias_history(store, name):
                label = rollback_alias(store, name).version.label
            else:
                label = rollback_model(store, name).version.label
        except BadWrite as error:
            raise BadInput(str(error)) from None
    if as_json:
        print_json({"name": name, "version": label})
    else:
        console.print(f"{name} is {label} again", highlight=False, markup=False)


def _synced(store: Store, data: Path, config: Path | None) -> dict[str, str]:
    """The roster as the settings file has it now; the reasons of entries that cannot be used."""
    from arena.config import ConfigError
    from arena.roster import sync
    from prompt_formats import PromptFormatError

    try:
        with console.status("Reading the models"):
            return sync(store, settings_of(data, config), data)
    except (ConfigError, PromptFormatError) as error:
        raise BadInput(str(error)) from None


@contextmanager
def _store(data: Path) -> Iterator[Store]:
    with open_models(data) as store:
        yield store
