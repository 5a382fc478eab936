"""What `arena leaderboard` shows beside ratings: facts of the models, and which may be used commercially."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from arena.cli._common import BadInput

if TYPE_CHECKING:
    from rich.table import Table

    from results.leaderboard import Rated
    from results.leaderboard_changes import RatingChange
    from results.leaderboard_facts import RowFacts
    from results.store import Store

ALL = "all"


def chosen_columns(words: Sequence[str]) -> list[str]:
    """Names of columns from `--columns licence,size --columns cost` or `all`. Raises BadInput."""
    from results.leaderboard_facts import COLUMNS

    asked = [name.strip() for word in words for name in word.split(",") if name.strip()]
    if ALL in asked:
        return list(COLUMNS)
    for name in asked:
        if name not in COLUMNS:
            raise BadInput(f"--columns {name}: there are {', '.join(COLUMNS)} and all")
    return list(dict.fromkeys(asked))


def commercial_names(store: Store, rated: Rated) -> tuple[list[str], int]:
    """The rows of which every version may be used commercially, if on conditions, and how many others there are. What
    is unknown is not allowed."""
    from arena.roster.licences import commercial_uses
    from results.leaderboard_facts import versions_of

    rows = versions_of(rated)
    uses = commercial_uses(store, {key for keys in rows.values() for key in keys})
    allowed = [name for name, keys in rows.items() if keys and all(uses[key].allowed for key in keys)]
    return allowed, len(rows) - len(allowed)


def facts_cells(facts: RowFacts, columns: Sequence[str]) -> dict[str, str]:
    """Cells of a table by their titles; empty where nothing is known."""
    from results.leaderboard_facts import size_text

    cells: dict[str, str] = {}
    for column in columns:
        if column == "win-rate":
            cells["won"] = "" if facts.win_rate is None else f"{100 * facts.win_rate:.1f}%"
        elif column == "size":
            cells["parameters"] = size_text(facts.parameters)
            cells["size"] = size_text(facts.bytes_on_disk, "B")
        elif column == "cost":
            known = facts.cost_per_1000 is not None
            cells["cost of 1,000"] = f"{facts.cost_per_1000:.3g} {facts.currency}" if known else ""
        elif column == "speed":
            cells["tokens/s"] = "" if facts.tokens_per_second is None else f"{facts.tokens_per_second:.1f}"
            cells["first token"] = "" if facts.first_token is None else f"{facts.first_token:.2f} s"
        else:
            cells[column] = getattr(facts, column) or ""
    return cells


def changes_table(rows: Sequence[RatingChange], when: str, level: float) -> Table:
    """Ratings and ranks at two times."""
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=f"Since {when} (UTC)", title_justify="left", box=None, pad_edge=False, header_style="bold"
    )
    table.add_column("model", overflow="fold")
    for title in ("then", "now", "change", f"{100 * level:g}% interval", "rank", "new votes"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        before, after = (str(rank) if rank is not None else "-" for rank in (row.rank_before, row.rank_after))
        table.add_row(
            Text(row.model),
            f"{row.before:.0f}",
            f"{row.after:.0f}",
            f"{row.change:+.0f}",
            f"{row.lower:+.0f} to {row.upper:+.0f}",
            before if before == after else f"{before} -> {after}",
            f"{row.votes:,}",
            style=None if row.clear else "dim",
        )
    return table
