"""Ctrl+C in a terminal, in the middle of a run of suites and of a judge: what is said, the exit code, and going on."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import httpx

from evaluators.suites.own import add_suite
from results.store import open_store
from tests.evaluators.judge.conftest import Arena

BATTLES = 12
ARENA = [sys.executable, "-m", "arena.cli.main"]


def interrupted(command: list[str], once: str) -> tuple[int, str]:
    """Run a command in a terminal of its own and type Ctrl+C when `once` (a pattern) is seen; exit code and output."""
    parent, child = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    with subprocess.Popen(
        command, stdin=child, stdout=child, stderr=child, env=environment, start_new_session=True,
        preexec_fn=_take_terminal,
    ) as process:  # fmt: skip
        os.close(child)
        seen, typed = "", False
        while True:
            try:
                seen += os.read(parent, 65536).decode("utf-8", "replace")
            except OSError:  # Linux: the terminal's other end is closed
                break
            if not typed and re.search(once, seen):
                os.write(parent, b"\x03")
                typed = True
        os.close(parent)
        assert typed, seen
        return process.wait(60), " ".join(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", " ", seen).split())


def _take_terminal() -> None:
    """Make the terminal on standard input the one whose Ctrl+C reaches this process."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def requests(address: str, model: str) -> int:
    return int(httpx.get(f"{address}/seen/{model}", trust_env=False).json()["requests"])


def test_a_run_of_a_suite(tmp_path: Path, judge_server: str) -> None:
    items, model = 200, "worth:2"  # it answers at once, and every answer is committed by itself
    file = tmp_path / "cases.jsonl"
    rows = [json.dumps({"input": f"question {n}", "target": "x"}) for n in range(items)]
    file.write_text("\n".join(rows), encoding="utf-8")
    data = tmp_path / "data"
    add_suite(file, data, name="cases")
    asked = f"openai:{model}@{judge_server}/v1"
    command = [*ARENA, "bench", "run", "--model", asked, "--suite", "cases", "--data", str(data)]
    before = requests(judge_server, model)
    code, told = interrupted(command, rf"\b[1-9]\d*/{items}")
    assert code == 130, told
    assert "Stopped: what was answered is kept. Run the same command again to go on." in told
    seen = requests(judge_server, model) - before
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["state"], summary["results"][0]["items"]) == ("done", items)
    # Nothing that was kept was asked again; what was under way when it was stopped is asked once more.
    kept = int(re.findall(r"(\d+) taken from the store", " ".join(done.stderr.split()))[-1])
    assert 1 <= kept <= seen
    assert requests(judge_server, model) - before - seen == items - kept


def test_a_run_of_a_judge(tmp_path: Path, judge_server: str) -> None:
    model = "slow:interrupted"  # a reply takes 0.15 s
    data, at = tmp_path / "data", f"@{judge_server}/v1"
    with open_store(data) as store:
        Arena(store, judge_server).battles(BATTLES)
    command = [
        *ARENA,
        "judge",
        "run",
        "--judge",
        f"openai:{model}{at}",
        "--probe",
        "0",
        "--data",
        str(data),
    ]
    code, told = interrupted([*command, "--concurrency", "1"], rf"\b[1-9]\d?/{2 * BATTLES}")
    assert code == 130, told
    assert "Interrupted: every reply is kept. Run the same command again to go on." in told
    asked = requests(judge_server, model)
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    (report,) = json.loads(done.stdout)["runs"]
    assert report["statuses"] == {"verdict": BATTLES}
    total = int(re.findall(r"(\d+) questions to ask", told)[0])
    assert report["asked"]["asked"] == requests(judge_server, model) - asked
    assert report["asked"]["asked"] < total  # what was kept is not asked again
