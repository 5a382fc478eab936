"""POST /v1/embeddings."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Any

from arena.api.errors import ApiError, from_engine
from arena.api.exchange import Exchange
from arena.api.requests import EmbeddingRequest, parsed
from arena.api.service import ApiService
from arena.engines.base import EngineError


async def embeddings(service: ApiService, exchange: Exchange, body: bytes) -> None:
    """Vectors for texts. Raises `ApiError`."""
    asked = parsed(EmbeddingRequest, body)
    asked.refuse_unsupported()
    if not all(asked.texts):
        raise ApiError(400, "input: an empty text has no vector", code="invalid_value", param="input")
    try:
        contestant, engine = await service.model(asked.model)
        exchange.model = contestant.version.label
        made = await engine.embed(asked.texts)
    except EngineError as error:
        raise from_engine(error, "input") from error
    await exchange.json(
        {
            "object": "list",
            "model": contestant.version.label,
            "data": [
                {"object": "embedding", "index": index, "embedding": _encoded(vector, asked.encoding_format)}
                for index, vector in enumerate(made.vectors)
            ],
            "usage": {"prompt_tokens": made.tokens or 0, "total_tokens": made.tokens or 0},
        }
    )


def _encoded(vector: Sequence[float], form: str) -> Any:
    if form == "float":
        return list(vector)
    # The official clients ask for this: little-endian 32-bit floats.
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
