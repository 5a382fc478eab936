"""`arena train merge`: adapters mixed, models added and subtracted."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.progress import Progress

from arena.cli._common import DEFAULT_DATA, AsJson, BadInput, DataDir, WorkFailed, console, output, print_json
from arena.cli._models import open_models, resolve_options, settings_of

Words = list[str] | None


def merge(
    name: Annotated[str, typer.Argument(help="Name of the new model on the roster.")],
    base: Annotated[str, typer.Option(help="The model that the others are added to.")],
    add: Annotated[
        Words, typer.Option(help="MODEL or MODEL=FACTOR, all its weights; may be repeated.")
    ] = None,
    subtract: Annotated[Words, typer.Option(help="MODEL or MODEL=FACTOR; may be repeated.")] = None,
    adapter: Annotated[
        Words,
        typer.Option(help="MODEL or MODEL=FACTOR: what its adapter alone changes; may be repeated."),
    ] = None,
    keep_embeddings: Annotated[
        bool, typer.Option("--keep-embeddings", help="Leave embeddings and head as the base has them.")
    ] = False,
    as_json: AsJson = False,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Add and subtract weights: a chat vector (--add CHAT --subtract ITS_BASE), or several adapters in one model.

    The result is on the roster at once, with its base as parent and the formula as its note.
    """
    from arena.engines.weight_files import BrokenWeights
    from trainers.arithmetic import NoFloats, enter_combined

    whole = [*map(_factor, add or ()), *((word, -factor) for word, factor in map(_factor, subtract or ()))]
    parts = [_factor(word) for word in adapter or ()]
    if not whole and not parts:
        raise BadInput("nothing to merge: give --add, --subtract or --adapter")
    words = [base, *(word for word, _ in (*whole, *parts))]
    with open_models(data) as store:
        found = resolve_options(store, settings_of(data), data, words)
        factors = [factor for _, factor in (*whole, *parts)]
        used = list(zip(found[1:], factors, strict=True))
        try:
            with Progress(console=console, disable=not console.is_terminal) as progress:
                task = progress.add_task("Adding tensors", total=None)
                made = enter_combined(
                    store, name, found[0], used[: len(whole)], used[len(whole) :], keep_embeddings=keep_embeddings,
                    on_tensor=lambda done, of: progress.update(task, completed=done, total=of),
                )  # fmt: skip
        except (NoFloats, ValueError) as error:
            raise BadInput(str(error)) from None
        except (BrokenWeights, OSError) as error:
            raise WorkFailed(str(error)) from None
    if as_json:
        print_json({"model": made.version.label, "folder": made.spec.source, "formula": made.spec.note})
        return
    console.print(f"{made.version.label} is on the roster: {made.spec.note}", highlight=False, markup=False)
    output.print(made.spec.source, highlight=False)


def _factor(word: str) -> tuple[str, float]:
    model, equals, factor = word.rpartition("=")
    if not equals:
        return word, 1.0
    try:
        return model, float(factor)
    except ValueError:
        raise BadInput(f"'{word}': write MODEL=FACTOR, for example helper=0.5") from None
