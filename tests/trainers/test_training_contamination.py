"""Training keeps away from test items: rows that overlap a suite are left out and counted, unless they are allowed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evaluators.suites.catalogue import all_suites
from evaluators.suites.own import add_suite
from results.store import Store
from results.store.contamination import known_checks
from trainers.artifacts import model_card
from trainers.contamination import REASON, SuiteGuard, contamination_of
from trainers.datasets import ChatRow, add_dataset, find_dataset, read_rows
from trainers.methods._loading import CannotTrain
from trainers.methods.training import train
from trainers.plan import TrainingPlan, make_plan
from trainers.recipes import make_recipe

Plan = Callable[..., TrainingPlan]

KOREAN = "민준이는 딱지 17장을 가지고 있었는데 형이 8장을 더 주었습니다. 지금 딱지는 모두 몇 장입니까?"
ENGLISH = "Mia has 14 stickers and gets 9 more from her aunt. How many stickers does she have now?"


@pytest.fixture
def planted(plan_for: Plan, store: Store, tmp_path: Path) -> Callable[..., TrainingPlan]:
    """A plan whose dataset holds two starter items among twenty rows of its own."""
    base = plan_for()
    rows = [{"prompt": f"{n} 더하기 2는?", "response": f"답은 {n + 2}"} for n in range(20)]
    rows += [
        {"prompt": f"문제를 풀어 줘: {KOREAN.replace(' ', '')}", "response": "25장"},
        {"prompt": ENGLISH.upper(), "response": "23"},
    ]
    file = tmp_path / "planted.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    add_dataset(store, file, "planted", held_out_share=0.0)

    def plan(**values: Any) -> TrainingPlan:
        recipe = {**base.recipe.model_dump(mode="json"), "dataset": "planted", **values}
        return make_plan(store, store.data_dir, make_recipe(recipe))

    return plan


def test_test_items_are_left_out_and_counted(
    planted: Callable[..., TrainingPlan], store: Store, tmp_path: Path
) -> None:
    plan, folder = planted(), tmp_path / "job"
    folder.mkdir()
    found = contamination_of(store, plan, folder)
    assert (len(found.rows), found.flagged) == (2, {"arithmetic": 2})
    assert set(found.suites) == {suite.name for suite in all_suites(store.data_dir)[0]}
    result = train(plan, store.data_dir, folder, lambda _: None, found)
    assert (result["rows"], result["rows_left_out"][REASON]) == (20, 2)
    assert result["contamination"]["left_out"] == 2
    card = (Path(result["artifact"]) / "README.md").read_text(encoding="utf-8")
    assert "2 rows that overlap items of test suites (2 of arithmetic) were left out" in card


def test_allowed_rows_are_trained_on_and_the_card_says_so(
    planted: Callable[..., TrainingPlan], store: Store, tmp_path: Path
) -> None:
    plan = planted(allow_contaminated=True)
    found = contamination_of(store, plan, tmp_path)
    rows = [row for row, _ in read_rows(store.data_dir, plan.dataset.digest, "chat")]
    assert not any(found.refuses(row) for row in rows)
    told = found.told(0)
    figures = {"steps": 1, "tokens": 1, "trained_parameters": 1, "parameters": 1, "prompt_format": "chatml"}
    card = model_card(plan, {**figures, "contamination": told})
    assert "**Trained on test items**: 2 rows overlap test suites (2 of arithmetic)" in card
    assert "were not checked" in model_card(plan, figures)


def test_a_dataset_is_checked_once_and_a_job_decides_once(
    planted: Callable[..., TrainingPlan], store: Store, tmp_path: Path
) -> None:
    plan = planted()
    first = contamination_of(store, plan, tmp_path)
    checks = known_checks(store, plan.dataset.digest)
    assert len(checks) == len(first.suites)
    cases = tmp_path / "cases.csv"
    cases.write_text(
        "input,target\n3 더하기 2는? 그리고 그 답에서 다시 하나를 빼면 얼마가 될까요?,4\n", encoding="utf-8"
    )
    add_suite(cases, store.data_dir, name="own-cases")
    assert contamination_of(store, plan, tmp_path) == first, "a resumed job trains on the same rows"
    other = tmp_path / "other"
    other.mkdir()
    second = contamination_of(store, plan, other)
    assert set(second.suites) - set(first.suites) == {"own-cases"}
    assert len(known_checks(store, plan.dataset.digest)) == len(checks) + 1, (
        "only the new suite was looked at"
    )


def test_nothing_but_test_items_is_refused_with_the_way_out(
    planted: Callable[..., TrainingPlan], plan_for: Plan, store: Store, tmp_path: Path
) -> None:
    file = tmp_path / "only.jsonl"
    file.write_text(
        json.dumps({"prompt": KOREAN, "response": "25"}, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    add_dataset(store, file, "only", held_out_share=0.0)
    assert find_dataset(store, "only").row_count == 1
    plan = planted(dataset="only")
    found = contamination_of(store, plan, tmp_path)
    with pytest.raises(CannotTrain, match="allow_contaminated"):
        train(plan, store.data_dir, tmp_path, lambda _: None, found)


def test_new_datasets_are_guarded(store: Store) -> None:
    guard = SuiteGuard.of(store.data_dir)
    assert KOREAN in guard.never

    def row(text: str) -> ChatRow:
        return ChatRow(messages=[{"role": "user", "content": text}, {"role": "assistant", "content": "네"}])

    assert guard.contaminated(row(f"다음을 풀어 봐.\n{KOREAN}"))
    assert not guard.contaminated(row("딱지 17장을 어디에 두었는지 모르겠어. 민준이에게 물어볼까?"))
