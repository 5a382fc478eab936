"""A model that answers with the last word, run through suites: for tests of runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from arena.engines.base import Chunk, EngineError, Finished, Generation, GenerationRequest
from arena.engines.spec import ModelSpec
from arena.roster import Contestant
from evaluators.suites.definition import Suite
from evaluators.suites.plan import RunOptions
from evaluators.suites.running import Engines, RunOutcome, run_suites
from evaluators.suites.scorers import Grade
from results.records import ModelVersionRecord
from results.store import Store
from results.store.suites import suite_results

ITEMS = 12


class Echo:
    """Answers with the last word of the question, or fails as it is told: deterministic, and counts."""

    job_places = 2

    def __init__(self) -> None:
        self.asked: list[GenerationRequest] = []
        self.failing: dict[str, EngineError] = {}
        self.stop_after: int | None = None
        self.wrong: set[str] = set()
        self.task: asyncio.Task[Any] | None = None

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        assert request.conversation is not None
        word = request.conversation.messages[-1].content.split()[-1]
        if self.stop_after is not None and len(self.asked) >= self.stop_after:
            assert self.task is not None
            self.task.cancel()
            await asyncio.sleep(60)
        self.asked.append(request)
        await asyncio.sleep(0.02)
        if word in self.failing:
            raise self.failing[word]
        yield Finished(
            generation=Generation(
                text="?" if word in self.wrong else word, finish_reason="stop", duration=0.1, rendered_by="engine",
                rendered_prompt=f"<{word}>",
            )
        )  # fmt: skip

    async def generate(self, requests: Any) -> list[Generation]:
        raise NotImplementedError

    async def close(self) -> None:
        return


def contestant(store: Store, name: str = "m", digest: str = "d") -> Contestant:
    (version,) = store.upsert_model_versions([ModelVersionRecord(model=name, digest=digest)])
    return Contestant(ModelSpec(name=name, source="x"), version)


def run(
    store: Store, engine: Echo, suite: Suite, *models: Contestant, grader: Grade | None = None, **options: Any
) -> RunOutcome:
    async def opened(contestant: Contestant) -> Any:
        engine.task = asyncio.current_task()
        return engine

    async def closed(contestant: Contestant, engine: Any) -> None:
        return None

    chosen = list(models) or [contestant(store)]
    work = run_suites(store, Engines(opened, closed), chosen, [suite], RunOptions(**options), judge=grader)
    return asyncio.run(work)


def score(store: Store, outcome: RunOutcome, language: str = "") -> dict[str, Any]:
    (row,) = [
        row
        for row in suite_results(store, outcome.run.id).to_pylist()
        if row["is_score"] and row["language"] == language
    ]
    return dict(row)
