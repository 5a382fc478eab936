"""Every verdict, and what follows from it: the store, ratings, leaderboards, figures and reports.

    import results

    store = results.open_store("arena-data")
    results.rate(store, results.BoardQuery()).board

Each name is loaded when it is first used, so that `import results` costs nothing. docs/python.md shows what there is.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from results.figures import count_map, interval_plot, line_plot, ratings_plot, win_rate_map
    from results.frames import Ratings, rate_frame, table
    from results.grade_means import judge_grades
    from results.interchange import export_grades, export_votes, import_answers, import_votes
    from results.items import suite_items
    from results.leaderboard import BoardQuery, Leaderboard, rate
    from results.leaderboard_changes import changes_since
    from results.leaderboard_facts import row_facts
    from results.leaderboard_history import rating_history
    from results.leaderboard_pairs import against, battles_of_pair, difference, head_to_head, pair_matrix
    from results.reports import ReportQuery, write_report
    from results.store import Store, open_store

__all__ = [
    "BoardQuery",
    "Leaderboard",
    "Ratings",
    "ReportQuery",
    "Store",
    "against",
    "battles_of_pair",
    "changes_since",
    "count_map",
    "difference",
    "export_grades",
    "export_votes",
    "head_to_head",
    "import_answers",
    "import_votes",
    "interval_plot",
    "judge_grades",
    "line_plot",
    "open_store",
    "pair_matrix",
    "rate",
    "rate_frame",
    "rating_history",
    "ratings_plot",
    "row_facts",
    "suite_items",
    "table",
    "win_rate_map",
    "write_report",
]

_HOME = {
    "results.store": ("Store", "open_store"),
    "results.frames": ("Ratings", "rate_frame", "table"),
    "results.leaderboard": ("BoardQuery", "Leaderboard", "rate"),
    "results.leaderboard_changes": ("changes_since",),
    "results.leaderboard_facts": ("row_facts",),
    "results.leaderboard_history": ("rating_history",),
    "results.leaderboard_pairs": (
        "against", "battles_of_pair", "difference", "head_to_head", "pair_matrix",
    ),
    "results.figures": ("count_map", "interval_plot", "line_plot", "ratings_plot", "win_rate_map"),
    "results.interchange": ("export_grades", "export_votes", "import_answers", "import_votes"),
    "results.items": ("suite_items",),
    "results.grade_means": ("judge_grades",),
    "results.reports": ("ReportQuery", "write_report"),
}  # fmt: skip
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'results' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})
