"""How fast ratings and imports are, as ratios of CPU seconds against evalica in one run.

    python tests/benchmarks/ratings.py [VOTES [MODELS]]

Timings on a shared machine mean little; ratios within one run mean more. evalica is given lists of integers,
its fastest input, and gives no intervals.
"""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import evalica
import numpy as np
from rich.console import Console
from rich.table import Table

from results.interchange import import_votes
from results.leaderboard import leaderboard
from results.ratings import PairCounts, bradley_terry, elo, rank_bounds
from results.store import Store, open_store

GROUPING = (
    "SELECT version_a, version_b, verdict, count(*) FROM comparisons WHERE excluded IS NULL GROUP BY ALL"
)
REFRESHES = 20


def cpu_seconds(work: Callable[[], Any], times: int = 1) -> float:
    """CPU seconds of all threads of this process for one call."""
    start = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - start) / times


def make_votes(votes: int, models: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Votes of a made-up arena: Davidson ties, a few popular models."""
    rng = np.random.default_rng(0)
    popularity = rng.dirichlet(np.full(models, 2.0))
    a = rng.choice(models, votes, p=popularity)
    b = (a + rng.integers(1, models, votes)) % models
    strength = rng.normal(0, 0.8, models)
    win, lose = np.exp((strength[a] - strength[b]) / 2), np.exp((strength[b] - strength[a]) / 2)
    u = rng.random(votes) * (win + lose + 0.7)
    return a, b, np.where(u < win, 0, np.where(u < win + 0.7, 1, 2))


def write_csv(path: Path, a: np.ndarray, b: np.ndarray, outcome: np.ndarray) -> None:
    """The votes as a file in the usual schema."""
    words = ("model_a", "tie", "model_b")
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "model_a", "model_b", "winner", "voter", "timestamp", "language"))
        writer.writerows(
            (n, f"model-{x:03}", f"model-{y:03}", words[o], f"voter-{n % 997}", 1_700_000_000 + n, "ko")
            for n, (x, y, o) in enumerate(zip(a.tolist(), b.tolist(), outcome.tolist(), strict=True))
        )


def main() -> None:
    """Run and print the table."""
    votes = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    models = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    a, b, outcome = make_votes(votes, models)
    winners = [(evalica.Winner.X, evalica.Winner.Draw, evalica.Winner.Y)[o] for o in outcome.tolist()]
    xs, ys = a.tolist(), b.tolist()
    evalica_bt = cpu_seconds(lambda: evalica.bradley_terry(xs, ys, winners))
    evalica_elo = cpu_seconds(lambda: evalica.elo(xs, ys, winners))
    lines: list[tuple[str, float, str]] = [
        ("evalica Bradley-Terry, lists in memory", evalica_bt, ""),
        ("evalica Elo, lists in memory", evalica_elo, ""),
    ]

    def fit() -> None:
        rank_bounds(bradley_terry(PairCounts.of(a, b, outcome, models)))

    seconds = cpu_seconds(fit)
    lines.append(("Bradley-Terry, intervals, ranks; arrays", seconds, f"{evalica_bt / seconds:.0f}x evalica"))
    seconds = cpu_seconds(lambda: elo([(a, b, outcome)], models))
    lines.append(("Elo; arrays", seconds, f"{evalica_elo / seconds:.1f}x evalica"))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "votes.csv"
        write_csv(file, a, b, outcome)
        with open_store(Path(folder) / "data") as store:
            lines += _with_store(store, file, votes, evalica_bt, evalica_elo)

    table = Table(title=f"{votes:,} votes, {models} models")
    for column in ("what", "CPU s", "ratio"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for what, seconds, ratio in lines:
        table.add_row(what, f"{seconds:.4f}", ratio)
    Console(width=110).print(table)


def _with_store(
    store: Store, file: Path, votes: int, evalica_bt: float, evalica_elo: float
) -> list[tuple[str, float, str]]:
    imported = cpu_seconds(lambda: import_votes(store, file))
    again = cpu_seconds(lambda: import_votes(store, file))
    grouped = cpu_seconds(lambda: store.query(GROUPING))
    refreshed = cpu_seconds(lambda: leaderboard(store), REFRESHES)
    online = cpu_seconds(lambda: leaderboard(store, "elo"))
    return [
        ("import of CSV", imported, f"{votes / imported:,.0f} rows/s"),
        ("import of the same file again", again, f"{votes / again:,.0f} rows/s"),
        ("GROUP BY of all comparisons", grouped, ""),
        ("leaderboard: Bradley-Terry from pair counts", refreshed, f"{evalica_bt / refreshed:.0f}x evalica"),
        ("leaderboard: Elo from all comparisons", online, f"{evalica_elo / online:.1f}x evalica"),
    ]


if __name__ == "__main__":
    main()
