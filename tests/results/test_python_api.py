"""`import results` is cheap, and the examples of docs/python.md run."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import results
from results.interchange import import_votes
from results.leaderboard import BoardQuery, rate
from results.store import open_store

ROOT = Path(__file__).parents[2]
VOTES = ROOT / "tests" / "data" / "votes" / "korean_votes.csv"


def test_import_loads_nothing_heavy() -> None:
    script = (
        "import time, sys; began = time.perf_counter(); import results; took = time.perf_counter() - began; "
        "heavy = [m for m in ('torch', 'transformers', 'scipy.stats', 'fastapi', 'duckdb', 'pandas') "
        "if m in sys.modules]; print(took, *heavy)"
    )
    took, *heavy = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    assert heavy == []
    assert float(took) < 0.3
    script = (
        "import sys, results; results.rate, results.rate_frame; "
        "print(*(name in sys.modules for name in ('torch', 'fastapi', 'scipy.stats')))"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert found.stdout.split() == ["False"] * 3


def test_every_name_is_there_and_others_are_not() -> None:
    for name in results._MODULE_OF:
        assert callable(getattr(results, name)), name
    assert set(results._MODULE_OF) <= set(dir(results))
    with pytest.raises(AttributeError, match="no attribute 'leaderbord'"):
        _ = results.leaderbord


def test_the_examples_of_the_guide_run(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "python.md").read_text("utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    assert code.count("results.") > 15
    given = {
        "data_dir": tmp_path / "data",
        "votes_file": VOTES,
        "folder": tmp_path,
        "moment": datetime(2026, 11, 1, tzinfo=UTC),
    }
    exec(compile(code, "docs/python.md", "exec"), given)
    assert (tmp_path / "ratings.svg").read_text("utf-8").startswith("<svg")
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert len(given["board"]) == len(given["rated"].board.models)  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["pandas", "arrow", "dict"])
def test_a_frame_is_rated_as_the_store_rates_it(tmp_path: Path, kind: str) -> None:
    frame = pd.read_csv(VOTES)
    table = {"pandas": frame, "arrow": pa.Table.from_pandas(frame), "dict": frame.to_dict("list")}[kind]
    with open_store(tmp_path / "data") as store:
        import_votes(store, VOTES)
        stored = rate(store, BoardQuery()).board.models
    rated = results.rate_frame(table)
    assert [row.model for row in rated.rows] == [row.model for row in stored]
    np.testing.assert_allclose(
        [row.rating or 0 for row in rated.rows], [row.rating or 0 for row in stored], atol=1e-6
    )
    assert rated.to_arrow()["rank"].to_pylist() == results.table(stored)["rank"].to_pylist()


def test_frames_that_cannot_be_rated() -> None:
    games = {"model_a": ["x", "y"], "model_b": ["y", "x"], "verdict": ["a", "who knows"]}
    with pytest.raises(ValueError, match="row 1: 'who knows' is no verdict"):
        results.rate_frame(games)
    with pytest.raises(KeyError, match="no column 'left'"):
        results.rate_frame(games, model_a="left")
    with pytest.raises(ValueError, match="no rows"):
        results.table([])
