"""Taking screened votes out of the counts and bringing them back."""

from __future__ import annotations

import json

import pyarrow as pa

from results.ids import new_id
from results.records import Record, UtcTime
from results.store._operations import Operation
from results.store._transaction import Transaction, one
from results.store.cells import cell_sql
from results.store.errors import BadWrite

SCREENING_SCHEMA = pa.schema([pa.field("seq", pa.int64()), pa.field("reason", pa.string())])

# Signed changes of pair_counts by what the temporary table changed_votes says.
_COUNTS = """
    INSERT INTO pair_counts
    SELECT version_a, version_b, 'human', '', category, language, verdict,
           sum(CASE WHEN after IS NULL THEN 1 ELSE 0 END - CASE WHEN before IS NULL THEN 1 ELSE 0 END) AS change
    FROM changed_votes GROUP BY ALL HAVING change <> 0
    ON CONFLICT DO UPDATE SET n = n + excluded.n
"""


class ScreeningRun(Record):
    """When a screening was made; its findings travel beside it."""

    time: UtcTime


class ScreeningOutcome(Record):
    """What a screening changed: `newly` and `released` count votes that were taken out of the ratings and
    that came back, `screened` all that are out now, by reason."""

    newly: int
    released: int
    screened: dict[str, int]


def _apply(tx: Transaction, run: ScreeningRun, rows: pa.Table) -> ScreeningOutcome:
    """Have exactly the votes in `rows` marked with their reasons; other exclusions stay as they are."""
    if rows.schema.names != SCREENING_SCHEMA.names:
        raise BadWrite(f"screening needs the columns {SCREENING_SCHEMA.names}, not {rows.schema.names}")
    with tx.table("screened_rows", rows.cast(SCREENING_SCHEMA)):
        bad = tx.row("SELECT reason FROM screened_rows WHERE NOT starts_with(reason, 'screened:')")
        if bad is not None:
            raise BadWrite(f"{bad[0]!r} is no reason of a screening: screened:...")
        before = _by_reason(tx)
        # A side may have failed since: such a vote does not come back.
        tx.write(
            f"""
            CREATE TEMP TABLE changed_votes AS
            SELECT v.id, v.version_a, v.version_b, v.category, v.language, v.verdict, v.excluded AS before,
                   {cell_sql("v.")} AS cell,
                   CASE WHEN s.reason IS NOT NULL THEN s.reason
                        WHEN b.failed_side IS NOT NULL THEN 'failed_side' END AS after
            FROM votes v LEFT JOIN screened_rows s ON s.seq = v.seq LEFT JOIN battles b ON b.id = v.battle_id
            WHERE (v.excluded IS NULL AND s.reason IS NOT NULL)
               OR (starts_with(v.excluded, 'screened:') AND v.excluded IS DISTINCT FROM s.reason)
            """  # noqa: S608
        )
    newly, released = (
        int(one(tx.row(f"SELECT count(*) FROM changed_votes WHERE {which}")))  # noqa: S608
        for which in ("before IS NULL", "after IS NULL OR after = 'failed_side'")
    )
    if one(tx.row("SELECT count(*) FROM changed_votes")):
        tx.write(_COUNTS)
        tx.write(
            "UPDATE votes SET excluded = c.after, cell = CASE WHEN c.after IS NULL THEN c.cell END "
            "FROM changed_votes c WHERE c.id = votes.id"
        )
        tx.insert(
            "audit",
            {
                "id": new_id(),
                "time": run.time,
                "action": "screen votes",
                "entity_id": new_id(),
                "before": json.dumps(before),
                "after": json.dumps(_by_reason(tx)),
            },
        )
    tx.write("DROP TABLE changed_votes")
    return ScreeningOutcome(newly=newly, released=released, screened=_by_reason(tx))


def _by_reason(tx: Transaction) -> dict[str, int]:
    rows = tx.rows(
        "SELECT excluded, count(*) FROM votes WHERE starts_with(excluded, 'screened:') GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    return {str(reason).removeprefix("screened:"): int(count) for reason, count in rows}


APPLY_SCREENING = Operation(
    "apply_screening",
    ScreeningRun,
    ScreeningOutcome,
    _apply,
    kind="write alone",
    takes_rows=True,
    timeout=600,
)
