"""How `arena data check --model` probes models for test items that they know, and shows it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from arena.cli._common import console, output
from arena.cli._models import resolve_options, settings_of
from arena.cli._votes_output import progress_bar
from arena.engines.base import EngineRejected
from arena.engines.pool import EnginePool
from arena.roster import Contestant
from evaluators.contamination.probing import SuiteProbe, probe_suite
from evaluators.suites.definition import Suite
from results.store import Store


def probe_models(
    store: Store, data: Path, words: list[str], suites: list[Suite], items: int
) -> list[dict[str, Any]]:
    """Probe each model with each suite; what was found is stored and told."""
    settings = settings_of(data)
    contestants = resolve_options(store, settings, data, words)
    pool = EnginePool.from_settings(settings, data, store, "`arena data check`")
    return asyncio.run(_probe(store, pool, contestants, suites, items))


async def _probe(
    store: Store, pool: EnginePool, contestants: list[Contestant], suites: list[Suite], items: int
) -> list[dict[str, Any]]:
    told = []
    try:
        for contestant in contestants:
            engine = await asyncio.to_thread(pool.get, contestant.spec)
            for suite in suites:
                with progress_bar(f"{contestant.version.label} · {suite.name}") as bar:
                    try:
                        found = await probe_suite(
                            store, contestant, engine, suite, items=items,
                            progress=lambda done, size, bar=bar: bar("", done, size, ""),  # type: ignore[misc]
                        )  # fmt: skip
                    except EngineRejected as error:
                        console.print(
                            f"[yellow]{escape(contestant.version.label)} cannot be probed:[/] {escape(str(error))}",
                            highlight=False,
                        )
                        break
                told.append(_plain(contestant, suite, found))
    finally:
        await pool.close()
    return told


def tell_probes(rows: list[dict[str, Any]], shown: int) -> None:
    """Show what probes found: suites, one a row, then items that are known by heart."""
    output.print("\nWhat models know of test items")
    table = Table(
        "model", "suite", "items", "continued", "control", "p", "by heart", "own order preferred", box=None
    )
    table.columns[0].overflow = table.columns[1].overflow = "fold"
    for row in rows:
        done, order = row["completion"], row["order"]
        style = "red" if done["by_heart"] else "green"
        table.add_row(
            escape(row["model"]), escape(row["suite"]), str(done["items"]), f"{done['continued']:.1%}",
            f"{done['control']:.1%}", "" if done["p"] is None else f"{done['p']:.2g}",
            f"[{style}]{len(done['by_heart'])}[/]",
            f"{order['wins']} of {order['items']} (p {order['p']:.2g})" if order["items"] else "",
        )  # fmt: skip
    output.print(table)
    known = [(row, item) for row in rows for item in row["completion"]["by_heart"]]
    for row, item in known[:shown]:
        output.print(
            f"{row['model']} knows {row['suite']} {item['item']}: "
            f"[dim]{escape(item['first'][-60:])}[/] [red]{escape(item['continued'][:80])}[/]",
            highlight=False,
        )


def _plain(contestant: Contestant, suite: Suite, found: SuiteProbe) -> dict[str, Any]:
    difference = found.difference
    count = max(len(found.continued), 1)
    return {
        "model": contestant.version.label,
        "suite": suite.name,
        "completion": {
            "items": len(found.continued),
            "continued": sum(each.share for each in found.continued) / count,
            "control": sum(each.control for each in found.continued) / count,
            "p": None if difference is None else difference.p,
            "by_heart": [
                {
                    "item": each.passage.item,
                    "first": each.first,
                    "continued": each.text,
                    "letters": each.letters,
                }
                for each in found.continued
                if each.flagged
            ],
        },
        "order": {
            "items": len(found.order.items) if found.order else 0,
            "wins": found.order.wins if found.order else 0,
            "left_out": found.order.left_out if found.order else 0,
            "p": found.order.p if found.order else None,
        },
    }
