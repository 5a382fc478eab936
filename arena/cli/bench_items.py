"""`arena bench items`: which items of a suite tell models apart, and which to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from arena.cli._common import (
    DEFAULT_DATA,
    AsJson,
    BadInput,
    DataDir,
    WorkFailed,
    console,
    print_json,
)

if TYPE_CHECKING:
    from results.items import SuiteItems


def items(
    suite: Annotated[str, typer.Argument(help="Name of a suite that was run.", show_default=False)],
    language: Annotated[str | None, typer.Option(help="Only items in this language.")] = None,
    most: Annotated[int, typer.Option(min=1, help="How many items the table shows (JSON has all).")] = 30,
    as_json: AsJson = False,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Item response: how well each item tells able models from less able ones, and how hard it is."""
    from arena.cli._bench_tables import print_table
    from evaluators.suites.errors import hint
    from results.items import TooFewScores, suite_items
    from results.store import StoreError, open_store
    from results.store.suites import suite_results

    if not data.is_dir():
        raise BadInput(f"there is no data directory {data}: run a suite first (`arena bench run`)")
    try:
        with open_store(data) as store:
            known = {row["suite"] for row in suite_results(store).to_pylist()}
            if suite not in known:
                raise BadInput(f"no model was run through a suite '{suite}' here{hint(suite, known)}")
            view = suite_items(store, suite, language=language)
    except TooFewScores as error:
        raise BadInput(str(error)) from None
    except StoreError as error:
        raise WorkFailed(str(error)) from error
    if as_json:
        print_json(view.model_dump(mode="json"))
        return
    print_table(_models(view))
    print_table(_items(view, most))
    odd = [row for row in view.items if row.remark]
    counts = {remark: sum(row.remark == remark for row in odd) for remark in sorted({r.remark for r in odd})}
    console.print(
        f"{len(view.items):,} items, {len(view.models)} models. "
        + (f"To look at: {', '.join(f'{n:,} {remark}' for remark, n in counts.items())}." if odd else ""),
        highlight=False,
        style="dim",
    )


def _models(view: SuiteItems) -> Table:
    table = Table(
        title=escape(f"Models on {view.suite}"), title_justify="left", box=SIMPLE_HEAD, pad_edge=False
    )
    table.add_column("model", overflow="fold")
    for name in ("ability", "error", "mean score", "items"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in view.models:
        table.add_row(
            Text(row.model), f"{row.ability:+.2f}", f"{row.error:.2f}", f"{row.score:.3f}", f"{row.items:,}"
        )
    return table


def _items(view: SuiteItems, most: int) -> Table:
    of = f", the {most} that tell most" if len(view.items) > most else ""
    table = Table(title=f"Items{of}", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("item", no_wrap=True)
    interval = f"{100 * view.level:g}% interval"
    for name in ("solved", "tells", interval, "difficulty", interval):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("remark", no_wrap=True)
    for row in view.items[:most]:
        hard = row.difficulty is not None
        table.add_row(
            Text(row.item),
            f"{100 * row.solved:.0f}%",
            f"{row.discrimination:.2f}",
            f"{row.discrimination_lower:.2f} to {row.discrimination_upper:.2f}",
            f"{row.difficulty:+.2f}" if hard else "-",
            f"{row.difficulty_lower:+.2f} to {row.difficulty_upper:+.2f}" if hard else "",
            row.remark,
        )
    return table
