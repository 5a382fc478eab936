"""The smallest real model as a judge: what it says does not come from the answers, and that is found out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from arena.engines.spec import ModelSpec
from arena.roster import Contestant
from evaluators.judge import Judge, JudgeOptions, Selection, own_prompts, plan_run, run_judge
from results.records import ModelVersionRecord

if TYPE_CHECKING:
    from arena.engines.pool import EnginePool
    from tests.evaluators.judge.conftest import Arena


@pytest.mark.model
def test_smollm2_is_unusable_as_a_judge(
    judging: Arena, engine_pool: EnginePool, smollm2_spec: ModelSpec
) -> None:
    judging.battles(12)
    (version,) = judging.store.upsert_model_versions([ModelVersionRecord(model="smollm2", digest="q4")])
    options = JudgeOptions(prompts=own_prompts(forced=True), max_answer=4, probe=0.0)
    judge = Judge(Contestant(smollm2_spec, version), options)
    # It knows no Korean: its tokenizer takes several tokens for a letter, and a prompt would take minutes to read.
    plan = plan_run(judging.store, judge, Selection(language="en"))
    report = asyncio.run(run_judge(judging.store, engine_pool.get, plan))
    # It answers A in both orders, however good the answer is that stands there.
    assert (report.standing.usable, report.standing.reason) == (False, "order")
    assert report.statuses == {"inconsistent": 6}
    assert judging.counts(judge.name) == {}
    replies = judging.store.query("SELECT reply FROM judge_calls").to_pylist()
    assert {row["reply"] for row in replies} == {"Verdict: [[A]]"}
