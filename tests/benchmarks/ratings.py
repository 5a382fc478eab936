"""How fast ratings and imports are, as ratios of CPU seconds against evalica in one run.

    python tests/benchmarks/ratings.py [VOTES [MODELS]]

Timings on a shared machine mean little; ratios within one run mean more. evalica is given lists of integers,
its fastest input, and gives no intervals. FastChat's online Elo is its loop over data frame rows, run on a part
and scaled up. Up to a million votes come from a CSV file, more of them as Arrow.
"""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import evalica
import numpy as np
import pandas as pd
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from results.ids import new_id
from results.interchange import import_votes
from results.leaderboard import BoardQuery, leaderboard, rate
from results.ratings import PairCounts, bootstrap, bradley_terry, elo, rank_bounds, rate_with_style
from results.records import ImportRecord, ModelVersionRecord
from results.store import Store, open_store

GROUPING = (
    "SELECT version_a, version_b, verdict, count(*) FROM comparisons WHERE excluded IS NULL GROUP BY ALL"
)
REFRESHES = 20
FASTCHAT_ROWS = 300_000
STYLE_ROWS = 1_000_000
MOST_BY_CSV = 1_000_000
WORDS = ("model_a", "tie", "model_b")

Line = tuple[str, float, str]


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
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "model_a", "model_b", "winner", "voter", "timestamp", "language"))
        writer.writerows(
            (n, f"model-{x:03}", f"model-{y:03}", WORDS[o], f"voter-{n % 997}", 1_700_000_000 + n, "ko")
            for n, (x, y, o) in enumerate(zip(a.tolist(), b.tolist(), outcome.tolist(), strict=True))
        )


def fastchat_elo(frame: pd.DataFrame, k: float = 4) -> dict[int, float]:
    """Online Elo as FastChat's `compute_elo` walks its data frame."""
    rating: dict[int, float] = defaultdict(lambda: 1000.0)
    for _, model_a, model_b, winner in frame.itertuples():
        ra, rb = rating[model_a], rating[model_b]
        ea, eb = 1 / (1 + 10 ** ((rb - ra) / 400)), 1 / (1 + 10 ** ((ra - rb) / 400))
        won = {"model_a": 1.0, "model_b": 0.0}.get(winner, 0.5)
        rating[model_a] += k * (won - ea)
        rating[model_b] += k * (1 - won - eb)
    return dict(rating)


def arrow_votes(keys: np.ndarray, a: np.ndarray, b: np.ndarray, outcome: np.ndarray) -> Iterator[pa.Table]:
    """The votes in the shape of an import, 200,000 at a time."""
    verdicts = np.array(["a", "tie", "b"])
    for start in range(0, len(a), 200_000):
        part = np.arange(start, min(len(a), start + 200_000))
        nothing = pa.nulls(len(part), pa.string())
        empty = pa.array([""] * len(part))
        yield pa.table(
            {
                "id": pa.array([f"{n:08x}-0000-5000-8000-000000000000" for n in part.tolist()]),
                "battle_id": pa.array([f"{n:08x}-0000-5000-9000-000000000000" for n in part.tolist()]),
                "prompt": nothing,
                "version_a": pa.array(keys[a[part]], pa.int32()),
                "version_b": pa.array(keys[b[part]], pa.int32()),
                "voter_id": nothing,
                "judge": nothing,
                "verdict": pa.array(verdicts[outcome[part]]),
                "time": pa.array(1_700_000_000_000_000 + part * 1_000_000, pa.timestamp("us")),
                "category": empty,
                "language": empty,
                "conversation_a": nothing,
                "conversation_b": nothing,
            }
        )


