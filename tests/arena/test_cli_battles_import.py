"""`arena battles import` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.arena.conftest import Arena


def test_answers_become_battles(arena: Arena, tmp_path: Path) -> None:
    data = tmp_path / "자료"
    files = []
    for model in ("가람", "나래"):
        rows = [{"instruction": f"질문 {n}", "output": f"{model} {n}", "generator": model} for n in range(3)]
        files.append(tmp_path / f"{model}.json")
        files[-1].write_text(json.dumps(rows), "utf-8")
    done = arena("battles", "import", *files, "--language", "ko", "--json", "--data", data)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["added"] == 3
    again = arena("battles", "import", *files, "--data", data)
    assert (again.returncode, again.stdout) == (0, "")
    assert "0 battles added, 3 already known: 6 answers of 2 models to 3 prompts" in again.stderr
    for words in (
        [tmp_path / "nothing.json"], [files[0]], [*files, "--format", "csv"], [*files, "--pairs", "some"],
    ):  # fmt: skip
        assert arena("battles", "import", *words, "--data", data).returncode == 2
