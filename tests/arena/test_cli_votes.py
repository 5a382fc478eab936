"""`arena votes` and `arena leaderboard` as a user runs them: exit codes, stdout and stderr."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from arena.cli._leaderboard_tables import board_table
from results.leaderboard import leaderboard
from results.records import ModelVersionRecord
from results.store import open_store
from tests.arena.conftest import Arena

DATA = Path(__file__).parents[1] / "data" / "votes"
KOREAN = DATA / "korean_votes.csv"


def start(*words: str | Path) -> subprocess.Popen[str]:
    """Starts the command line as a process of its own."""
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    return subprocess.Popen(
        [sys.executable, "-m", "arena.cli.main", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", env=environment,
    )  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "자료"


def test_import_twice_then_leaderboard(arena: Arena, data: Path) -> None:
    first = arena("votes", "import", KOREAN, "--json", "--data", data)
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["added"] == 22
    again = arena("votes", "import", KOREAN, "--data", data)
    assert (again.returncode, again.stdout) == (0, "")
    assert "0 added, 22 already known, 0 rejected" in again.stderr

    board = arena("leaderboard", "--json", "--data", data)
    assert board.returncode == 0, board.stderr
    parsed = json.loads(board.stdout)
    assert (parsed["method"], parsed["votes"]) == ("bt", 22)
    assert parsed["models"][0]["model"] == "한빛-7B"

    table = arena("leaderboard", "--data", data)
    assert table.returncode == 0
    lines = table.stdout.splitlines()
    (first_line,) = (line for line in lines if "한빛-7B" in line)
    assert "●" in first_line
    (undefeated,) = (line for line in lines if "무패-1B" in line)
    assert "over " in undefeated
    assert "▶" in undefeated
    assert "22 votes." in table.stderr
    assert "무패-1B: never lost" in table.stderr

    elo = arena("leaderboard", "--method", "elo", "--data", data)
    assert "섬-가" in elo.stdout
    assert "●" not in elo.stdout


def test_a_judge_beside_people(arena: Arena, data: Path) -> None:
    verdicts = DATA / "judge_verdicts.jsonl"
    assert arena("votes", "import", KOREAN, "--data", data).returncode == 0
    refused = arena("votes", "import", verdicts, "--source", "judge", "--data", data)
    assert refused.returncode == 2
    assert "--judge NAME" in refused.stderr
    judged = arena("votes", "import", verdicts, "--source", "judge", "--judge", "심판", "--data", data)
    assert judged.returncode == 0, judged.stderr
    board = arena("leaderboard", "--source", "all", "--json", "--data", data)
    assert json.loads(board.stdout)["votes"] == 27


def test_map_and_set(arena: Arena, data: Path, tmp_path: Path) -> None:
    file = tmp_path / "votes.csv"
    file.write_text('left,right,pick,"who, really"\n가,나,left,은지\n나,가,tie,민수\n', "utf-8")
    done = arena(
        "votes", "import", file, "--map", 'model_a=left,model_b=right,winner=pick,"voter=who, really"',
        "--set", "language=ko", "--set", "category=한, 영", "--data", data,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with open_store(data) as store:
        assert leaderboard(store, language="ko", category="한, 영").votes == 2
        assert store.query("SELECT count(*) AS n FROM voters")["n"].to_pylist() == [2]
    wrong = arena("votes", "import", file, "--map", "model_a=leftt", "--data", data)
    assert wrong.returncode == 2
    assert "did you mean 'left'" in wrong.stderr


def test_bad_rows_and_strict(arena: Arena, data: Path, tmp_path: Path) -> None:
    file, rejects = tmp_path / "votes.csv", tmp_path / "bad.jsonl"
    file.write_text("model_a,model_b,winner\n가,나,a\n가,나,?\n", "utf-8")
    strict = arena("votes", "import", file, "--strict", "--rejects", rejects, "--json", "--data", data)
    assert strict.returncode == 2
    assert json.loads(strict.stdout)["refused"] is True
    assert "line 3: winner '?' is none of" in strict.stderr
    lenient = arena("votes", "import", file, "--rejects", rejects, "--data", data)
    assert lenient.returncode == 0
    assert "1 added, 0 already known, 1 rejected" in lenient.stderr
    assert json.loads(rejects.read_text("utf-8"))["line"] == 3
    file.write_text("model_a,model_b,winner\n가,나,?\n", "utf-8")
    assert arena("votes", "import", file, "--data", data).returncode == 2


def test_empty_states_say_what_to_do(arena: Arena, data: Path) -> None:
    absent = arena("leaderboard", "--data", data)
    assert absent.returncode == 2
    assert "votes import" in absent.stderr
    data.mkdir()
    empty = arena("leaderboard", "--data", data)
    assert (empty.returncode, empty.stdout) == (0, "")
    assert "No votes yet" in empty.stderr
    assert json.loads(arena("leaderboard", "--json", "--data", data).stdout)["models"] == []
    arena("votes", "import", KOREAN, "--data", data)
    near = arena("leaderboard", "--category", "지삭", "--data", data)
    assert "There are: " in near.stderr
    assert "--source all" in arena("leaderboard", "--source", "judge", "--data", data).stderr


def test_mistaken_usage_is_explained_without_a_traceback(arena: Arena, data: Path) -> None:
    for words in (("leaderboard", "--method", "best"), ("votes", "import"), ("leaderboard", "--data")):
        done = arena(*words)
        assert done.returncode == 2
        assert "Error" in done.stderr
        assert "Traceback" not in done.stderr
    assert "--judge" in arena("leaderboard", "--judge", "x", "--data", data).stderr


def test_export_and_back(arena: Arena, data: Path, tmp_path: Path) -> None:
    arena("votes", "import", KOREAN, "--data", data)
    file, other = tmp_path / "out.parquet", tmp_path / "other"
    written = arena("votes", "export", file, "--json", "--data", data)
    assert written.returncode == 0, written.stderr
    assert json.loads(written.stdout)["rows"] == 22
    assert arena("votes", "import", file, "--data", other).returncode == 0
    for method in ("bt", "elo"):
        boards = [
            arena("leaderboard", "--method", method, "--json", "--data", d).stdout for d in (data, other)
        ]
        assert boards[0] == boards[1]


def test_a_narrow_terminal_keeps_the_bars(arena: Arena, data: Path) -> None:
    arena("votes", "import", KOREAN, "--data", data)
    with open_store(data) as store:
        board = leaderboard(store)
    for width in (80, 100, 160):
        console = Console(width=width, record=True, file=io.StringIO())
        console.print(board_table(board, width, fancy=True))
        text = console.export_text()
        assert all(row.model in text for row in board.models)
        assert "●" in text
        assert max(len(line) for line in text.splitlines()) <= width


def test_import_while_another_process_owns_the_store(data: Path) -> None:
    with open_store(data) as store:
        store.upsert_model_versions([ModelVersionRecord(model="한빛-7B", digest="x")])
        assert store.is_owner
        importing = start("votes", "import", KOREAN, "--json", "--data", data)
        printed, told = importing.communicate(timeout=120)
        assert importing.returncode == 0, told
        assert json.loads(printed)["added"] == 22
        assert leaderboard(store).votes == 22


def test_an_interrupted_import_starts_over(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "long.csv"
    rows = 100_000
    with file.open("w", encoding="utf-8") as out:
        out.write("id,model_a,model_b,winner,voter\n")
        out.writelines(f"{n},가{n % 7},나{n % 5},{'ab'[n % 2]},은지\n" for n in range(rows))
    command = ("votes", "import", file, "--data", data)
    with open_store(data) as store:
        running = start(*command)
        deadline = time.monotonic() + 60
        while not any(each.added for each in store.imports()):
            assert time.monotonic() < deadline
            assert running.poll() is None
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=60)
        assert running.returncode == 130, told
        assert "nothing was imported" in told
        assert leaderboard(store).votes == 0
        again = start(*command)
        _, told = again.communicate(timeout=200)
        assert again.returncode == 0, told
        assert leaderboard(store).votes == rows
