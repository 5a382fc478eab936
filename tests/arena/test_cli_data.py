"""`arena data`: exit codes, what is printed, and errors that name the line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Arena = Callable[..., Any]

ROWS = [{"prompt": f"{n}번 질문", "response": f"{n}번 답"} for n in range(40)]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "대화.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS), encoding="utf-8")
    return path


def test_add_list_show_and_remove(arena: Arena, rows: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    added = arena("data", "add", rows, "--data", data, "--held-out", "0.25")
    assert added.returncode == 0
    assert added.stdout.startswith("대화@1 added: 40 chat rows (pairs)")
    assert "No licence is known" in added.stderr
    assert "was there already" in arena("data", "add", rows, "--data", data, "--held-out", "0.25").stdout
    (listed,) = json.loads(arena("data", "list", "--json", "--data", data).stdout)
    assert (listed["name"], listed["row_count"], listed["statistics"]["languages"]) == (
        "대화",
        40,
        {"ko": 40},
    )
    shown = arena("data", "show", "대화", "--rows", "1", "--data", data)
    assert "0번 답" in shown.stdout
    assert arena("data", "remove", "대화@1", "--data", data).stdout.startswith("1 version of 대화 removed")
    assert "There is no dataset yet" in arena("data", "list", "--data", data).stderr


def test_bad_rows_are_listed_and_nothing_is_added(arena: Arena, rows: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with rows.open("a", encoding="utf-8") as file:
        file.write('{"prompt": "답이 없음", "response": ""}\nnot json\n')
    refused = arena("data", "add", rows, "--data", data)
    assert refused.returncode == 2
    assert "line 41" in refused.stderr
    assert "line 42: not JSON" in refused.stderr
    assert "--skip-bad" in refused.stderr
    assert json.loads(arena("data", "list", "--json", "--data", data).stdout) == []
    taken = json.loads(arena("data", "add", rows, "--skip-bad", "--json", "--data", data).stdout)
    assert (taken["dataset"]["row_count"], [reject["line"] for reject in taken["rejects"]]) == (40, [41, 42])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["add", "none.jsonl"], "there is no such file"),
        (["show", "none"], "there is no dataset 'none'"),
        (["remove", "none"], "there is no dataset 'none'"),
    ],
)
def test_what_is_not_there_is_bad_usage(arena: Arena, words: list[str], message: str, tmp_path: Path) -> None:
    done = arena("data", *words, "--data", tmp_path / "data")
    assert done.returncode == 2
    assert message in done.stderr


def test_columns_that_are_not_there_name_those_that_are(arena: Arena, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("Q,A\n안녕,반가워\n", encoding="utf-8")
    assert "--map prompt=Q" in arena("data", "add", table, "--data", tmp_path / "d").stderr
    wrong = arena("data", "add", table, "--map", "prompt=X", "--map", "response=A", "--data", tmp_path / "d")
    assert "t.csv has Q, A" in wrong.stderr
    assert (
        "write OURS=THEIRS" in arena("data", "add", table, "--map", "prompt", "--data", tmp_path / "d").stderr
    )
    right = arena("data", "add", table, "--map", "prompt=Q", "--map", "response=A", "--data", tmp_path / "d")
    assert right.returncode == 0


def test_without_votes_nothing_is_built(arena: Arena, tmp_path: Path) -> None:
    for kind in ("preference", "reward"):  # a reward model learns from the same pairs
        done = arena("data", "from-votes", "d", "--kind", kind, "--data", tmp_path / "data")
        assert done.returncode == 1
        assert "no battle gives a row of kind preference" in done.stderr
