"""The engines of a command's process, ended with it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from arena.cli._common import console

if TYPE_CHECKING:
    from arena.config import Settings
    from arena.engines.pool import EnginePool
    from results.store import Store


@asynccontextmanager
async def engine_pool(store: Store, settings: Settings, data: Path) -> AsyncIterator[EnginePool]:
    """A pool with what the settings say of engines; its workers end with the block. Loads reserve from the machine's
    ledger, and whoever watches is told what they wait for."""
    from arena.engines.pool import EnginePool

    def told(reason: str) -> None:
        console.print(reason, highlight=False, markup=False)

    command = "`arena " + " ".join(word for word in sys.argv[1:3] if word.isalpha()) + "`"
    pool = await asyncio.to_thread(EnginePool.from_settings, settings, data, store, command, told)
    try:
        yield pool
    finally:
        await pool.close()
