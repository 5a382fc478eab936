"""ModelSpec: all that an engine needs to know of a model, and the digest that makes its version immutable."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from arena.engines.base import Sampling
from prompt_formats.errors import InvalidInput
from prompt_formats.windows import window_from

Quantisation = Literal["none", "int8", "nf4", "torchao-int8", "ct2-int8"]
Devices = Literal["one", "spread", "split"]
"""Several GPUs: layers spread over them, or each layer split among them. Shapes no answer, so no digest."""


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

    An endpoint may have several addresses: `base_url` (which may be given as a list) is the one that names it,
    `base_urls` are others that serve the same model, so that adding one makes no new version. `endpoint` says
    which kind of request it answers: `chat` (the server renders the prompt, unseen) or `completions` (we render
    it; `control_text` says what becomes of control text that a person typed, which no string can protect).

    `parent` is the model that this one was made from (`name@3`, a name, or a hub id), `data_licences` are those of
    the data that it was trained on: both restrict its use as its own `licence` does (`arena.roster.licences`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=120, pattern=r"^[^\s@/][^@\n]*$")
    kind: Literal["local", "openai"] = "local"
    source: str = Field(min_length=1)
    revision: str | None = None
    base_url: str | None = None
    base_urls: tuple[str, ...] = ()
    endpoint: Literal["chat", "completions"] = "chat"
    control_text: Literal["escape", "reject"] = "escape"
    api_key_env: str | None = None
    adapter: str | None = None
    quantisation: Quantisation = "none"
    devices: Devices = "one"
    prompt_format: str | None = None
    window: dict[str, int] | None = None
    system_prompt: str | None = None
    few_shot: tuple[Example, ...] = ()
    sampling: Sampling = Sampling()
    context_length: int | None = Field(default=None, ge=1)
    licence: str | None = None
    data_licences: tuple[str, ...] = ()
    parent: str | None = None
    tags: tuple[str, ...] = ()
    note: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _first_of_several(cls, fields: Any) -> Any:
        """`base_url` as a list is the first address and, in `base_urls`, the others."""
        if not isinstance(fields, dict):
            return fields
        given = fields.get("base_url")
        several = [*(given if isinstance(given, list | tuple) else [given] if given else [])]
        several += fields.get("base_urls") or ()
        if not (isinstance(given, list | tuple) or fields.get("base_urls")):
            return fields
        first, *others = dict.fromkeys(several)
        return {**fields, "base_url": first, "base_urls": others}

    @field_validator("base_url", "base_urls")
    @classmethod
    def _no_credentials(cls, given: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        for url in (given,) if isinstance(given, str) else given or ():
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.netloc:
                raise ValueError("write a URL such as http://localhost:8000/v1")
            if "@" in parts.netloc or parts.query:
                # Specs are stored: a key in the URL would lie in the database.
                raise ValueError("no user, password or key belongs here: name a variable in api_key_env")
        return given

    @field_validator("window")
    @classmethod
    def _known_window(cls, window: dict[str, int] | None) -> dict[str, int] | None:
        try:
            window_from(window)
        except InvalidInput as error:
            raise ValueError(str(error)) from None
        return window

    @model_validator(mode="after")
    def _countable_window(self) -> Self:
        if self.kind == "openai" and "token_budget" in (self.window or {}):
            raise ValueError("window: an endpoint's tokens cannot be counted here; use last_rounds or search")
        return self

    def digest(self, weights: str) -> str:
        """SHA-256 over what shapes the answers; `weights` is the content hash of the weights (or, for an
        endpoint, its identity: the URL and model id already in the spec, so pass an empty string)."""
        # Defaults stay out, so that a field added by a later release changes no version that does not use it.
        shaping = self.model_dump(
            mode="json",
            exclude_defaults=True,
            include={
                "kind", "source", "revision", "base_url", "endpoint", "control_text", "adapter", "quantisation",
                "prompt_format", "window", "system_prompt", "few_shot", "sampling", "context_length",
            },
        )  # fmt: skip
        if weights:
            shaping.pop("source", None)
        text = json.dumps({"weights": weights, **shaping}, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()
