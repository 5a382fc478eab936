"""Keeping `pair_counts` in step with the comparisons it counts, in the same transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from results.records import Verdict
from results.store._transaction import Transaction

KEY = ("version_a", "version_b", "source", "judge", "category", "language", "verdict")

# What pair_counts must hold, from the comparisons themselves.
RECOUNT = """
    SELECT version_a, version_b, source, judge, category, language, verdict, count(*) AS n
    FROM comparisons WHERE excluded IS NULL
    GROUP BY ALL
"""


@dataclass(frozen=True)
class Counted:
    """Where one comparison is counted, all but its verdict."""

    version_a: int
    version_b: int
    category: str
    language: str
    source: str = "human"
    judge: str = ""


def count(tx: Transaction, where: Counted, verdict: Verdict, change: int) -> None:
    """Add `change` to the count of a verdict."""
    key = (
        where.version_a, where.version_b, where.source, where.judge, where.category, where.language, verdict,
    )  # fmt: skip
    # Two statements: an upsert of one row takes ten times as long here.
    changed = tx.write(
        "UPDATE pair_counts SET n = n + ? WHERE version_a = ? AND version_b = ? AND source = ? AND judge = ? "
        "AND category = ? AND language = ? AND verdict = ?",
        change,
        *key,
    )
    if not changed:
        tx.write("INSERT INTO pair_counts VALUES (?, ?, ?, ?, ?, ?, ?, ?)", *key, change)


def exclude_counted_votes(tx: Transaction, battle_id: UUID, reason: str) -> None:
    """Take the counted votes of a battle out of the counts, giving `reason`."""
    rows = tx.rows(
        "SELECT id, verdict, version_a, version_b, category, language FROM votes "
        "WHERE battle_id = ? AND excluded IS NULL",
        battle_id,
    )
    for vote_id, verdict, version_a, version_b, category, language in rows:
        tx.write("UPDATE votes SET excluded = ?, cell = NULL WHERE id = ?", reason, vote_id)
        count(tx, Counted(version_a, version_b, category, language), verdict, -1)


def differences(tx: Transaction) -> list[tuple[Any, ...]]:
    """Rows where `pair_counts` and a recount differ: the key's seven columns, the kept and the true
    number."""
    return tx.rows(
        f"""
        SELECT {", ".join(KEY)}, coalesce(kept.n, 0), coalesce(recount.n, 0)
        FROM pair_counts kept FULL JOIN ({RECOUNT}) recount USING ({", ".join(KEY)})
        WHERE coalesce(kept.n, 0) <> coalesce(recount.n, 0)
        """  # noqa: S608
    )
