"""Battles read page by page, so that millions of them need not be in memory at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from results.store import Store

_PAGE = 2_000
_BEFORE_ALL = "00000000-0000-0000-0000-000000000000"


def paged_battles(store: Store, sql: str, params: Sequence[Any] = ()) -> Iterator[dict[str, Any]]:
    """The rows of a SELECT that ends in `b.id > ? ... ORDER BY b.id LIMIT ?`: `params`, the last id (its column
    `battle`) and the size of a page are its parameters, in this order."""
    after = _BEFORE_ALL
    while page := store.query(sql, [*params, after, _PAGE]).to_pylist():
        after = page[-1]["battle"]
        yield from page
