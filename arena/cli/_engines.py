"""The engines of a command's process, ended with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from arena.config import Settings
    from arena.engines.pool import EnginePool
    from results.store import Store


@asynccontextmanager
async def engine_pool(store: Store, settings: Settings, data: Path) -> AsyncIterator[EnginePool]:
    """A pool with what the settings say of engines; its workers end with the block."""
    from arena.engines.pool import EnginePool
    from arena.engines.remote import Remotes

    pool = EnginePool(data, remotes=Remotes.from_settings(settings, data / "formats"))
    try:
        yield pool
    finally:
        await pool.close()
