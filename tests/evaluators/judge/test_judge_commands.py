"""`arena battles run` and `arena judge`, as a user runs them: processes, kill -9, and the way from Python."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from arena.cli.main import main
from results.store import open_store

ROOT = Path(__file__).parents[3]
PROMPTS = [
    {"id": "q1", "prompt": "What is good?", "category": "facts"},
    {"id": "q2", "turns": ["하나만 말해 줘.", "하나 더."], "category": "facts"},
    {"id": "q3", "prompt": "수도는 어디인가요?", "category": "knowledge", "reference": "good"},
]


class Done(NamedTuple):
    stdout: str
    stderr: str


Command = Callable[..., Done]


@pytest.fixture
def arena(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command line in this process; fails where it ends with another code than `check`."""

    def run(*words: object, check: int = 0) -> Done:
        monkeypatch.setattr(sys, "argv", ["arena", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        told = capsys.readouterr()
        assert int(stop.value.code or 0) == check, told.err
        return Done(told.out, " ".join(told.err.split()))

    return run


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    file = tmp_path / "prompts.jsonl"
    file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in PROMPTS), encoding="utf-8")
    return file


@pytest.mark.faults
def test_from_prompts_to_a_leaderboard_with_a_kill_in_between(
    tmp_path: Path, prompts: Path, judge_server: str, arena: Command
) -> None:
    data = tmp_path / "data"
    models = " ".join(f"openai:worth:{worth}@{judge_server}/v1" for worth in (3, 2, 1))
    asked = ("battles", "run", "--data", data, "--prompts", prompts, "--models", models, "--json")
    made = json.loads(arena(*asked).stdout)
    assert (made["answers"], made["battles"]) == (9, 9)
    again = json.loads(arena(*asked).stdout)
    assert (again["answers"], again["battles"], again["answers_known"], again["battles_known"]) == (
        0,
        0,
        9,
        9,
    )

    judge = f"openai:slow:{os.getpid()}@{judge_server}/v1"
    run = (
        "judge",
        "run",
        "--data",
        data,
        "--judge",
        judge,
        "--brief",
        "--concurrency",
        "2",
        "--battles",
        "all",
    )
    dry = arena(*run, "--dry-run")
    assert "9 battles, 36 questions to ask" in " ".join(dry.stderr.split())
    command = [sys.executable, "-m", "arena.cli.main", *map(str, run)]
    seen = f"{judge_server}/seen/slow:{os.getpid()}"
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while httpx.get(seen, trust_env=False).json()["requests"] < 10:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    with open_store(data) as store:
        kept = store.query("SELECT count(*) AS n FROM judge_calls")["n"].to_pylist()[0]
        assert 8 <= kept < 36
        assert store.query("SELECT count(*) AS n FROM judgments")["n"].to_pylist() == [0]
    done = json.loads(arena(*run, "--json").stdout)
    assert done["runs"][0]["asked"]["asked"] == 36 - kept
    # Only what was in the air when the process died was asked twice.
    assert httpx.get(seen, trust_env=False).json()["requests"] <= 36 + 2
    whole = tmp_path / "whole"
    arena("battles", "run", "--data", whole, "--prompts", prompts, "--models", models)
    arena("judge", "run", "--data", whole, "--judge", judge, "--brief", "--battles", "all")
    results = []
    for folder in (data, whole):
        with open_store(folder) as store:
            assert store.check() == []
            results.append(
                store.query(
                    "SELECT battle_id, status, verdict, expected FROM judge_outcomes ORDER BY battle_id"
                ).to_pylist()
            )
    assert results[0] == results[1]
    assert {row["status"] for row in results[0]} == {"verdict"}
    board = json.loads(arena("leaderboard", "--data", data, "--source", "judge", "--json").stdout)
    assert board["votes"] == 9
    shown = arena("judge", "show", "--data", data).stdout
    assert "9 kept their winner" in " ".join(shown.split())
    listed = json.loads(arena("battles", "list", "--data", data, "--json").stdout)
    assert {row["judgments"] for row in listed} == {1}
    table = arena("battles", "list", "--data", data, "--limit", "1").stdout.split("\n")
    assert table[0].split()[-3:] == ["votes", "judged", "prompt"]
    assert max(map(len, table)) <= 80
    assert "good good" in arena("battles", "show", listed[0]["id"], "--data", data).stdout
    assert arena("judge", "agreement", "--data", data, check=2).stderr  # nobody has voted


def test_bad_input_is_told(tmp_path: Path, prompts: Path, arena: Command) -> None:
    data = tmp_path / "data"
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"id": 1, "prompt": "x"}\n{"id": 1, "prompt": "y"}\n', encoding="utf-8")
    told = arena("battles", "run", "--data", data, "--prompts", bad, "--models", "x y", check=2)
    assert "line 2" in " ".join(told.stderr.split())
    told = arena("judge", "run", "--data", data, check=2)
    assert "name a judge" in told.stderr
    told = arena(
        "battles", "run", "--data", data, "--prompts", tmp_path / "no.txt", "--models", "x y", check=2
    )
    assert "no.txt: cannot be read: No such file or directory" in told.stderr
    told = arena("judge", "run", "--data", data, "--judge", "x", "--weights", "2,1", check=2)
    assert "--jury" in told.stderr
    told = arena("judge", "show", "--data", data, check=2)
    assert "no model has judged yet" in " ".join(told.stderr.split())


def test_the_example_in_the_documentation_runs(tmp_path: Path, prompts: Path, judge_server: str) -> None:
    page = (ROOT / "docs" / "judging.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    code = code.replace("arena-data", str(tmp_path / "data")).replace("prompts.jsonl", str(prompts))
    for place, model in (("qwen3@http://localhost:8000/v1", "worth:2"), ("gemma3@http://localhost:8001/v1", "worth:1"),
                         ("judge@http://localhost:8002/v1", "fair:doc")):  # fmt: skip
        assert place in code
        code = code.replace(place, f"{model}@{judge_server}/v1")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "worth:2" in done.stdout
