"""What reports read beside the leaderboard itself."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from results.leaderboard import Rated
    from results.reports._model import ReportQuery


def conditions(query: ReportQuery, *, source: bool = True) -> tuple[str, tuple[str, ...]]:
    """The query's filters as SQL that begins with AND (on `pair_counts` or `comparisons`) and parameters;
    without `source` those of all people and judges."""
    wanted = {"category": query.category}
    if source:
        wanted |= {"source": None if query.source == "all" else query.source, "judge": query.judge}
    chosen = {column: value for column, value in wanted.items() if value is not None}
    return "".join(f" AND {column} = ?" for column in chosen), tuple(chosen.values())


def version_names(rated: Rated) -> dict[int, str]:
    """What the leaderboard calls each model version that it has, by version key."""
    there = set(rated.selected.present.tolist())
    names = rated.selected.groups.names
    return {
        key: names[group]
        for key, group in enumerate(rated.selected.groups.of_version.tolist())
        if group in there
    }


def fingerprint(rated: Rated) -> str:
    """SHA-256 of the pair counts, with the models by name: it depends on neither keys nor order."""
    names, cells = rated.names, rated.counts.cells
    lines = sorted(
        f"{names[a]}\t{names[b]}\t{outcome}\t{cells[a, b, outcome]:.0f}\n"
        for a, b, outcome in np.argwhere(cells)
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()
