"""All probes of one model with one suite, kept in the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from arena.engines.base import Engine
from arena.roster import Contestant
from evaluators.contamination.probes import (
    Continued,
    OrderTest,
    completion_probe,
    completion_summary,
    order_probe,
)
from evaluators.suites.definition import Suite
from evaluators.suites.statistics import Difference
from results.store import Store
from results.store.contamination import ProbeRecord, record_probes


@dataclass(frozen=True)
class SuiteProbe:
    """What a model did with the items of a suite. `difference` is of the shares that it continued and the controls;
    `order` is None for suites without options and for models that cannot score text."""

    continued: tuple[Continued, ...]
    difference: Difference | None
    order: OrderTest | None


async def probe_suite(
    store: Store,
    contestant: Contestant,
    engine: Engine,
    suite: Suite,
    *,
    items: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> SuiteProbe:
    """Probe a model with a suite and store what it did with each item. Raises EngineError."""
    continued = await completion_probe(engine, suite, items=items, seed=seed, progress=progress)
    has_options = any("choices" in item.values for item in suite.items)
    order = None
    if has_options and hasattr(engine, "loglikelihood"):
        order = await order_probe(engine, suite, items=items, seed=seed, progress=progress)
    key = contestant.version.version_key
    records = [
        ProbeRecord(
            version_key=key, suite=suite.name, item=each.passage.item, item_hash=each.passage.item_hash,
            probe="completion", value=each.share, control=each.control, flagged=each.flagged,
            detail={"letters": each.letters, "rouge_l": each.rouge_l, "continued": each.text},
        )
        for each in continued
    ]  # fmt: skip
    if order is not None:
        records += [
            ProbeRecord(
                version_key=key, suite=suite.name, item=each.item, item_hash=each.item_hash, probe="order",
                value=each.own, control=each.others, flagged=False, detail={"wins": each.wins},
            )
            for each in order.items
        ]  # fmt: skip
    if records:
        record_probes(store, records)
    return SuiteProbe(tuple(continued), completion_summary(continued, seed), order)
