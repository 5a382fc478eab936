"""A running `arena serve` lends its loaded model to other processes on its data folder: one copy of the weights, and
none of them is harmed by another's end."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import psutil
import pytest

from arena.engines.base import Finished, GenerationRequest, Sampling, ScoreRequest
from arena.engines.local import LocalEngine
from arena.engines.pool import EnginePool
from arena.roster import Contestant

pytestmark = pytest.mark.model

READER = Path(__file__).parents[2] / "_servers" / "reading_process.py"
WORKER = "arena.engines.local_worker"
STORY = "Once upon a time"


def workers(pid: int) -> list[int]:
    """The workers among the children of a process."""
    return [
        child.pid
        for child in psutil.Process(pid).children(recursive=True)
        if WORKER in " ".join(child.cmdline())
    ]


def told(served: Any, **fields: Any) -> Any:
    asked = {"model": "smollm2", "prompt": STORY, "temperature": 0, "max_tokens": 16, **fields}
    return served.client().completions.create(**asked)


def test_another_process_answers_and_scores_through_the_servers_worker(
    served: Any, beside: tuple[Contestant, EnginePool]
) -> None:
    contestant, pool = beside
    engine = pool.get(contestant.spec)
    assert isinstance(engine, LocalEngine)

    async def ask() -> tuple[str, float]:
        request = GenerationRequest(text=STORY, sampling=Sampling(temperature=0, max_tokens=16))
        (scored,) = await engine.loglikelihood([ScoreRequest(text=STORY, continuations=(", there was",))])
        async with aclosing(engine.stream(request)) as chunks:
            last = [chunk async for chunk in chunks][-1]
        assert isinstance(last, Finished)
        return last.generation.text, scored[0].logprob

    text, logprob = asyncio.run(ask())
    assert text == told(served).choices[0].text
    echo = told(served, prompt=f"{STORY}, there was", echo=True, logprobs=0, max_tokens=0).choices[0].logprobs
    context = echo.text_offset.index(len(STORY))
    assert logprob == pytest.approx(sum(echo.token_logprobs[context:]), abs=1e-3)
    assert engine.worker.shared
    assert pool.memory().used == 0
    assert len(workers(served.process.pid)) == 1


def test_a_process_that_is_killed_while_it_reads_harms_nobody(served: Any) -> None:
    alone = told(served, max_tokens=30).choices[0].text
    before = workers(served.process.pid)
    command = [sys.executable, str(READER), str(served.data_dir), "smollm2", "Two dogs and", "4000"]
    root = {"cwd": READER.parents[2]}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **root) as reader:  # type: ignore[call-overload]
        try:
            assert reader.stdout is not None
            pieces = [json.loads(reader.stdout.readline()) for _ in range(3)]
            assert all(piece["shared"] and piece["memory"] == 0 for piece in pieces)
            assert workers(reader.pid) == []
            stream = told(served, max_tokens=30, stream=True)
            said = [next(stream).choices[0].text for _ in range(5)]
        finally:
            reader.kill()
    chunks = list(stream)
    assert "".join([*said, *(chunk.choices[0].text for chunk in chunks)]) == alone
    assert chunks[-1].choices[0].finish_reason == "length"
    assert workers(served.process.pid) == before
