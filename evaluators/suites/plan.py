"""What a run is to do: models, suites and everything that decides its numbers, pinned."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from arena.roster import Contestant
from evaluators.suites.definition import Suite
from evaluators.suites.items import DIFFICULTIES, Item

Dtype = Literal["auto", "float32", "bfloat16", "float16"]


class RunOptions(BaseModel):
    """How a run is made.

    `limit` items of each suite are taken (languages and difficulties in turn); `samples` answers to each item;
    `languages` and `categories` choose items (none: all). `fresh` asks the models again instead of taking stored
    answers. `few_shot` is for lm-eval's tasks. `dtype`: in float32 an answer does not depend on what it was batched
    with; "auto" takes it where the machine has no GPU.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = ""
    limit: int | None = Field(default=None, ge=1)
    samples: int = Field(default=1, ge=1, le=1000)
    seed: int = 0
    languages: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    few_shot: int | None = Field(default=None, ge=0)
    judge: str | None = None
    dtype: Dtype = "auto"
    allow_code: bool = False
    fresh: bool = False


class Plan(BaseModel):
    """A run's identity: equal plans are the same work."""

    model_config = ConfigDict(frozen=True)

    models: tuple[tuple[str, str], ...]
    suites: tuple[tuple[str, str], ...]
    options: RunOptions

    @property
    def hash(self) -> str:
        """SHA-256 of the plan."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """For the store and for people."""
        return {
            "models": [{"model": label, "digest": digest} for label, digest in self.models],
            "suites": [{"suite": name, "digest": digest} for name, digest in self.suites],
            **self.options.model_dump(mode="json"),
        }


def plan_of(
    contestants: list[Contestant], suites: list[Suite], tasks: dict[str, str], options: RunOptions
) -> Plan:
    """The plan of a run; `tasks` are lm-eval's, by name, with the hash of their configuration."""
    return Plan(
        models=tuple((each.version.label, each.version.digest) for each in contestants),
        suites=(
            *((suite.name, suite.digest) for suite in suites),
            *(("lm:" + name, value) for name, value in tasks.items()),
        ),
        options=options,
    )


def chosen_items(suite: Suite, options: RunOptions) -> list[Item]:
    """The items of a suite that a run takes, in the suite's order. With a limit, languages take turns, and within a
    language the difficulties that items are tagged with, so that a short run tells small models apart as well."""
    items = [
        item
        for item in suite.items
        if (not options.languages or item.language in options.languages)
        and (not options.categories or item.category in options.categories)
    ]
    if options.limit is None or options.limit >= len(items):
        return items
    turns: dict[tuple[str, str], int] = {}
    order = []
    for place, item in enumerate(items):
        kind = item.language, item.difficulty
        turn = turns[kind] = turns.get(kind, -1) + 1
        order.append((turn, DIFFICULTIES.index(item.difficulty), place))
    taken = sorted(place for *_, place in sorted(order)[: options.limit])
    return [items[place] for place in taken]
