"""Runs: sample by sample, resumed, cached by identity, with the errors of models told apart from wrong answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arena.engines.base import (
    EngineError,
    EngineUnavailable,
    GenerationRequest,
    OverContext,
    Sampling,
    Score,
    ScoreRequest,
)
from arena.roster import Contestant
from evaluators.suites.answering import ask_of
from evaluators.suites.at_work import alone, state_of
from evaluators.suites.comparing import Side, compare
from evaluators.suites.definition import Suite, load_suite
from evaluators.suites.errors import NeedsLoglikelihood, SuiteError
from evaluators.suites.lm_tasks import LmTask
from evaluators.suites.plan import RunOptions
from evaluators.suites.reading import change_since, find_run, find_side, run_summary
from evaluators.suites.running import Engines, run_suites
from evaluators.suites.session import Chosen, bench
from results.store import Store, open_store
from results.store.suites import suite_results, suite_runs, suite_samples
from tests.evaluators.suites.echoing import ITEMS, Echo, contestant, run, score


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "data") as opened:
        yield opened


@pytest.fixture
def echo_suite(tmp_path: Path) -> Suite:
    folder = tmp_path / "echo"
    folder.mkdir()
    (folder / "echo.yaml").write_text(
        "suite: echo\nscorer: exact\nprompt: 'Say {{ input }}'\n", encoding="utf-8"
    )
    rows = [
        f'{{"id": "{n}", "language": "{"ko" if n % 2 else "en"}", "input": "w{n}", "target": "w{n}"}}'
        for n in range(ITEMS)
    ]
    (folder / "items.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return load_suite(folder)


def test_results_have_standard_errors_and_languages_apart(store: Store, echo_suite: Suite) -> None:
    engine = Echo()
    engine.wrong = {"w1", "w3"}
    outcome = run(store, engine, echo_suite)
    assert outcome.complete
    row = score(store, outcome)
    assert (row["value"], row["items"], row["errors"]) == (pytest.approx(10 / 12), 12, 0)
    assert row["stderr"] == pytest.approx((10 / 12 * 2 / 12 / 11) ** 0.5)
    assert score(store, outcome, "en")["value"] == 1
    sample = suite_samples(store, outcome.run.id).to_pylist()[0]
    assert (sample["rendered_prompt"], sample["text"]) == ("<w0>", "w0")


def test_a_stopped_run_goes_on_where_it_was_and_asks_nothing_twice(store: Store, echo_suite: Suite) -> None:
    engine = Echo()
    engine.stop_after = 5
    with pytest.raises(asyncio.CancelledError):
        run(store, engine, echo_suite)
    assert [each.state for each in suite_runs(store)] == ["stopped"]
    kept = suite_samples(store).num_rows
    assert 0 < kept <= 5
    engine.stop_after = None
    outcome = run(store, engine, echo_suite)
    assert len(suite_runs(store)) == 1
    assert outcome.made == ITEMS - kept
    assert len(engine.asked) - 5 == ITEMS - kept  # only what was in the making is asked again
    assert score(store, outcome)["value"] == 1


def test_a_run_whose_process_died_is_interrupted(store: Store, echo_suite: Suite) -> None:
    outcome = run(store, Echo(), echo_suite, limit=1)
    assert state_of(store, outcome.run) == "interrupted"  # as it was begun
    assert state_of(store, find_run(store, "last")) == "done"
    with alone(store.data_dir, outcome.run.plan_hash):
        assert state_of(store, outcome.run) == "running"
        with pytest.raises(SuiteError, match="another process is at work"):
            run(store, Echo(), echo_suite, limit=1)


def test_another_run_takes_stored_answers_but_never_another_models(store: Store, echo_suite: Suite) -> None:
    engine = Echo()
    run(store, engine, echo_suite)
    again = run(store, engine, echo_suite)
    assert (len(engine.asked), again.made, again.progress.reused) == (ITEMS, 0, ITEMS)
    assert len(suite_runs(store)) == 2
    other = run(store, engine, echo_suite, contestant(store, digest="other weights"))
    assert (len(engine.asked), other.made) == (2 * ITEMS, ITEMS)
    fresh = run(store, engine, echo_suite, fresh=True)
    assert fresh.made == ITEMS


def test_an_answers_identity_is_everything_that_shapes_it(store: Store, echo_suite: Suite) -> None:
    model, request = contestant(store), echo_suite.request(echo_suite.items[0]).ask
    assert isinstance(request, GenerationRequest)
    base = ask_of(model, request)
    assert ask_of(model, request, seed=7).id == base.id  # greedy: the seed changes nothing
    warm = request.model_copy(update={"sampling": Sampling(temperature=0.7, max_tokens=256)})
    others = [
        ask_of(contestant(store, digest="other"), request),
        ask_of(model, request, dtype="float32"),
        ask_of(model, request, repeat=1),
        ask_of(model, request.model_copy(update={"stop": ("\n",)})),
        ask_of(model, warm),
        ask_of(model, warm, seed=7),
        ask_of(model, request, fresh="run"),
    ]
    assert len({each.id for each in [base, *others]}) == 8


def test_errors_are_no_wrong_answers_and_are_tried_again(store: Store, echo_suite: Suite) -> None:
    engine = Echo()
    engine.failing = {"w2": EngineError("it broke"), "w4": OverContext("too long")}
    outcome = run(store, engine, echo_suite)
    progress = outcome.progress
    assert (outcome.complete, progress.errors, progress.over_context) == (False, 1, 1)
    row = score(store, outcome)
    # What does not fit the context is not solved; what broke is nobody's answer.
    assert (row["value"], row["items"], row["errors"]) == (pytest.approx(10 / 11), 11, 2)
    assert [each.state for each in suite_runs(store)] == ["failed"]
    missing = run_summary(store, outcome.run)["missing"]
    assert [(row["kind"], row["samples"], row["counted"], row["message"]) for row in missing] == [
        (EngineError.kind, 1, False, "it broke"),
        ("over_context", 1, True, "too long"),
    ]
    engine.failing.pop("w2")
    before = len(engine.asked)
    again = run(store, engine, echo_suite)
    assert again.run.id == outcome.run.id
    assert (len(engine.asked) - before, again.complete) == (1, True)
    assert score(store, again)["value"] == pytest.approx(11 / 12)


def test_a_model_that_is_down_is_given_up_and_the_others_go_on(store: Store, echo_suite: Suite) -> None:
    down, up = Echo(), Echo()
    down.failing = {f"w{n}": EngineUnavailable("connection refused") for n in range(ITEMS)}
    first, second = contestant(store, "down", "d1"), contestant(store, "up", "d2")

    async def opened(contestant: Contestant) -> Any:
        return down if contestant.spec.name == "down" else up

    async def closed(contestant: Contestant, engine: Any) -> None:
        return None

    outcome = asyncio.run(
        run_suites(store, Engines(opened, closed), [first, second], [echo_suite], RunOptions())
    )
    assert list(outcome.failed) == ["down@1"]
    assert "connection refused" in outcome.failed["down@1"]
    assert len(down.asked) < ITEMS
    assert len(up.asked) == ITEMS
    assert not outcome.complete


def test_one_of_several_models_that_cannot_score_text_stops_no_other(store: Store, tmp_path: Path) -> None:
    class Scoring(Echo):
        async def loglikelihood(self, requests: list[ScoreRequest]) -> list[list[Score]]:
            return [
                [Score(logprob=-n, tokens=1, greedy=not n) for n, _ in enumerate(r.continuations)]
                for r in requests
            ]

    folder = tmp_path / "pick"
    folder.mkdir()
    (folder / "pick.yaml").write_text("suite: pick\nscorer: choice\n", encoding="utf-8")
    (folder / "items.jsonl").write_text(
        '{"id": "1", "input": "수도는?", "choices": ["서울", "부산"], "target": 0}', encoding="utf-8"
    )
    suite, chat, local = load_suite(folder), contestant(store, "chat", "d1"), contestant(store, "local", "d2")
    engines = {"chat": Echo(), "local": Scoring()}

    async def opened(contestant: Contestant) -> Any:
        return engines[contestant.spec.name]

    async def closed(contestant: Contestant, engine: Any) -> None:
        return None

    both = asyncio.run(run_suites(store, Engines(opened, closed), [chat, local], [suite]))
    assert "`choice_letter` instead of `choice`" in both.failed["chat@1"]
    assert [row["model"] for row in suite_results(store, both.run.id).to_pylist() if row["is_score"]] == [
        "local@1"
    ]
    with pytest.raises(NeedsLoglikelihood):
        asyncio.run(run_suites(store, Engines(opened, closed), [chat], [suite]))


def test_several_samples_of_an_item_are_one_item(store: Store, echo_suite: Suite) -> None:
    outcome = run(store, Echo(), echo_suite, samples=3, limit=4)
    row = score(store, outcome)
    assert (row["items"], row["samples"]) == (4, 12)


def test_better_is_said_only_when_it_is(store: Store, echo_suite: Suite) -> None:
    good, bad = Echo(), Echo()
    bad.wrong = {f"w{n}" for n in range(10)}
    a, b = contestant(store, "good", "d1"), contestant(store, "bad", "d2")
    run(store, good, echo_suite, a)
    outcome = run(store, bad, echo_suite, b)
    sides = [Side(each.version.label, each.version.version_key) for each in (a, b)]
    found = compare(store, *sides, bound=0.02)
    assert (found.suites[0].verdict, found.gate_says_no) == ("worse", True)
    assert found.suites[0].difference.test == "mcnemar"
    same = compare(store, sides[0], sides[0])
    assert (same.suites[0].verdict, same.gate_says_no) == ("inconclusive", False)
    assert compare(store, sides[1], sides[0]).suites[0].verdict == "better"
    assert find_side(store, "bad").version_key == b.version.version_key
    assert find_side(store, str(outcome.run.id)[:13]).run_id == outcome.run.id
    with pytest.raises(SuiteError, match="no scored samples of other"):
        compare(store, *sides, ["other"])
    with pytest.raises(SuiteError, match="no model, version or alias, and no run"):
        find_side(store, "nobody")


def test_a_nightly_run_tells_what_changed(store: Store, echo_suite: Suite) -> None:
    engine = Echo()
    first = run(store, engine, echo_suite, contestant(store), name="nightly")
    assert change_since(store, find_run(store, str(first.run.id))) is None
    engine.wrong = {f"w{n}" for n in range(10)}
    second = run(store, engine, echo_suite, contestant(store, digest="retrained"), name="nightly")
    change = change_since(store, find_run(store, "nightly"))
    assert change is not None
    assert change["run"] == str(first.run.id)
    (row,) = change["changes"]
    assert (row["before_model"].split(" ")[0], row["model"].split(" ")[0]) == ("m@1", "m@2")
    assert (row["verdict"], row["before"]) == ("worse", 1)
    assert second.run.id != first.run.id


def test_code_and_judges_are_refused_before_a_model_is_loaded(store: Store, tmp_path: Path) -> None:
    for scorer, needed in (("code", "--allow-code"), ("rubric", "--judge")):
        folder = tmp_path / scorer
        folder.mkdir()
        (folder / f"{scorer}.yaml").write_text(f"suite: {scorer}\nscorer: {scorer}\n", encoding="utf-8")
        (folder / "items.jsonl").write_text('{"id": "1", "input": "x", "tests": "pass"}', encoding="utf-8")
        engine = Echo()
        with pytest.raises(SuiteError, match=needed):
            run(store, engine, load_suite(folder))
        assert not engine.asked


@pytest.mark.parametrize(
    ("tasks", "options", "told"),
    [
        ([], RunOptions(few_shot=2), "few_shot is for lm-eval's tasks"),
        ([LmTask("gsm8k", "gsm8k", "d")], RunOptions(samples=2), "lm:gsm8k is lm-eval's"),
        ([LmTask("gsm8k", "gsm8k", "d")], RunOptions(languages=("ko",)), "of our suites alone"),
    ],
)
def test_options_that_would_be_passed_over_are_refused(
    store: Store, echo_suite: Suite, tasks: list[LmTask], options: RunOptions, told: str
) -> None:
    async def never(*_: Any) -> Any:
        raise AssertionError("a model was opened")

    work = bench(store, Engines(never, never), [contestant(store)], Chosen([echo_suite], tasks), options)
    with pytest.raises(SuiteError, match=told):
        asyncio.run(work)
