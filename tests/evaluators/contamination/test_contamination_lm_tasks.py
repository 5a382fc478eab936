"""Items of lm-eval's tasks are found in datasets, by the hashes that their samples have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from arena.cli.main import main
from evaluators.contamination.lm_items import task_suites, tasks_run
from evaluators.suites.errors import SuiteError
from evaluators.suites.lm_tasks import LmTask, find_task
from results.ids import new_id
from results.store import open_store
from results.store.suites import SuiteRunRecord, begin_run

QUESTION = "Which of the four lamps in the old lighthouse of Marrow Point was the last one to be lit by hand?"
KOREAN = "다음 중에서 겨울철 한라산 정상 부근의 숲을 이루는 나무로 알맞은 것을 하나만 고르시오."


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with the lm-eval task `lamps`, a dataset whose first row holds one of its items, and a run."""
    (tmp_path / "tasks").mkdir()
    rows = [
        {"q": QUESTION, "choices": ["the red one", "the green one"], "right": 1},
        {"q": KOREAN, "choices": ["구상나무", "야자나무"], "right": 0},
    ]
    items = tmp_path / "lamps.jsonl"
    items.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    (tmp_path / "tasks" / "lamps.yaml").write_text(
        "task: lamps\ndataset_path: json\n"
        f"dataset_kwargs: {{data_files: {{test: {json.dumps(str(items))}}}}}\n"
        "test_split: test\noutput_type: multiple_choice\ndoc_to_text: '{{q}}'\ndoc_to_choice: choices\n"
        "doc_to_target: right\nmetric_list: [{metric: acc}]\n",
        encoding="utf-8",
    )
    said = [(f"Tell me: {QUESTION}", "green"), ("What is for lunch today?", "Soup.")]
    chats = [
        {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]}
        for asked, answer in said
    ]
    file = tmp_path / "chats.jsonl"
    file.write_text("\n".join(map(json.dumps, chats)), encoding="utf-8")
    arena(monkeypatch, "data", "add", str(file), "--name", "chats", "--data", str(tmp_path))
    with open_store(tmp_path) as store:
        plan = {"suites": [{"suite": "lm:lamps"}, {"suite": "classification"}], "models": []}
        begin_run(store, SuiteRunRecord(id=new_id(), name="", plan=plan, plan_hash="p"))
    return tmp_path


def arena(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["arena", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


def test_a_tasks_items_are_those_of_its_samples(data: Path) -> None:
    (suite,) = task_suites(find_task("lm:lamps", data))
    assert suite.name == "lm:lamps"
    assert [item.input for item in suite.items] == [QUESTION, KOREAN]
    assert suite.items[1].values["choices"] == ["구상나무", "야자나무"]
    from lm_eval.utils import hash_string

    document = {"q": QUESTION, "choices": ["the red one", "the green one"], "right": 1}
    assert suite.items[0].digest == hash_string(json.dumps(document, indent=2, ensure_ascii=False))


def test_tasks_that_were_run_are_checked(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_store(data) as store:
        assert tasks_run(store) == ["lm:lamps"]
    capsys.readouterr()
    code = arena(
        monkeypatch, "data", "check", "chats", "--data", str(data), "--json", "--no-duplicates",
        "--fail-if-contaminated",
    )  # fmt: skip
    told = json.loads(capsys.readouterr().out)
    assert code == 3
    by_suite = {row["suite"]: row for row in told["overlap"]}
    assert by_suite["lm:lamps"] == {
        "suite": "lm:lamps", "items": 2, "rows": 2, "flagged_rows": 1, "flagged_items": 1,
    }  # fmt: skip
    assert "classification" in by_suite
    # Named alone, it is all that is compared.
    arena(
        monkeypatch,
        "data",
        "check",
        "chats",
        "--data",
        str(data),
        "--json",
        "--no-duplicates",
        "--suite",
        "lm:lamps",
    )
    assert [row["suite"] for row in json.loads(capsys.readouterr().out)["overlap"]] == ["lm:lamps"]


def test_a_task_that_cannot_be_read_says_what_to_do(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "lamps.jsonl").unlink()
    with pytest.raises(SuiteError, match="mirror its data set and give --datasets"):
        task_suites(LmTask("lamps", find_task("lm:lamps", data).spec, "x"))
    assert arena(monkeypatch, "data", "check", "chats", "--data", str(data), "--no-duplicates") == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "lm:lamps cannot be checked: the items of lm:lamps cannot be read" in told
