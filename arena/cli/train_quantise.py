"""`arena train quantise`: a smaller model, and what it costs."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from rich.table import Table

from arena.cli._common import DEFAULT_DATA, AsJson, BadInput, DataDir, WorkFailed, console, output, print_json
from arena.cli._models import open_models, resolve_options, settings_of


def quantise(
    model: Annotated[str, typer.Argument(help="A local roster model in full precision.")],
    to: Annotated[
        Literal["dynamic", "static", "int8", "nf4"],
        typer.Option(
            help="dynamic: int8, inputs scaled as they come; static: int8, inputs scaled by calibration; "
            "int8, nf4: bitsandbytes."
        ),
    ],
    dataset: Annotated[
        str, typer.Option("--on", help="A chat or text dataset: loss is measured on its held-out rows.")
    ],
    name: Annotated[str | None, typer.Option(help="Name of the new model; MODEL-KIND without it.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Held-out rows to measure on, at most.")] = 64,
    calibration_rows: Annotated[
        int, typer.Option(min=1, help="Training rows to calibrate on (static).")
    ] = 32,
    as_json: AsJson = False,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Quantise a model, put it on the roster, and report size, held-out loss and speed before and after."""
    from trainers.plan import CannotPlan
    from trainers.quantise import CannotQuantise
    from trainers.quantise import quantise as quantised

    with open_models(data) as store:
        (base,) = resolve_options(store, settings_of(data), data, [model])
        try:
            with console.status(f"Measuring {base.version.label}, quantising it, and measuring again"):
                report = quantised(
                    store, base, to, dataset, name=name, rows=rows, calibration_rows=calibration_rows
                )
        except CannotPlan as error:
            raise BadInput(str(error)) from None
        except CannotQuantise as error:
            raise WorkFailed(str(error)) from None
    if as_json:
        print_json(report.model_dump(mode="json"))
        return
    before, after = report.before, report.after
    table = Table("", "float32", to, "change", box=None)
    table.add_row(
        "size",
        f"{before.bytes / 2**20:.1f} MiB",
        f"{after.bytes / 2**20:.1f} MiB",
        f"{after.bytes / before.bytes:.0%}",
    )
    table.add_row(
        f"loss of {before.tokens:,} held-out tokens",
        f"{before.loss:.4f}", f"{after.loss:.4f}", f"{after.loss - before.loss:+.4f}",
    )  # fmt: skip
    for what, then, now in (
        ("tokens/s read", before.read_tokens_per_second, after.read_tokens_per_second),
        ("tokens/s written", before.written_tokens_per_second, after.written_tokens_per_second),
    ):
        table.add_row(what, f"{then:.1f}", f"{now:.1f}", f"x {now / then:.2f}")
    output.print(table)
    console.print(f"{report.model} is on the roster.", highlight=False)
