"""`arena leaderboard` with its options, views and formats, as a user runs it."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest

from arena.cli.main import main
from results.interchange import import_votes
from results.store import open_store

DATA = Path(__file__).parents[1] / "data" / "votes"


class Done(NamedTuple):
    """How a command ended; line breaks in `stderr`, which depend on the terminal, are made into spaces."""

    returncode: int
    stdout: str
    stderr: str


Board = Callable[..., Done]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "자료"
    with open_store(folder) as store:
        import_votes(store, DATA / "korean_votes.csv")
        import_votes(store, DATA / "judge_verdicts.jsonl", source="judge", fixed={"judge": "심판"})
    return folder


@pytest.fixture
def board(data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Board:
    """Runs `arena leaderboard` in this process, as the installed command does."""

    def run(*words: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["arena", "leaderboard", "--data", str(data), *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        told = capsys.readouterr()
        return Done(int(stop.value.code or 0), told.out, " ".join(told.err.split()))

    return run


def test_the_caption_says_what_was_asked(board: Board) -> None:
    plain = board()
    assert "Side A is worth" in plain.stderr
    assert "95% intervals; in brackets the ranks they allow." in plain.stderr
    davidson = board("--ties", "davidson", "--simultaneous")
    assert "Ties by davidson, nu 0.5" in davidson.stderr
    assert "all at once" in davidson.stderr
    assert "from 60 resamplings" in board("--bootstrap", "60").stderr
    assert "22 are left out (no probability 22)" in board("--correct-sampling").stderr
    assert "22 are left out (no text 22)" in board("--style-control").stderr
    assert "--since and --until" in board("--until", "2020-01-01").stderr


def test_json_tells_the_options_and_none_where_none_were_given(board: Board) -> None:
    plain = json.loads(board("--json").stdout)
    assert "options" not in plain
    assert "position" not in plain
    asked = board(
        "--json", "--since", "2026-03-01T09:01+09:00", "--max-votes-per-voter", "3", "--half-life", "30",
        "--position-bias",
    )  # fmt: skip
    told = json.loads(asked.stdout)
    assert told["options"] == {
        "since": "2026-03-01T00:01:00Z", "half_life": 30, "max_votes_per_voter": 3, "position_bias": True,
    }  # fmt: skip
    assert told["position"]["name"] == "position"
    assert told["votes"] < 22
    weighted = json.loads(board("--json", "--source", "all", "--judge-weight", "0.5").stdout)
    assert weighted["votes"] == 27
    one = json.loads(board("--json", "--models", "Orca Mini").stdout)["models"]
    assert [row["model"] for row in one] == ["Orca Mini"]


def test_every_format_holds_the_same_leaderboard(board: Board, tmp_path: Path) -> None:
    rows = json.loads(board("--json").stdout)["models"]
    assert board("--format", "json").stdout == board("--json").stdout
    from_csv = list(csv.DictReader(io.StringIO(board("--format", "csv").stdout)))
    assert [row["model"] for row in from_csv] == [row["model"] for row in rows]
    assert [float(row["rating"]) if row["rating"] else None for row in from_csv] == [
        row["rating"] for row in rows
    ]
    file = tmp_path / "board.parquet"
    written = board("--out", file)
    assert written.stdout == ""
    assert "Wrote" in written.stderr
    assert pq.read_table(file).to_pylist() == rows
    empty = tmp_path / "empty.parquet"
    assert board("--language", "없음", "--out", empty).returncode == 0
    assert pq.read_schema(empty) == pq.read_schema(file)
    markdown = board("--format", "markdown").stdout.splitlines()
    assert len(markdown) == len(rows) + 2
    assert all(line.count("|") == markdown[0].count("|") for line in markdown)
    for name in ("board.json", "board.txt"):
        board("--out", tmp_path / name)
    assert json.loads((tmp_path / "board.json").read_text("utf-8"))["models"] == rows
    assert "한빛-7B" in (tmp_path / "board.txt").read_text("utf-8")


def test_names_with_markdown_signs_stay_one_cell(board: Board, data: Path, tmp_path: Path) -> None:
    file = tmp_path / "odd.csv"
    file.write_text("model_a,model_b,winner\n가|나*[x],=1+1,tie\n", "utf-8")
    with open_store(data) as store:
        import_votes(store, file)
    lines = board("--format", "markdown").stdout.splitlines()
    (odd,) = (line for line in lines if "나" in line and "가" in line and "\\|" in line)
    assert "가\\|나\\*\\[x\\]" in odd


def test_against_one_model(board: Board) -> None:
    table = board("--against", "누리-3B")
    (line,) = (line for line in table.stdout.splitlines() if "한빛-7B" in line)
    assert line.count("%") == 4
    told = json.loads(board("--against", "누리-3B", "--json").stdout)
    assert told["opponent"] == "누리-3B"
    assert told["models"][0]["model"] == "한빛-7B"
    pair = json.loads(board("--against", "누리-3B", "--models", "한빛-7B", "--json").stdout)["models"]
    assert len(pair) == 1
    assert pair[0]["lower"] < pair[0]["probability"] < pair[0]["upper"]
    unknown = board("--against", "누리3B")
    assert unknown.returncode == 2
    assert "Did you mean '누리-3B'" in unknown.stderr


def test_people_against_judges_and_over_time(board: Board) -> None:
    compared = board("--compare-source", "all")
    assert "too wide" in compared.stderr
    assert "한빛-7B" in compared.stdout
    judged = json.loads(board("--compare-source", "judge", "--json").stdout)
    assert (judged["source"], judged["compare_source"]) == ("human", "judge")
    assert {row["model"] for row in judged["models"]} == {"한빛-7B", "누리-3B", "Orca Mini"}
    assert sum(row["difference"] for row in judged["models"]) == pytest.approx(0)
    over_time = board("--over-time", "4")
    assert "Ratings over time" in over_time.stdout
    tracks = json.loads(board("--over-time", "4", "--json").stdout)["models"]
    final = {
        row["model"]: row["rating"] for row in json.loads(board("--json").stdout)["models"] if row["rating"]
    }
    assert {track["model"]: track["points"][-1]["rating"] for track in tracks} == final
    flat = list(csv.DictReader(io.StringIO(board("--over-time", "4", "--format", "csv").stdout)))
    assert len(flat) == sum(len(track["points"]) for track in tracks)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--method", "elo", "--half-life", "3"), "elo takes no half life"),
        (("--judge-weight", "0.5"), "needs source all"),
        (("--half-life", "-1"), "--half-life: Input should be greater than 0"),
        (("--since", "gestern"), "write a date such as 2026-03-31"),
        (("--since", "2026-03-02", "--until", "2026-03-01"), "must lie before"),
        (("--format", "parquet"), "--out FILE.parquet"),
        (("--out", "board"), "add --format"),
        (("--json", "--format", "csv"), "contradict"),
        (("--against", "x", "--over-time", "3"), "one at a time"),
        (("--compare-source", "human"), "name another"),
        (("--style-control", "--ties", "davidson"), "ties half"),
        (("--out", "/no/such/folder/board.csv"), "cannot be written"),
    ],
)
def test_mistakes_are_explained(board: Board, words: tuple[str, ...], message: str) -> None:
    done = board(*words)
    assert done.returncode == 2
    assert message in done.stderr
