"""`arena votes forget` as a user runs it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arena.cli.main import main
from results.leaderboard import leaderboard
from results.store import open_store

KOREAN = Path(__file__).parents[1] / "data" / "votes" / "korean_votes.csv"


@pytest.fixture
def arena(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, Any, str]]:
    """Runs the command line in this process: exit code, JSON from stdout, stderr in one line."""

    def run(*words: str | Path) -> tuple[int, Any, str]:
        monkeypatch.setattr(sys, "argv", ["arena", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        told = capsys.readouterr()
        return (
            int(stop.value.code or 0),
            json.loads(told.out) if told.out else None,
            " ".join(told.err.split()),
        )

    return run


def test_a_voter_is_forgotten_by_the_name_in_the_file(arena: Any, tmp_path: Path) -> None:
    data = tmp_path / "자료"
    arena("votes", "import", KOREAN, "--data", data)
    with open_store(data) as store:
        before = leaderboard(store)
    command = ("votes", "forget", "은지", "--data", data)
    code, dry, told = arena(*command, "--dry-run", "--json")
    assert (code, dry["dry_run"]) == (0, True)
    assert "Would be removed" in told
    code, kept, _ = arena(*command, "--keep-verdicts", "--json")
    assert code == 0
    assert kept["votes"] == dry["votes"]
    with open_store(data) as store:
        assert leaderboard(store) == before, "anonymous votes still count"
    code, again, told = arena(*command, "--json")
    assert (code, again["votes"]) == (0, 0)
    assert "Nothing of" in told


def test_mistaken_usage(arena: Any, tmp_path: Path) -> None:
    assert arena("votes", "forget", "--data", tmp_path)[0] == 2
    assert arena("votes", "forget", "x", "--older-than", "3", "--data", tmp_path)[0] == 2
    code, _, told = arena("votes", "forget", "x", "--data", tmp_path / "없음")
    assert code == 2
    assert "no data directory" in told


def test_backups_are_mentioned(arena: Any, tmp_path: Path) -> None:
    data = tmp_path / "자료"
    arena("votes", "import", KOREAN, "--data", data)
    arena("db", "backup", "--json", "--data", data)
    with open_store(data) as store:
        before = leaderboard(store)
        voter = store.query("SELECT voter_id::VARCHAR AS v FROM votes WHERE voter_id IS NOT NULL LIMIT 1")[
            "v"
        ][0].as_py()
    code, gone, told = arena("votes", "forget", voter, "--json", "--data", data)
    assert (code, gone["voters"], gone["backups"]) == (0, 1, 1)
    assert gone["votes"] >= 1
    assert "compact" in told
    with open_store(data) as store:
        assert leaderboard(store).votes == before.votes - gone["votes"]
        assert store.check() == []
    assert "1 backups in" in told
    code, none, _ = arena("votes", "forget", "--older-than", "0", "--json", "--data", data)
    assert (code, none["votes"]) == (0, 0), "imported votes are not this arena's voters'"
