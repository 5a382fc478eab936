"""All named operations, by name: what the loopback server may be asked to do."""

from __future__ import annotations

from typing import Any

from results.store import (
    _battles,
    _forgetting,
    _imports,
    _models,
    _screening,
    _upkeep,
    _votes,
    aliases,
    answered_battles,
    contamination,
    datasets,
    grades,
    jobs,
    judging,
    ledger,
    model_facts,
    roster,
    scripted,
    suites,
    tokens,
)
from results.store._operations import Operation

OPERATIONS: dict[str, Operation[Any, Any]] = {
    operation.name: operation
    for module in (
        _models,
        _battles,
        _votes,
        _forgetting,
        _imports,
        _screening,
        _upkeep,
        roster,
        aliases,
        model_facts,
        datasets,
        contamination,
        jobs,
        ledger,
        suites,
        answered_battles,
        tokens,
        scripted,
        judging,
        grades,
    )
    for operation in vars(module).values()
    if isinstance(operation, Operation)
}
