"""A bench run that is killed goes on where it was: nothing stored is asked again, and the results are the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from arena.engines import embedded
from results.store import StoreError, open_store
from results.store.suites import suite_samples

pytestmark = [pytest.mark.faults, pytest.mark.model]

ITEMS = 30
"""More than are answered at once: when the first are stored, the last have not begun."""


def words(data: Path, suite: Path) -> list[str]:
    return [
        sys.executable, "-m", "arena.cli.main", "bench", "run", "--data", str(data), "--suite", str(suite),
        "--model", "smollm2-135m", "--json",
    ]  # fmt: skip


def stored(data: Path) -> dict[str, tuple[str, str]]:
    with open_store(data) as store:
        rows = suite_samples(store).to_pylist()
    return {row["item"]: (row["answer_id"], row["text"]) for row in rows}


def test_kill_9_in_the_middle_of_a_bench_run(smollm2_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "counting"
    folder.mkdir()
    (folder / "counting.yaml").write_text(
        "suite: counting\nscorer: numeric\ngeneration: {max_tokens: 12}\nprompt: 'Count to {{ input }}.'\n",
        encoding="utf-8",
    )
    rows = [json.dumps({"id": str(n), "input": str(n + 2), "target": str(n + 2)}) for n in range(ITEMS)]
    (folder / "items.jsonl").write_text("\n".join(rows), encoding="utf-8")
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    for data in (killed, whole):
        embedded.prepare(data)
    with subprocess.Popen(
        words(killed, folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        deadline = time.monotonic() + 120
        while not (kept := _seen(killed)) and time.monotonic() < deadline:
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    kept = stored(killed)
    assert 0 < len(kept) < ITEMS, f"killed at {len(kept)} of {ITEMS}: too late to show anything"

    again = subprocess.run(words(killed, folder), capture_output=True, text=True, timeout=240, check=True)
    summary = json.loads(again.stdout)
    assert summary["answers"] == {"made": ITEMS - len(kept), "reused": len(kept), "errors": 0}
    assert summary["state"] == "done"
    finished = stored(killed)
    assert {item: finished[item] for item in kept} == kept

    once = subprocess.run(words(whole, folder), capture_output=True, text=True, timeout=240, check=True)
    assert {item: text for item, (_, text) in stored(whole).items()} == {
        item: text for item, (_, text) in finished.items()
    }
    results = [
        [(row["metric"], row["language"], row["value"], row["stderr"]) for row in each["results"]]
        for each in (json.loads(once.stdout), summary)
    ]
    assert results[0] == results[1]


def _seen(data: Path) -> dict[str, tuple[str, str]]:
    """Samples so far, read as a client of the running command."""
    if not (data / "palaestra.duckdb").exists() and not list(data.glob("*.duckdb")):
        return {}
    try:
        return stored(data)
    except StoreError:  # between two owners
        return {}
