"""`arena models merge`: an adapter becomes part of its base, as a model folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arena.cli._common import DEFAULT_DATA, AsJson, BadInput, DataDir, WorkFailed, console, output, print_json
from arena.cli._models import open_models


def merge(
    name: Annotated[str, typer.Argument(help="A model with an adapter: its name, name@3, or an alias.")],
    out: Annotated[Path, typer.Option("--out", help="A new folder for the merged model.", file_okay=False)],
    data: DataDir = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Merge a model's adapter into its base; prints the folder, which `arena models add` takes.

    The merged model is saved only where its logits agree with those of the base with its adapter.
    """
    from arena.config import ConfigError
    from arena.engines.base import EngineRejected, EngineUnavailable
    from arena.engines.merging import merge_adapter
    from arena.roster import find

    try:
        with open_models(data) as store:
            contestant = find(store, name)
        with console.status(f"Merging {contestant.spec.name} into its base, and comparing the two"):
            merged = merge_adapter(contestant.spec, data, out.expanduser().absolute())
    except (ConfigError, EngineRejected) as error:
        raise BadInput(str(error)) from None
    except EngineUnavailable as error:
        raise WorkFailed(str(error)) from None
    if as_json:
        print_json(merged.model_dump(mode="json"))
        return
    console.print(
        f"merged in {merged.dtype}; a logit moved by {merged.difference:.2g} at most "
        f"(the largest is {merged.largest_logit:.3g})",
        highlight=False,
    )
    output.print(str(merged.folder), highlight=False)
