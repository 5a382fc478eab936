"""POST /v1/embeddings."""

from __future__ import annotations

from arena.api.errors import ApiError, from_engine
from arena.api.exchange import Exchange
from arena.api.requests import EmbeddingRequest, parsed
from arena.api.service import ApiService
from arena.engines.base import EngineError


async def embeddings(service: ApiService, exchange: Exchange, body: bytes) -> None:
    """Vectors for texts. Raises `ApiError`."""
    asked = parsed(EmbeddingRequest, body)
    asked.refuse_unsupported()
    try:
        contestant, engine = await service.model(asked.model)
    except EngineError as error:
        raise from_engine(error, "input") from error
    raise ApiError(
        400, f"{contestant.version.label} has no embeddings", code="unsupported_model", param="model"
    )
