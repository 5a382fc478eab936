"""Rows of the audit: what a person changed, append-only."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from results.ids import named_id, new_id
from results.records import now
from results.store._transaction import Transaction


def note(
    tx: Transaction,
    action: str,
    entity: UUID | tuple[str, str],
    before: dict[str, Any],
    after: dict[str, Any],
) -> None:
    """Add a row: `entity` is the id of what was changed, or its kind and name."""
    tx.insert(
        "audit",
        {
            "id": new_id(),
            "time": now(),
            "action": action,
            "entity_id": entity if isinstance(entity, UUID) else named_id(*entity),
            "before": json.dumps(before, ensure_ascii=False),
            "after": json.dumps(after, ensure_ascii=False),
        },
    )
