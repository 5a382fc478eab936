"""Suites graded by a judge: what it is asked, what is kept of it, and which grades are compared."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arena.engines.base import EngineUnavailable, Generation
from evaluators.suites.comparing import Side, compare
from evaluators.suites.definition import ASKED, Suite, load_suite
from evaluators.suites.errors import SuiteError
from evaluators.suites.grading import judge_grade
from evaluators.suites.plan import RunOptions
from evaluators.suites.reading import find_run
from results.store import Store, open_store
from results.store.suites import suite_samples
from tests.evaluators.suites.echoing import Echo, contestant, run, score


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "data") as opened:
        yield opened


def polite_suite(folder: Path) -> Suite:
    """A suite of three greetings in Korean that a judge grades."""
    folder.mkdir()
    (folder / "polite.yaml").write_text(
        "suite: polite\nscorer: rubric\nprompt: '공손하게: {{ greeting }}'\n", encoding="utf-8"
    )
    rows = [f'{{"id": "{n}", "language": "ko", "greeting": "인사 {n}"}}' for n in range(3)]
    (folder / "items.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return load_suite(folder)


def test_grades_of_different_judges_are_not_compared(store: Store, tmp_path: Path) -> None:
    suite, seen = polite_suite(tmp_path / "polite"), []

    def kind(item: dict[str, Any], answer: str) -> tuple[float | None, dict[str, Any]]:
        seen.append(item[ASKED])
        return 1.0, {}

    a, b = contestant(store, "a", "d1"), contestant(store, "b", "d2")
    run(store, Echo(), suite, a, grader=kind, judge="kind@1")
    assert sorted(seen) == [f"공손하게: 인사 {n}" for n in range(3)]
    run(store, Echo(), suite, b, grader=kind, judge="strict@1")
    sides = [Side(each.version.label, each.version.version_key) for each in (a, b)]
    with pytest.raises(SuiteError, match="no items in common"):
        compare(store, *sides)
    run(store, Echo(), suite, b, grader=kind, judge="kind@1")
    assert compare(store, *sides).suites[0].difference.items == 3


def test_what_a_judge_has_said_is_not_asked_for_again(store: Store) -> None:
    class Judge(Echo):
        async def generate(self, requests: Any) -> list[Generation]:
            self.asked.extend(requests)
            text = "[[11]]" if len(self.asked) == 1 else "[[7]]"
            return [Generation(text=text, finish_reason="stop", duration=0.1, rendered_by="engine")]

    async def graded(options: RunOptions) -> tuple[float | None, dict[str, Any]]:
        loop = asyncio.get_running_loop()
        grade = judge_grade(store, contestant(store, "j", "judge"), engine, loop, options)
        item = {"language": "ko", ASKED: "{answer}를 쓰세요", "rubric": "짧은가"}
        return await asyncio.to_thread(grade, item, "{task}")

    engine = Judge()
    value, said = asyncio.run(graded(RunOptions()))
    # Out of the scale is no grade: asked once more, tighter.
    assert (value, said["replies"]) == (pytest.approx(6 / 9), ["[[11]]", "[[7]]"])
    assert "[과제]\n{answer}를 쓰세요" in engine.asked[0].conversation.messages[0].content
    assert asyncio.run(graded(RunOptions())) == (value, said)
    assert len(engine.asked) == 2
    asyncio.run(graded(RunOptions(fresh=True)))
    assert len(engine.asked) == 3


def test_a_judge_that_cannot_be_asked_is_no_grade_and_is_asked_again(store: Store, tmp_path: Path) -> None:
    suite, engine, down = polite_suite(tmp_path / "polite"), Echo(), {"1"}

    def judge(item: dict[str, Any], answer: str) -> tuple[float | None, dict[str, Any]]:
        if answer in down:
            raise EngineUnavailable("the judge is away")
        return (None, {"unparsed": True}) if answer == "2" else (1.0, {"grade": 10.0})

    first = run(store, engine, suite, grader=judge)
    assert (first.complete, first.progress.errors, first.run.id) == (False, 1, find_run(store, "last").id)
    samples = {row["item"]: row for row in suite_samples(store, first.run.id).to_pylist()}
    assert samples["1"]["error_kind"] == "judge_unavailable"
    assert samples["1"]["score"] is None
    # Unparsed is said to be so, and is not asked about again.
    assert (samples["2"]["error_kind"], json.loads(samples["2"]["metrics"])["unparsed"]) == (None, 1.0)
    down.clear()
    again = run(store, engine, suite, grader=judge)
    assert (again.complete, again.run.id) == (True, first.run.id)
    assert len(engine.asked) == 3  # the model had answered already
    row = score(store, again)
    assert (row["value"], row["items"], row["errors"]) == (1.0, 2, 0)
