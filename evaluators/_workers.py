"""Several workers on one queue, whose first error is raised as it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def in_parallel(worker: Callable[[], Awaitable[None]], places: int) -> None:
    """Run `places` workers to their ends. The first error ends them all and is raised by itself, not in a group."""

    async def one() -> None:
        await worker()

    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(places):
                tasks.create_task(one())
    except* Exception as group:  # noqa: BLE001  # raised again: whoever catches StoreError must see one
        raise _first(group) from None


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
