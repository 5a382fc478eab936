"""What a rendering gives: the prompt, and everything needed to make it again."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from importlib import metadata
from typing import Any, Literal

from prompt_formats.conversation import Conversation


@dataclass(frozen=True)
class DroppedRound:
    """A round that a window left out: its number from 1 and how it began."""

    number: int
    begins: str


@dataclass(frozen=True)
class RenderedPrompt:
    """A prompt and all that is needed to make it again.

    `ids` are what a local model gets (control tokens typed by people are plain text there), null without a
    tokenizer; `n_bos` counts the BOS at the prompt's start. A parser needs the prompt's end to know
    whether the prompt opened the thinking. `policies` says, one line each, what was
    changed or noticed. `clock` is the frozen time, `clock_read` whether the template used it.
    """

    prompt: str
    ids: tuple[int, ...] | None
    stops: tuple[str, ...]
    stop_ids: tuple[int, ...]
    n_bos: int
    format: str
    family: str
    reason: str
    policies: tuple[str, ...]
    dropped_rounds: tuple[DroppedRound, ...]
    summary: str | None
    clock: datetime
    clock_read: bool
    template_hash: str
    kwargs: Mapping[str, Any]
    conversation: Conversation
    offsets: tuple[tuple[int, int], ...] | None = None

    def log(self, rendered_by: Literal["engine", "server"] = "engine") -> dict[str, Any]:
        """What to store with a generation, as JSON data.

        With `rendered_by="server"` (a remote chat endpoint) the log says that the server rendered the prompt
        unseen and that ours is an estimate.
        """
        return {
            "rendered_by": rendered_by,
            "estimate": rendered_by == "server",
            "format": self.format,
            "family": self.family,
            "reason": self.reason,
            "template_hash": self.template_hash,
            "kwargs": dict(self.kwargs),
            "clock": self.clock.isoformat(),
            "clock_read": self.clock_read,
            "policies": list(self.policies),
            "dropped_rounds": [{"number": r.number, "begins": r.begins} for r in self.dropped_rounds],
            "summary": self.summary,
            "prompt": self.prompt,
            "ids": None if self.ids is None else list(self.ids),
            "n_bos": self.n_bos,
            "stops": list(self.stops),
            "stop_ids": list(self.stop_ids),
            "versions": library_versions(),
        }


@lru_cache(maxsize=1)
def library_versions() -> dict[str, str]:
    """Versions of what shapes a prompt: Palaestra, Jinja, tokenizers, Python."""
    versions = {"python": platform.python_version()}
    for name in ("palaestra", "jinja2", "tokenizers"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions
