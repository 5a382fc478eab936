"""ModelSpec: all that an engine needs to know of a model, and the digest that makes its version immutable."""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from arena.engines.base import Sampling

Quantisation = Literal["none", "int8", "nf4"]


class Example(BaseModel):
    """One few-shot example: a user message and the answer that should follow it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    user: str
    assistant: str


class ModelSpec(BaseModel):
    """One model of the roster.

    `source` is a folder, a hub id or `embedded:NAME` for kind `local`, and the endpoint's model id for kind
    `openai`. Only the fields below `name` that shape answers enter the digest: licence, tags and notes do
    not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=120, pattern=r"^[^\s@/][^@\n]*$")
    kind: Literal["local", "openai"] = "local"
    source: str = Field(min_length=1)
    revision: str | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    adapter: str | None = None
    quantisation: Quantisation = "none"
    prompt_format: str | None = None
    system_prompt: str | None = None
    few_shot: tuple[Example, ...] = ()
    sampling: Sampling = Sampling()
    context_length: int | None = Field(default=None, ge=1)
    licence: str | None = None
    parent: str | None = None
    tags: tuple[str, ...] = ()
    note: str | None = None

    def digest(self, weights: str) -> str:
        """SHA-256 over what shapes the answers; `weights` is the content hash of the weights (or, for an
        endpoint, its identity: the URL and model id already in the spec, so pass an empty string)."""
        shaping = self.model_dump(
            mode="json",
            include={
                "kind", "source", "revision", "base_url", "adapter", "quantisation", "prompt_format",
                "system_prompt", "few_shot", "sampling", "context_length",
            },
        )  # fmt: skip
        if weights:
            del shaping["source"]
        text = json.dumps({"weights": weights, **shaping}, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()
