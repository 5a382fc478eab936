"""A process beside a running arena on its data folder: it has a model answer, and writes each piece as it comes."""

import asyncio
import json
import sys
from contextlib import aclosing
from pathlib import Path

from arena.config import load_settings
from arena.engines.base import GenerationRequest, Sampling, TextDelta
from arena.engines.local import LocalEngine
from arena.engines.pool import EnginePool
from arena.roster import find
from results.store import open_store


async def read(data: Path, model: str, prompt: str, tokens: int) -> None:
    with open_store(data) as store:
        pool = EnginePool.from_settings(load_settings(data), data, store, "a second process")
        engine = pool.get(find(store, model).spec)
        assert isinstance(engine, LocalEngine)
        asked = GenerationRequest(text=prompt, sampling=Sampling(temperature=0, max_tokens=tokens))
        async with aclosing(engine.stream(asked)) as chunks:
            async for chunk in chunks:
                if isinstance(chunk, TextDelta):
                    piece = {"text": chunk.text, "shared": engine.worker.shared, "memory": pool.memory().used}
                    print(json.dumps(piece), flush=True)
        await pool.close()


if __name__ == "__main__":
    asyncio.run(read(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])))
