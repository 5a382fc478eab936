"""`arena data check`: flags, what is mentioned afterwards, the gate, exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Arena = Callable[..., Any]

ENGLISH = "The harbour master of Ulvik writes down each boat in a green book, whose pages smell of tar and of oranges."
KOREAN = "소라는 다락방에서 낡은 라디오를 찾아 할머니께 드렸고 할머니는 오래 웃으셨다. 무엇을 찾았나요?"
CASES = [
    {"id": "하나", "input": ENGLISH, "target": "green"},
    {"id": "둘", "input": KOREAN, "target": "라디오"},
    {
        "id": "셋",
        "input": "윤호네 과수원에서는 첫서리가 내리기 전에 무엇을 모두 따서 상자에 담습니까?",
        "target": "배",
    },
]
ROWS = [
    *({"prompt": f"{n} 더하기 2는?", "response": f"답은 {n + 2}"} for n in range(28)),
    {"prompt": f"읽어 봐: {KOREAN.replace(' ', '')}", "response": "라디오"},
    {"prompt": f"… {ENGLISH[: len(ENGLISH) * 3 // 4].upper()} …", "response": "yes"},
]


def test_the_command_line(arena: Arena, tmp_path: Path) -> None:
    data, file = tmp_path / "data", tmp_path / "대화.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS), encoding="utf-8")
    cases = tmp_path / "quiz.jsonl"
    cases.write_text("".join(json.dumps(case, ensure_ascii=False) + "\n" for case in CASES), encoding="utf-8")
    assert arena("bench", "add-suite", cases, "--data", data).returncode == 0
    assert arena("data", "add", file, "--held-out", "0", "--data", data).returncode == 0
    listed = json.loads(arena("data", "list", "--json", "--data", data).stdout)
    assert listed[0]["test_items"] == "not checked"
    done = arena("data", "check", "대화", "--suite", "quiz", "--json", "--data", data)
    told = json.loads(done.stdout)
    assert [(row["suite"], row["flagged_rows"], row["flagged_items"]) for row in told["overlap"]] == [
        ("quiz", 2, 2)
    ]
    assert {(flag["row_number"], flag["item"]) for flag in told["flags"]} == {(28, "둘"), (29, "하나")}
    gate = arena(
        "data",
        "check",
        "대화",
        "--suite",
        "quiz",
        "--no-duplicates",
        "--fail-if-contaminated",
        "--data",
        data,
    )
    assert (gate.returncode, "the gate says no" in gate.stderr) == (3, True)
    shown = arena("data", "show", "대화", "--rows", "0", "--data", data)
    assert "found: quiz 2" in shown.stdout
    assert arena("data", "check", "--data", data).returncode == 2
    assert f"arena data add {file}" in " ".join(arena("data", "check", file, "--data", data).stderr.split())
    assert arena("data", "check", "대화", "--suite", "quizz", "--data", data).returncode == 2
