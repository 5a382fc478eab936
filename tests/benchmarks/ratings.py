"""How fast ratings and imports are, as ratios of CPU seconds against evalica and FastChat in one run.

    python tests/benchmarks/ratings.py [VOTES [MODELS [FOLDER]]]

Timings on a shared machine mean little; ratios within one run mean more. evalica is given lists of integers,
its fastest input, and gives no intervals. FastChat is no package that could be installed here: what stands for it is
written after the algorithms of its rating_systems.py (factorised names, a loop of NumPy scalars for Elo, L-BFGS-B with
`np.add.at` gradients for Bradley-Terry and style control), on one process, Elo on a part and scaled up. Up to a million
votes come from a CSV file, more of them as Arrow. arena-rank, where it is installed, rates a part, scaled up. FOLDER
keeps the store; the goals are those for ten million votes of 200 models.
"""

from __future__ import annotations

import contextlib
import csv
import math
import subprocess
import sys
import tempfile
import time
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
from scipy.optimize import minimize
from scipy.special import expit

from results.ids import new_id
from results.interchange import import_votes
from results.leaderboard import BoardQuery, leaderboard, rate
from results.ratings import PairCounts, bootstrap, bradley_terry, elo, rank_bounds, rate_with_style
from results.records import ImportRecord, ModelVersionRecord
from results.store import Store, open_store

GROUPING = (
    "SELECT version_a, version_b, verdict, count(*) FROM comparisons WHERE excluded IS NULL GROUP BY ALL"
)
GROUPING_CELLS = "SELECT cell, count(*) FROM votes GROUP BY cell"
REFRESHES = 20
MEMORY = """
import re, sys
from datetime import UTC, datetime
from pathlib import Path
import results
def peak(): return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
with results.open_store(sys.argv[1]) as store:
    store.query("SELECT 1")
    before = peak()
    results.rate(store, results.BoardQuery(since=datetime(1970, 1, 1, tzinfo=UTC)))
    print(before, peak())
"""
FASTCHAT_ROWS = 300_000
ARENA_RANK_ROWS = 500_000
STYLE_ROWS = 1_000_000
MOST_BY_CSV = 1_000_000
WORDS = ("model_a", "tie", "model_b")

Line = tuple[str, float, str]


def against(goal: float, ratio: float, peer: str) -> str:
    """How many times faster than a peer, and whether that is enough."""
    return f"{ratio:.0f}x {peer} (goal {goal:.0f}: {'reached' if ratio >= goal else 'missed'})"


def within(limit: float, value: float, of: str) -> str:
    """A figure that has to stay below a limit."""
    return f"{value:.3g} {of} (goal {limit:g}: {'reached' if value <= limit else 'missed'})"


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


def fastchat_elo(frame: pd.DataFrame, k: float = 4) -> np.ndarray:
    """Online Elo after FastChat's algorithm: names become codes, then one row of NumPy numbers after another."""
    size = len(frame)
    codes, names = pd.factorize(pd.concat([frame["model_a"], frame["model_b"]]))
    pairs = np.column_stack([codes[:size], codes[size:]])
    outcome = np.full(size, 0.5)
    outcome[frame["winner"] == "model_a"] = 1.0
    outcome[frame["winner"] == "model_b"] = 0.0
    unit, rating = math.log(10) / 400, np.full(len(names), 1000.0)
    for (one, other), earned in zip(pairs, outcome, strict=True):
        change = k * (earned - 1 / (1 + math.exp(unit * (rating[other] - rating[one]))))
        rating[one] += change
        rating[other] -= change
    return rating