def main() -> None:
    """Run and print the table."""
    votes = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    models = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    a, b, outcome = make_votes(votes, models)
    lines, evalica_bt, fastchat = _peers(a, b, outcome)

    seconds = cpu_seconds(lambda: rank_bounds(bradley_terry(PairCounts.of(a, b, outcome, models))))
    lines.append(("Bradley-Terry, intervals, ranks; arrays", seconds, f"{evalica_bt / seconds:.0f}x evalica"))
    elo([(a, b, outcome)], models)  # compiles
    seconds = cpu_seconds(lambda: elo([(a, b, outcome)], models))
    lines.append(("Elo; arrays", seconds, f"{fastchat / seconds:.0f}x FastChat"))
    counts = PairCounts.of(a, b, outcome, models)
    seconds = cpu_seconds(lambda: bootstrap(counts, 100))
    lines.append(("bootstrap x100 on counts", seconds, f"{100 * evalica_bt / seconds:.0f}x evalica x100"))
    part = slice(min(votes, STYLE_ROWS))
    style = np.random.default_rng(1).normal(size=(len(a[part]), 4))
    names = ("length", "headers", "lists", "bold")
    seconds = cpu_seconds(
        lambda: rate_with_style(a[part], b[part], outcome[part], style, models, names=names)
    )
    lines.append((f"style control with intervals, {len(style):,} rows", seconds, ""))
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder) / "data") as store:
        lines += _import(store, Path(folder) / "votes.csv", a, b, outcome)
        lines += _with_store(store, evalica_bt, fastchat)

    table = Table(title=f"{votes:,} votes, {models} models")
    for column in ("what", "CPU s", "ratio"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for what, seconds, ratio in lines:
        table.add_row(what, f"{seconds:.4f}", ratio)
    Console(width=110).print(table)


def _peers(a: np.ndarray, b: np.ndarray, outcome: np.ndarray) -> tuple[list[Line], float, float]:
    """What others take: the lines, and the seconds of evalica's Bradley-Terry and of FastChat's Elo."""
    winners = [(evalica.Winner.X, evalica.Winner.Draw, evalica.Winner.Y)[o] for o in outcome.tolist()]
    xs, ys = a.tolist(), b.tolist()
    evalica_bt = cpu_seconds(lambda: evalica.bradley_terry(xs, ys, winners))
    evalica_elo = cpu_seconds(lambda: evalica.elo(xs, ys, winners))
    part = slice(min(len(a), FASTCHAT_ROWS))
    frame = pd.DataFrame({"model_a": a[part], "model_b": b[part], "winner": np.array(WORDS)[outcome[part]]})
    fastchat = cpu_seconds(lambda: fastchat_elo(frame)) * len(a) / len(frame)
    lines = [
        ("evalica Bradley-Terry, lists in memory", evalica_bt, ""),
        ("evalica Elo, lists in memory", evalica_elo, ""),
        ("FastChat's Elo loop, data frame in memory", fastchat, ""),
    ]
    return lines, evalica_bt, fastchat


def _import(store: Store, file: Path, a: np.ndarray, b: np.ndarray, outcome: np.ndarray) -> list[Line]:
    if len(a) <= MOST_BY_CSV:
        write_csv(file, a, b, outcome)
        first = cpu_seconds(lambda: import_votes(store, file))
        again = cpu_seconds(lambda: import_votes(store, file))
        return [
            ("import of CSV", first, f"{len(a) / first:,.0f} rows/s"),
            ("import of the same file again", again, f"{len(a) / again:,.0f} rows/s"),
        ]
    names = [
        ModelVersionRecord(model=f"model-{n:03}", digest="1") for n in range(int(max(a.max(), b.max())) + 1)
    ]
    keys = np.array([ref.version_key for ref in store.upsert_model_versions(names)])
    record = ImportRecord(id=new_id(), path="made up", source="human")
    seconds = cpu_seconds(lambda: store.import_comparisons(record, arrow_votes(keys, a, b, outcome)))
    return [("import of Arrow", seconds, f"{len(a) / seconds:,.0f} rows/s")]


def _with_store(store: Store, evalica_bt: float, fastchat: float) -> list[Line]:
    store.query(GROUPING)  # reads the file
    grouped = min(cpu_seconds(lambda: store.query(GROUPING)) for _ in range(3))
    since = BoardQuery(since=datetime(1970, 1, 1, tzinfo=UTC))
    whole = min(cpu_seconds(lambda: rate(store, since)) for _ in range(3))
    refreshed = min(cpu_seconds(lambda: leaderboard(store)) for _ in range(REFRESHES))
    online = cpu_seconds(lambda: leaderboard(store, "elo"))
    return [
        ("GROUP BY of all comparisons", grouped, ""),
        (
            "leaderboard: Bradley-Terry from all comparisons",
            whole,
            f"{evalica_bt / whole:.0f}x evalica, {whole / grouped:.2f} of GROUP BY",
        ),
        ("leaderboard: Bradley-Terry from pair counts", refreshed, f"{evalica_bt / refreshed:.0f}x evalica"),
        ("leaderboard: Elo from all comparisons", online, f"{fastchat / online:.0f}x FastChat"),
    ]


if __name__ == "__main__":
    main()
