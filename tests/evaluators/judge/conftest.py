"""Scripted contestants and judges over real HTTP, a real store, and battles made of them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from arena.engines.pool import EnginePool
from arena.engines.spec import ModelSpec
from arena.roster import Contestant
from evaluators.battles import Prompt, ScriptReport, run_battles
from evaluators.judge import Judge, JudgeOptions, JudgeReport, Selection, own_prompts, plan_run, run_judge
from results.records import ModelVersionRecord
from results.store import Store, open_store

SERVER = Path(__file__).parents[2] / "_servers" / "scripted_judge.py"


@pytest.fixture(scope="session")
def judge_server() -> Iterator[str]:
    """The address (without /v1) of a running server of scripted judges."""
    with subprocess.Popen([sys.executable, str(SERVER)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = f"http://127.0.0.1:{int(process.stdout.readline())}"
        with httpx.Client(transport=httpx.HTTPTransport(retries=10), trust_env=False) as client:
            assert client.get(f"{address}/seen/nothing").json()["requests"] == 0
        yield address
        process.terminate()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "data") as opened:
        yield opened


class Arena:
    """A store, engines, and scripted models by name."""

    def __init__(self, store: Store, address: str) -> None:
        self.store, self.address = store, address
        self.pool = EnginePool(store.data_dir)

    def model(self, model: str, name: str | None = None, **fields: object) -> Contestant:
        spec = ModelSpec.model_validate(
            {
                "name": name or model,
                "kind": "openai",
                "source": model,
                "base_url": f"{self.address}/v1",
                **fields,
            }
        )
        (version,) = self.store.upsert_model_versions(
            [ModelVersionRecord(model=spec.name, digest=spec.digest(""), spec=spec.model_dump(mode="json"))]
        )
        return Contestant(spec, version)

    def requests(self, model: str) -> int:
        return int(httpx.get(f"{self.address}/seen/{model}", trust_env=False).json()["requests"])

    def battles(self, prompts: int = 3, *worths: int, category: str = "") -> ScriptReport:
        """Battles between models that answer worth so much; by default of 3 against 1."""
        models = [self.model(f"worth:{worth}", f"w{worth}") for worth in worths or (3, 1)]
        asked = [
            Prompt(id=f"q{n}", turns=(f"질문 {n}?",) if n % 2 else (f"Question {n}?", "And then?"),
                   category=category or f"c{n % 2}", language="ko" if n % 2 else "en", reference=("good",))
            for n in range(prompts)
        ]  # fmt: skip
        return asyncio.run(run_battles(self.store, self.pool.get, models, asked))

    def judge(self, model: str, name: str | None = None, **options: object) -> Judge:
        chosen = {"prompts": own_prompts(explain=False), "max_answer": 32, **options}
        return Judge(self.model(model, name), JudgeOptions(**chosen))  # type: ignore[arg-type]

    def run(self, judge: Judge, selection: Selection | None = None, **more: object) -> JudgeReport:
        plan = plan_run(self.store, judge, selection or Selection())
        return asyncio.run(run_judge(self.store, self.pool.get, plan, **more))  # type: ignore[arg-type]

    def counts(self, judge: str) -> dict[str, int]:
        rows = self.store.query(
            "SELECT verdict, sum(n)::INTEGER AS n FROM pair_counts WHERE judge = ? GROUP BY 1 HAVING sum(n) > 0",
            [judge],
        ).to_pylist()
        return {row["verdict"]: row["n"] for row in rows}


@pytest.fixture
def judging(store: Store, judge_server: str) -> Iterator[Arena]:
    arena = Arena(store, judge_server)
    yield arena
    asyncio.run(arena.pool.close())
