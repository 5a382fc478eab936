"""Judges over battles: real HTTP, a real store."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from arena.config import Price
from arena.engines.remote import RemoteEngine
from arena.engines.remote_retries import RetryPolicy
from evaluators.judge import (
    Budget,
    Selection,
    decide,
    jury_battles,
    own_prompts,
    parse_selection,
    plan_run,
    run_judge,
    summarise_judge,
)
from evaluators.judge.subjects import BadSelection
from results.leaderboard import leaderboard
from results.store import BadWrite

if TYPE_CHECKING:
    from tests.evaluators.judge.conftest import Arena


def test_a_fair_judge_in_both_orders_ranks_models_by_their_answers(judging: Arena) -> None:
    before = judging.requests("worth:3")
    made = judging.battles(8, 3, 1, 2)
    assert (made.answers, made.battles, made.failures) == (24, 24, ())
    assert judging.requests("worth:3") - before == 12  # four prompts of one turn and four of two
    report = judging.run(judging.judge("fair"))
    assert report.statuses == {"verdict": 24}
    assert report.standing.usable is True
    told = summarise_judge(judging.store)
    assert told.orders is not None
    assert (told.orders.kept, told.orders.inconsistent) == (24, 0)
    assert told.labels is not None
    assert told.labels.battles == 10
    assert told.labels.slot.value == told.labels.label.value == 0.5
    assert told.with_probabilities == 48 + 20
    assert [(rate.model, rate.control.raw > 0.5) for rate in told.win_rates[::2]] == [
        ("w3", True),
        ("w1", False),
    ]
    board = leaderboard(judging.store, source="judge", judge="fair@1/palaestra-brief")
    assert (board.votes, {row.model for row in board.models}) == (24, {"w1", "w2", "w3"})
    assert judging.store.check() == []


def test_running_again_asks_nothing_and_changes_nothing(judging: Arena) -> None:
    judging.battles(4)
    judge = judging.judge("fair:again")
    judging.run(judge)
    asked, counted = judging.requests("fair:again"), judging.counts(judge.name)
    outcomes = judging.store.query("SELECT id, status, verdict, expected FROM judge_outcomes ORDER BY id")
    report = judging.run(judge)
    assert (report.asked.asked, report.tokens) == (0, 0)
    assert judging.requests("fair:again") == asked
    assert judging.counts(judge.name) == counted
    assert (
        judging.store.query("SELECT id, status, verdict, expected FROM judge_outcomes ORDER BY id")
        == outcomes
    )
    assert not plan_run(judging.store, judge, Selection(unjudged=True)).subjects


def test_a_judge_that_follows_the_order_is_unusable_and_not_averaged_away(judging: Arena) -> None:
    judging.battles(12)
    judge = judging.judge("first")
    report = judging.run(judge)
    assert report.statuses == {"inconsistent": 12}
    assert (report.standing.usable, report.standing.reason) == (False, "order")
    assert judging.counts(judge.name) == {}
    assert judging.store.query("SELECT DISTINCT excluded FROM judgments")["excluded"].to_pylist() == [
        "unusable_judge"
    ]
    told = summarise_judge(judging.store)
    assert told.orders is not None
    assert (told.orders.followed, told.orders.first_slot_share.value) == (12, 1.0)
    assert told.labels is not None
    assert (told.labels.slot.value, told.labels.label.value) == (1.0, 0.5)
    assert judging.store.check() == []


def test_a_taste_for_a_label_is_told_apart_from_one_for_a_slot(judging: Arena) -> None:
    judging.battles(12)
    judging.run(judging.judge("labelled"))
    labels = summarise_judge(judging.store).labels
    assert labels is not None
    assert (labels.slot.value, labels.label.value) == (0.5, 1.0)


@pytest.mark.parametrize(("model", "status"), [("garbage", "unparsed"), ("refuses", "refused")])
def test_a_reply_without_a_verdict_is_asked_once_more_and_told_as_such(
    judging: Arena, model: str, status: str
) -> None:
    judging.battles(3)
    judge = judging.judge(f"{model}:x", probe=0.0)
    report = judging.run(judge)
    assert report.statuses == {status: 3}
    assert report.asked.retried == 6
    assert judging.requests(f"{model}:x") == 12
    assert judging.store.query("SELECT count(*) AS n FROM judgments")["n"].to_pylist() == [0]
    assert judging.counts(judge.name) == {}


def test_the_second_try_counts(judging: Arena) -> None:
    judging.battles(3)
    report = judging.run(judging.judge("garbage-then-ok", probe=0.0))
    assert report.statuses == {"inconsistent": 3}
    assert report.asked.retried == 6


def test_failed_questions_are_no_verdicts_and_are_asked_again(judging: Arena) -> None:
    judging.battles(3)
    judge = judging.judge("rejects", probe=0.0)
    report = judging.run(judge)
    assert report.statuses == {"failed": 3}
    assert "rejected" in report.asked.errors
    assert judging.counts(judge.name) == {}
    assert len(plan_run(judging.store, judge, Selection(unjudged=True)).questions.asked) == 6


def test_a_judge_that_never_answers_times_out(judging: Arena) -> None:
    judging.battles(1)
    report = judging.run(judging.judge("hang", probe=0.0, timeout=0.5))
    assert report.statuses == {"failed": 1}
    assert "timed_out" in report.asked.errors


def test_a_judge_that_is_down_stops_the_run(judging: Arena) -> None:
    judging.battles(8)
    judge = judging.judge("fair", "down", probe=0.0, concurrency=1)
    spec = judge.contestant.spec.model_copy(update={"base_url": "http://127.0.0.1:9/v1"})
    judge = replace(judge, contestant=replace(judge.contestant, spec=spec))
    impatient = RemoteEngine(spec, RetryPolicy(first_wait=0.01, longest_wait=0.01))
    plan = plan_run(judging.store, judge, Selection())
    report = asyncio.run(run_judge(judging.store, lambda _: impatient, plan))
    assert report.asked.stopped is not None
    assert "cannot be reached" in report.asked.stopped
    assert report.asked.failed == 5
    assert judging.counts(judge.name) == {}


def test_probabilities_are_asked_for_only_where_they_are_given(judging: Arena) -> None:
    judging.battles(2)
    report = judging.run(judging.judge("no-logprobs", probe=0.0))
    assert report.statuses == {"verdict": 2}
    assert summarise_judge(judging.store).with_probabilities == 0


def test_a_chat_endpoint_cannot_be_forced_and_is_told_what_can(judging: Arena) -> None:
    judging.battles(1)
    report = judging.run(judging.judge("fair", prompts=own_prompts(forced=True), probe=0.0))
    assert report.statuses == {"failed": 1}
    assert 'endpoint = "completions"' in report.asked.errors["rejected"]


def test_single_grades_win_and_equal_questions_are_asked_once(judging: Arena) -> None:
    judging.battles(4, 3, 1, 2, category="x")
    judge = judging.judge("grades", mode="single")
    plan = plan_run(judging.store, judge, Selection(language="en"))
    # Two prompts of two turns: three models' answers, graded turn by turn.
    assert (len(plan.questions.asked), plan.estimate.questions) == (24, 12)
    report = judging.run(judge, Selection(language="en"))
    assert (report.asked.asked, report.asked.cached) == (12, 12)
    assert report.statuses == {"verdict": 6}
    scores = judging.store.query("SELECT DISTINCT score FROM rubric_grades ORDER BY 1")["score"].to_pylist()
    assert scores == [2.0, 4.0, 6.0]
    assert [rate.model for rate in summarise_judge(judging.store).win_rates] == ["w3", "w2", "w1"]


def test_a_grade_outside_the_scale_is_unparsed_and_never_a_number(judging: Arena) -> None:
    judging.battles(2)
    report = judging.run(judging.judge("outside", mode="single"))
    assert report.statuses == {"unparsed": 2}
    assert judging.store.query("SELECT count(score) AS n FROM rubric_grades")["n"].to_pylist() == [0]


def test_rubrics_keep_every_criterion(judging: Arena) -> None:
    judging.battles(1)
    judging.run(judging.judge("rubric", mode="rubric"))
    rows = judging.store.query(
        "SELECT criterion, score FROM rubric_grades WHERE side = 'a' ORDER BY criterion"
    ).to_pylist()
    assert {row["criterion"]: row["score"] for row in rows} == {
        "": pytest.approx((3 * 8 + 2 * 6 + 10) / 6), "correctness": 8.0, "helpfulness": 6.0, "clarity": 10.0,
    }  # fmt: skip


def test_a_jury_decides_by_majority_or_weight_without_the_unusable(judging: Arena) -> None:
    judging.battles(12)
    names = []
    for model in ("fair:1", "fair:2", "garbage-then-ok:1", "first:1"):
        judge = judging.judge(model, probe=0.0)
        judging.run(judge)
        names.append(judge.name)
    battles = [s.battle_id for s in plan_run(judging.store, judging.judge("fair:1"), Selection()).subjects]
    report = decide(judging.store, names, battles)
    assert report.left_out == tuple(sorted(names[2:]))
    assert report.statuses == {"verdict": 12}
    assert report.unanimous == 12
    assert sum(judging.counts(report.judge).values()) == 12
    weighted = decide(judging.store, names[:2], battles, weights={names[0]: 2.0, names[1]: 1.0})
    assert "*2" in weighted.judge
    assert judging.store.check() == []


def test_a_jury_decides_also_what_its_jurors_judged_before(judging: Arena) -> None:
    judging.battles(6)
    judges = [judging.judge(f"fair:before-{n}", probe=0.0) for n in range(2)]
    for judge in judges:
        judging.run(judge)
    unjudged = Selection(unjudged=True)
    plans = [plan_run(judging.store, judge, unjudged) for judge in judges]
    assert not any(plan.subjects for plan in plans)
    battles = jury_battles(judging.store, unjudged, plans)
    assert decide(judging.store, [judge.name for judge in judges], battles).statuses == {"verdict": 6}
    one = Selection(limit=1)
    assert len(jury_battles(judging.store, one, [plan_run(judging.store, judges[0], one)])) == 1


def test_a_budget_stops_before_it_is_passed_and_the_next_run_goes_on(judging: Arena) -> None:
    judging.battles(6)
    judge = judging.judge("fair:budget", probe=0.0, concurrency=1)
    report = judging.run(judge, budget=Budget(None, 600, None))
    assert report.asked.stopped is not None
    assert 0 < report.tokens <= 600
    assert sum(report.statuses.values()) < 6
    later = judging.run(judge)
    assert (later.asked.stopped, later.statuses) == (None, {"verdict": 6})
    assert judging.requests("fair:budget") == 12
    price = Price(input=1.0, output=2.0)
    estimate = plan_run(judging.store, judging.judge("fair:new"), Selection(), price=price).estimate
    assert estimate.cost_low is not None
    assert 0 < estimate.cost_low < (estimate.cost_high or 0)
    with pytest.raises(ValueError, match=r"\[prices\]"):
        Budget(1.0, None, None)


def test_kin_is_flagged(judging: Arena) -> None:
    models = [judging.model("worth:3", "Qwen3-8B"), judging.model("worth:1", "gemma-3-4b-it")]
    from evaluators.battles import Prompt, run_battles

    prompts = [Prompt(id=str(n), turns=(f"q{n}",), language="en") for n in range(3)]
    asyncio.run(run_battles(judging.store, judging.pool.get, models, prompts))
    assert judging.run(judging.judge("fair", "qwen2.5-72b-instruct", probe=0.0)).kin == 3
    kin = judging.store.query(
        "SELECT o.kin, m.name FROM judge_outcomes o JOIN battles b ON b.id = o.battle_id "
        "JOIN model_versions v ON v.version_key = CASE o.kin WHEN 'a' THEN b.version_a ELSE b.version_b END "
        "JOIN models m USING (model_key)"
    ).to_pylist()
    assert {row["name"] for row in kin} == {"Qwen3-8B"}
    assert {row["kin"] for row in kin} <= {"a", "b"}
    told = summarise_judge(judging.store).kinship
    assert told is not None
    assert told.judge.value > 0.5
    assert told.difference is None  # nobody has voted


def test_selections(judging: Arena) -> None:
    made = judging.battles(4, 3, 1, 2)
    judge = judging.judge("fair")

    def chosen(text: str) -> int:
        return len(plan_run(judging.store, judge, parse_selection(text)).subjects)

    assert chosen("all") == 12
    assert chosen("language=ko") == 6
    assert chosen("category=c0,limit=2") == 2
    assert chosen(f"run={made.run_id},model=w3,model=w1@1") == 4
    assert chosen("voted") == 0
    for bad in ("everything", "run=7", "limit=x", "category"):
        with pytest.raises(BadSelection):
            parse_selection(bad)


def test_a_name_stands_for_one_judge(judging: Arena) -> None:
    judging.battles(1)
    judging.run(judging.judge("fair:1", name="judge-1"))
    other = judging.judge("fair:2")
    taken = replace(other, options=replace(other.options, name="judge-1@1/palaestra-brief"))
    with pytest.raises(BadWrite, match="another name"):
        judging.run(taken)
