"""What every scorer is: a pure function of an answer and a case, and how it is known by name."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Asks = Literal["text", "choices"]
Grade = Callable[[dict[str, Any], str], tuple[float | None, dict[str, Any]]]
"""A judge for `rubric`: takes the item's fields and the answer, gives a grade from 0 to 1 (None: unparsed) and what
it said."""


class Fields(BaseModel):
    """What a scorer reads of an item. Other fields of the item are none of its business."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Options(BaseModel):
    """A scorer's options (`scorer_options`); an unknown one is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Answer:
    """What a model answered: text, or one (log-probability, tokens, greedy) for each of the item's choices."""

    text: str = ""
    choices: tuple[tuple[float, int, bool], ...] = ()
    finish_reason: str | None = None


@dataclass(frozen=True)
class Case:
    """One item as its scorer sees it. `fields` and `options` are instances of the scorer's own models.

    `offered` is what the suite adds: labels, function definitions. `allow_code` and `judge` are given by the run.
    """

    fields: Any
    options: Any
    language: str = ""
    item: dict[str, Any] = field(default_factory=dict)
    offered: dict[str, Any] = field(default_factory=dict)
    allow_code: bool = False
    judge: Grade | None = None


@dataclass(frozen=True)
class Scored:
    """A sample's metrics (None: does not apply to this item) and what the scorer read in the answer."""

    metrics: dict[str, float | None]
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ScoredItem:
    """A scored sample as metrics over a whole suite see it."""

    group: str
    scored: Scored


@dataclass(frozen=True)
class Scorer:
    """A scorer by name. `metrics` are in order: the first is the score. `over_suite` gives further metrics that only
    exist for many samples, as functions of all of them."""

    name: str
    fields: type[Fields]
    options: type[Options]
    metrics: tuple[str, ...]
    score: Callable[[Answer, Case], Scored]
    asks: Asks = "text"
    over_suite: dict[str, Callable[[Sequence[ScoredItem]], float | None]] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """A hash over the source of the scorer's module: part of what a stored score stands for."""
        module = inspect.getmodule(self.score)
        return hashlib.sha256(inspect.getsource(module or self.score).encode()).hexdigest()[:16]


class NoFields(Fields):
    """Of scorers that read nothing in particular."""


class NoOptions(Options):
    """Of scorers without options."""
