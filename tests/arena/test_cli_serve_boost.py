"""`arena serve --boost NEW,PARENT=0.8`."""

from __future__ import annotations

from pathlib import Path

import pytest

from arena.cli._common import BadInput
from arena.cli.serve import _settings, serve


def test_a_boost_of_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "arena.toml").write_text(
        '[matchmaking]\nstrategy = "weighted"\nboost = { pair = ["x", "y"], probability = 0.1 }\n',
        encoding="utf-8",
    )
    told = _settings(tmp_path, None, None, None, None, None, "새 모형, parent = 0.8").matchmaking
    assert told.strategy == "weighted"
    assert told.boost is not None
    assert (told.boost.pair, told.boost.probability) == (("새 모형", "parent"), 0.8)
    plain = _settings(tmp_path, None, None, None, None, None, "new,parent").matchmaking.boost
    assert plain is not None
    assert plain.probability == 0.5
    kept = _settings(tmp_path, None, None, None, None, None, None).matchmaking.boost
    assert kept is not None
    assert kept.pair == ("x", "y")


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ("new", "name two models"), ("new,=0.5", "name two models"), ("new,new=0.5", "name two models"),
        ("a,b,c=0.5", "name two models"), ("new,parent=1", "above 0 and below 1"),
        ("new,parent=80%", "above 0 and below 1"),
    ],
)  # fmt: skip
def test_a_boost_that_is_none_says_how_to_write_it(tmp_path: Path, told: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        serve(data=tmp_path, boost=told)
