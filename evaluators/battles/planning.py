"""Which model answers what, and which answers meet: decided before anything is generated, and the same each time."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal
from uuid import UUID

from arena.engines.base import Sampling
from arena.roster import Contestant
from evaluators.battles.prompt_files import Prompt
from results.ids import named_id

Pairs = Literal["all", "sampled"]


class NoPairs(ValueError):
    """The models that were named cannot meet; the message says why."""


@dataclass(frozen=True)
class ScriptOptions:
    """`samples` answers of each model to each prompt; each two models that answered meet (`all`), or `per_prompt`
    drawn pairs (`sampled`). `sampling` goes over the models' own; `timeout` is seconds for one answer."""

    samples: int = 1
    pairs: Pairs = "all"
    per_prompt: int = 1
    seed: int = 0
    sampling: Sampling = field(default_factory=lambda: Sampling(max_tokens=512))
    timeout: float = 600.0


@dataclass(frozen=True)
class Task:
    """One model's conversation over one prompt."""

    id: UUID
    contestant: Contestant
    prompt: Prompt
    sample: int
    seed: int
    sampling: Sampling


@dataclass(frozen=True)
class Meeting:
    """Two answers that meet; a and b are sides."""

    id: UUID
    a: Task
    b: Task
    probability: float


@dataclass(frozen=True)
class Plan:
    """All tasks, by model in the order of the contestants, and all meetings."""

    run_id: UUID
    tasks: tuple[Task, ...]
    meetings: tuple[Meeting, ...]
    policy: str


def make_plan(prompts: Sequence[Prompt], contestants: Sequence[Contestant], options: ScriptOptions) -> Plan:
    """The plan of a run. Ids are v5 over model versions, prompts and what shapes answers, so that a run that is begun
    again finds what it has, and a run with one more model adds only that model's answers and battles.

    Raises NoPairs for fewer than two models, or one that is named twice.
    """
    labels = [contestant.version.label for contestant in contestants]
    twice = [label for label, times in Counter(labels).items() if times > 1]
    if twice:
        raise NoPairs(f"{', '.join(twice)}: named twice; a model does not meet itself")
    if len(labels) < 2:
        raise NoPairs("a battle needs two models: name at least two")
    tasks: dict[UUID, Task] = {}
    meetings: list[Meeting] = []
    probability = 1 / (len(labels) * (len(labels) - 1))
    for prompt in prompts:
        for sample in range(options.samples):
            pairs = list(combinations(range(len(labels)), 2))
            if options.pairs == "sampled":
                draw = _rng("pairs", options.seed, prompt.id, json.dumps(prompt.turns), sample)
                pairs = sorted(draw.sample(pairs, min(options.per_prompt, len(pairs))))
            for i, j in pairs:
                sides = [_task(contestants[k], prompt, sample, options) for k in (i, j)]
                first, second = sorted(sides, key=lambda task: task.id)
                meeting = named_id("script battle", str(first.id), str(second.id))
                if _rng("sides", options.seed, str(meeting)).random() < 0.5:
                    first, second = second, first
                tasks.update({first.id: first, second.id: second})
                meetings.append(Meeting(meeting, first, second, probability))
    place = {label: number for number, label in enumerate(labels)}
    ordered = sorted(tasks.values(), key=lambda task: place[task.contestant.version.label])
    return Plan(
        _run_id(prompts, contestants, options), tuple(ordered), tuple(meetings), f"script:{options.pairs}"
    )


def _task(contestant: Contestant, prompt: Prompt, sample: int, options: ScriptOptions) -> Task:
    sampling = options.sampling.over(contestant.spec.sampling)
    seed = _rng("answer", options.seed, json.dumps(prompt.turns), sample).randrange(2**31)
    version = contestant.version
    own = named_id(
        "script answer", version.model, version.digest, json.dumps(prompt.turns, ensure_ascii=False),
        sampling.model_dump_json(exclude_none=True), str(seed), str(sample),
    )  # fmt: skip
    return Task(own, contestant, prompt, sample, seed, sampling)


def _run_id(prompts: Sequence[Prompt], contestants: Sequence[Contestant], options: ScriptOptions) -> UUID:
    return named_id(
        "script run",
        json.dumps([prompt.model_dump(mode="json") for prompt in prompts], ensure_ascii=False),
        json.dumps(sorted(f"{each.version.model}:{each.version.digest}" for each in contestants)),
        json.dumps([options.samples, options.pairs, options.per_prompt, options.seed]),
        options.sampling.model_dump_json(exclude_none=True),
    )


def _rng(*parts: object) -> random.Random:
    """A generator that the same parts seed alike on every machine."""
    text = "\x1f".join(map(str, parts))
    return random.Random(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]))  # noqa: S311