def fastchat_results(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """What FastChat's bootstrap draws from: distinct pairs with their outcome, how often each came, and how many models
    there are."""
    size = len(frame)
    codes, names = pd.factorize(pd.concat([frame["model_a"], frame["model_b"]]))
    won = np.where(frame["winner"] == "model_a", 2, np.where(frame["winner"] == "model_b", 0, 1))
    results, counts = np.unique(
        np.column_stack([codes[:size], codes[size:], won]), return_counts=True, axis=0
    )
    return results[:, :2], results[:, 2] / 2, counts, len(names)


def fastchat_draws(
    pairs: np.ndarray, outcome: np.ndarray, counts: np.ndarray, models: int, rounds: int
) -> np.ndarray:
    """Bootstrapped Bradley-Terry after FastChat's algorithm: counts drawn anew, each draw fitted by L-BFGS-B."""
    size = int(counts.sum())
    draws = np.random.default_rng(0).multinomial(size, counts / size, size=rounds) / size
    none = np.empty((len(pairs), 0))
    return np.array([_fitted(pairs, outcome, none, models, weight, 0.0) for weight in draws])


def fastchat_style(pairs: np.ndarray, outcome: np.ndarray, x: np.ndarray, models: int) -> np.ndarray:
    """Style control after FastChat's algorithm: ratings and coefficients by L-BFGS-B on all rows, reg 0.5, without
    intervals."""
    return _fitted(pairs, outcome, x, models, None, 0.5)


def _fitted(
    pairs: np.ndarray, outcome: np.ndarray, x: np.ndarray, models: int, weight: np.ndarray | None, reg: float
) -> np.ndarray:
    alpha, sides = math.log(10), np.array([1.0, -1.0])

    def loss(theta: np.ndarray, *_: Any) -> tuple[float, np.ndarray]:
        strength = theta[:models][pairs]
        p = expit(alpha * (strength[:, 0] - strength[:, 1]) + x @ theta[models:])
        likelihood = np.log(p) * outcome + np.log(1 - p) * (1 - outcome)
        missed = outcome - p
        if weight is not None:
            likelihood, missed = likelihood * weight, missed * weight
        gradient = reg * theta
        np.add.at(gradient[:models], pairs, (-alpha * missed)[:, None] * sides)
        gradient[models:] -= x.T @ missed
        return reg / 2 * float(theta @ theta) - likelihood.sum(), gradient

    start = np.zeros(models + x.shape[1])
    options = {"maxiter": 100, "gtol": 1e-6}
    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x)


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
    frame = frame_of(a, b, outcome)
    # Preparing the rows is done once, whatever the number of draws, and takes too long to be told from them.
    before = time.process_time()
    prepared = fastchat_results(frame)
    preparing = time.process_time() - before
    peer = 25 * cpu_seconds(lambda: fastchat_draws(*prepared, 4))
    lines.append(("bootstrap x100 after FastChat, scaled up from 4", peer + preparing, ""))
    lines.append(("of which the draws alone", peer, ""))
    lines.append(("bootstrap x100 on counts", seconds, against(30, peer / seconds, "FastChat's draws")))
    seconds = cpu_seconds(lambda: bootstrap(PairCounts.of(a, b, outcome, models), 100))
    lines.append(("bootstrap x100 from rows", seconds, against(30, (peer + preparing) / seconds, "FastChat")))
    part = slice(min(votes, STYLE_ROWS))
    style = np.random.default_rng(1).normal(size=(len(a[part]), 4))
    names = ("length", "headers", "lists", "bold")
    seconds = cpu_seconds(
        lambda: rate_with_style(a[part], b[part], outcome[part], style, models, names=names)
    )
    pairs, won = np.column_stack([a[part], b[part]]), 1 - outcome[part] / 2
    peer = cpu_seconds(lambda: fastchat_style(pairs, won, style, models))
    lines.append((f"style control after FastChat, {len(style):,} rows", peer, ""))
    lines.append(
        (
            f"style control with intervals, {len(style):,} rows",
            seconds,
            against(15, peer / seconds, "FastChat"),
        )
    )
    with contextlib.ExitStack() as stack:
        folder = sys.argv[3] if len(sys.argv) > 3 else stack.enter_context(tempfile.TemporaryDirectory())
        with open_store(Path(folder) / "data") as store:
            lines += _import(store, Path(folder) / "votes.csv", a, b, outcome)
            lines += _with_store(store, evalica_bt, fastchat)
        command = [sys.executable, "-c", MEMORY, str(Path(folder) / "data")]
        base, most = map(
            float, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        )
        lines.append(("memory of a process with the store open, MB", base, ""))
        lines.append(("memory, after Bradley-Terry from all comparisons, MB", most, within(400, most, "MB")))

    table = Table(title=f"{votes:,} votes, {models} models")
    for column in ("what", "CPU s", "ratio"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for what, seconds, ratio in lines:
        table.add_row(what, f"{seconds:.4f}", ratio)
    Console(width=130).print(table)


def _peers(a: np.ndarray, b: np.ndarray, outcome: np.ndarray) -> tuple[list[Line], float, float]:
    """What others take: the lines, and the seconds of evalica's Bradley-Terry and of FastChat's Elo."""
    winners = [(evalica.Winner.X, evalica.Winner.Draw, evalica.Winner.Y)[o] for o in outcome.tolist()]
    xs, ys = a.tolist(), b.tolist()
    evalica_bt = cpu_seconds(lambda: evalica.bradley_terry(xs, ys, winners))
    evalica_elo = cpu_seconds(lambda: evalica.elo(xs, ys, winners))
    part = slice(min(len(a), FASTCHAT_ROWS))
    frame = frame_of(a[part], b[part], outcome[part])
    fastchat = cpu_seconds(lambda: fastchat_elo(frame)) * len(a) / len(frame)
    lines = [
        ("evalica Bradley-Terry, lists in memory", evalica_bt, ""),
        ("evalica Elo, lists in memory", evalica_elo, ""),
        ("Elo after FastChat, data frame in memory", fastchat, ""),
        *_arena_rank(a, b, outcome),
    ]
    return lines, evalica_bt, fastchat


def _arena_rank(a: np.ndarray, b: np.ndarray, outcome: np.ndarray) -> list[Line]:
    """arena-rank's Bradley-Terry with its intervals, on a part of the rows and scaled up."""
    try:
        from arena_rank.models.bradley_terry import BradleyTerry  # type: ignore[import-untyped]
        from arena_rank.utils.data_utils import PairDataset  # type: ignore[import-untyped]
    except ImportError:
        return []
    part = slice(min(len(a), ARENA_RANK_ROWS))
    frame = frame_of(a[part], b[part], outcome[part])

    def rated() -> None:
        data = PairDataset.from_pandas(frame)
        model = BradleyTerry(n_competitors=len(data.competitors))
        model.compute_ratings_and_cis(data)

    rated()  # compiles
    seconds = cpu_seconds(rated) * len(a) / len(frame)
    return [("arena-rank Bradley-Terry with intervals, scaled up", seconds, "")]


def frame_of(a: np.ndarray, b: np.ndarray, outcome: np.ndarray) -> pd.DataFrame:
    """The votes as FastChat's data frame has them."""
    names = np.array([f"model-{n:03}" for n in range(int(max(a.max(), b.max())) + 1)], dtype=object)
    words = np.array(WORDS, dtype=object)
    return pd.DataFrame({"model_a": names[a], "model_b": names[b], "winner": words[outcome]})


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
    cells = min(cpu_seconds(lambda: store.query(GROUPING_CELLS)) for _ in range(3))
    since = BoardQuery(since=datetime(1970, 1, 1, tzinfo=UTC))
    whole = min(cpu_seconds(lambda: rate(store, since)) for _ in range(3))
    refreshed = min(cpu_seconds(lambda: leaderboard(store)) for _ in range(REFRESHES))
    first = cpu_seconds(lambda: leaderboard(store, "elo"))
    online = min(cpu_seconds(lambda: leaderboard(store, "elo")) for _ in range(3))
    what = "leaderboard: Bradley-Terry from all comparisons"
    return [
        ("GROUP BY of all comparisons, versions and verdict", grouped, ""),
        ("GROUP BY of all comparisons, one number each", cells, ""),
        (what, whole, against(40, evalica_bt / whole, "evalica")),
        ("  beside the GROUP BY of versions and verdict", whole, within(1.3, whole / grouped, "of it")),
        ("  beside the GROUP BY of one number each", whole, f"{whole / cells:.2f} of it"),
        (
            "leaderboard: Bradley-Terry from pair counts",
            refreshed,
            within(15, 1000 * refreshed, "ms"),
        ),
        ("leaderboard: Elo from all comparisons", online, against(40, fastchat / online, "FastChat")),
        ("  for the first time in a process", first, f"{fastchat / first:.0f}x FastChat"),
    ]


if __name__ == "__main__":
    main()
