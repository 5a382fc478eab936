"""What is known of a leaderboard's models beside their ratings: licence, size, quantisation, parent, cost and speed.

Facts come from the roster (`results.store.model_facts`), cost and speed from the answers of battles that are over: what
changed with a battle that still goes on would tell its models. What is not known is null, never a guess.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, create_model

from results.leaderboard import Leaderboard, LeaderboardRow, Rated
from results.store.model_facts import ModelFacts, model_facts

if TYPE_CHECKING:
    from results.store import Store


class RowFacts(BaseModel):
    """One row's facts. A row of several versions has those in which they agree.

    `win_rate` is the share of points won (a tie is half). `bytes_on_disk` is the size of the weights, `cost_per_1000`
    what 1,000 answers cost on average in `currency`, over the `priced` answers whose cost is known. Medians:
    `tokens_per_second` after the first token, `first_token` in seconds; `answers` were measured.
    """

    model_config = ConfigDict(frozen=True)

    win_rate: float | None = None
    licence: str | None = None
    parameters: int | None = None
    bytes_on_disk: int | None = None
    quantisation: str | None = None
    parent: str | None = None
    cost_per_1000: float | None = None
    currency: str | None = None
    priced: int = 0
    tokens_per_second: float | None = None
    first_token: float | None = None
    answers: int = 0


COLUMNS: dict[str, tuple[str, ...]] = {
    "win-rate": ("win_rate",),
    "licence": ("licence",),
    "size": ("parameters", "bytes_on_disk"),
    "quantisation": ("quantisation",),
    "parent": ("parent",),
    "cost": ("cost_per_1000", "currency"),
    "speed": ("tokens_per_second", "first_token"),
}
"""Columns by the names that people give, each with its fields of `RowFacts`."""

_OF_VERSION = ("licence", "parameters", "bytes_on_disk", "quantisation", "parent")

_ANSWERS = """
WITH g AS (
    SELECT (?::INTEGER[])[version_key + 1] AS place, time_to_first_token AS first,
           CASE WHEN completion_tokens > 1 AND duration > time_to_first_token
                THEN (completion_tokens - 1) / (duration - time_to_first_token) END AS speed,
           TRY_CAST(prompt_log ->> '$.cost.amount' AS DOUBLE) AS cost, prompt_log ->> '$.cost.currency' AS currency
    FROM generations
    WHERE error_kind IS NULL AND finish_reason <> 'cancelled'
      AND battle_id IN (SELECT id FROM battles WHERE state <> 'open')
)
SELECT place, count(*) AS answers, median(speed) AS tokens_per_second, median(first) AS first_token,
       count(cost) AS priced, avg(cost) AS cost, count(DISTINCT currency) AS currencies, any_value(currency) AS currency
FROM g WHERE place IS NOT NULL GROUP BY 1
"""


def row_facts(store: Store, rated: Rated) -> dict[str, RowFacts]:
    """The facts of each shown row of a leaderboard, by its name. Raises StoreError."""
    known = model_facts(store)
    groups = rated.selected.groups
    place = {name: n for n, name in enumerate(groups.names)}
    measured = {
        row["place"]: row
        for row in store.query(_ANSWERS, [[int(group) for group in groups.of_version]]).to_pylist()
    }
    versions: dict[int, list[int]] = {}
    for key, group in enumerate(groups.of_version.tolist()):
        versions.setdefault(group, []).append(key)
    found = {}
    for row in rated.board.models:
        group = place[row.model]
        facts = {name: _agreed(known, versions[group], name) for name in _OF_VERSION}
        found[row.model] = RowFacts(
            win_rate=(row.wins + row.ties / 2) / row.votes if row.votes else None,
            **facts,
            **_measured(measured.get(group)),
        )
    return found


def show_only(rated: Rated, names: Iterable[str]) -> Leaderboard:
    """The leaderboard with only these rows; ratings and ranks stay those of all."""
    wanted = set(names)
    rows = tuple(row for row in rated.board.models if row.model in wanted)
    return rated.board.model_copy(update={"models": rows})


def versions_of(rated: Rated) -> dict[str, list[int]]:
    """The keys of the compared model versions behind each row."""
    found: dict[str, list[int]] = {row.model: [] for row in rated.board.models}
    for key, group in enumerate(rated.selected.groups.of_version.tolist()):
        name = rated.selected.groups.names[group] if group >= 0 else None
        if name in found:
            found[name].append(key)
    return found


def with_facts(
    rows: Sequence[LeaderboardRow], facts: dict[str, RowFacts], columns: Sequence[str]
) -> tuple[type[LeaderboardRow], list[LeaderboardRow]]:
    """Rows with the fields of some `COLUMNS` beside their own, and the type of such rows, for files."""
    fields = [field for column in columns for field in COLUMNS[column]]
    annotated: dict[str, Any] = {
        field: (RowFacts.model_fields[field].annotation, RowFacts.model_fields[field].default)
        for field in fields
    }
    kind: type[LeaderboardRow] = create_model("LeaderboardRowWithFacts", __base__=LeaderboardRow, **annotated)
    made: list[LeaderboardRow] = [
        kind(**row.model_dump(), **{field: getattr(facts[row.model], field) for field in fields})
        for row in rows
    ]
    return kind, made


def _agreed(known: dict[int, ModelFacts], keys: Iterable[int], name: str) -> Any:
    values = {getattr(known[key], name) if key in known else None for key in keys}
    return values.pop() if len(values) == 1 else None


def _measured(row: dict[str, Any] | None) -> dict[str, Any]:
    if row is None:
        return {}
    # Costs in two currencies have no sum.
    priced = row["priced"] and row["currencies"] == 1
    return {
        "answers": row["answers"],
        "tokens_per_second": row["tokens_per_second"],
        "first_token": row["first_token"],
        "priced": row["priced"],
        "cost_per_1000": 1000 * row["cost"] if priced else None,
        "currency": row["currency"] if priced else None,
    }


def size_text(count: float | None, unit: str = "") -> str:
    """A count of parameters or bytes in three digits: 135M, 7.24B; with unit "B": 93.0 MB, 4.1 GB. '' for none."""
    if count is None:
        return ""
    steps = ("", "k", "M", "G" if unit else "B", "T")
    size = float(count)
    for step in steps:
        if size < 999.5 or step == steps[-1]:
            digits = (
                f"{size:.0f}" if size >= 100 or not step else f"{size:.1f}" if size >= 10 else f"{size:.2f}"
            )
            return f"{digits} {step}{unit}" if unit else f"{digits}{step}"
        size /= 1000
    return ""
