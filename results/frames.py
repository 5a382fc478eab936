"""Data frames in and out: ratings of any table of comparisons, and any rows of ours as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from results.interchange.fields import verdict_of
from results.leaderboard import LeaderboardRow, rated_rows
from results.leaderboard_files import to_arrow
from results.ratings import OUTCOME, BradleyTerry, PairCounts, bradley_terry

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from results.figures import Figure


@dataclass(frozen=True, eq=False)
class Ratings:
    """Rated models: index i of `counts` and `fit` is the model `names[i]`; `rows` are as on a leaderboard."""

    names: tuple[str, ...]
    counts: PairCounts
    fit: BradleyTerry
    rows: tuple[LeaderboardRow, ...]

    def to_arrow(self) -> pa.Table:
        """The rows as an Arrow table (`polars.from_arrow` makes a Polars frame of it)."""
        return to_arrow(LeaderboardRow, self.rows)

    def to_pandas(self) -> pd.DataFrame:
        """The rows as a pandas data frame."""
        frame: pd.DataFrame = self.to_arrow().to_pandas()
        return frame

    def plot(self, most: int = 30) -> Figure:
        """The ratings with their intervals; the last line of a notebook's cell shows it."""
        from results.figures import Interval, interval_plot

        shown = [row for row in self.rows if row.rating is not None][:most]
        return interval_plot([Interval(row.model, row.rating, row.lower, row.upper) for row in shown])


def rate_frame(
    frame: Any,
    *,
    model_a: str = "model_a",
    model_b: str = "model_b",
    winner: str | None = None,
    weight: str | None = None,
    level: float = 0.95,
) -> Ratings:
    """Bradley-Terry ratings with sandwich intervals of any table of comparisons: a pandas or Polars data frame, an
    Arrow table, or a dict of columns.

    `model_a` and `model_b` name the columns of the models, `winner` that of the verdict (default: `winner`, else
    `verdict`), in words that imports know as well: a, b, model_a, model_b, left, right, tie, both_bad, or the name of
    the model that won. `weight` names a column of weights. Raises KeyError for a column that is not there and
    ValueError for a verdict that is no word of these, and as `PairCounts.of`.
    """
    column = winner or ("winner" if "winner" in _columns(frame) else "verdict")
    first, second = (_texts(frame, name) for name in (model_a, model_b))
    names, codes = np.unique(np.concatenate([first, second]), return_inverse=True)
    a, b = codes[: len(first)], codes[len(first) :]
    outcome = np.array(
        [
            _outcome(word, x, y, n)
            for n, (word, x, y) in enumerate(zip(_texts(frame, column), first, second, strict=True))
        ],
        dtype=np.int64,
    )
    weights = None if weight is None else np.asarray(_column(frame, weight), dtype=np.float64)
    counts = PairCounts.of(a, b, outcome, len(names), weight=weights)
    fit = bradley_terry(counts, level=level)
    labels = tuple(str(name) for name in names)
    return Ratings(labels, counts, fit, tuple(rated_rows(labels, counts, fit)))


def table(rows: Sequence[BaseModel]) -> pa.Table:
    """Rows of one kind (of a leaderboard, of pairs, of changes, of items) as an Arrow table. Raises ValueError for no
    rows, whose kind nothing tells; `results.leaderboard_files.to_arrow` takes the kind."""
    if not rows:
        raise ValueError("no rows: results.leaderboard_files.to_arrow(KIND, []) makes an empty table")
    return to_arrow(type(rows[0]), rows)


def _columns(frame: Any) -> list[str]:
    names = getattr(frame, "column_names", None)
    return list(names if names is not None else getattr(frame, "columns", frame))


def _column(frame: Any, name: str) -> Any:
    names = _columns(frame)
    if name not in names:
        raise KeyError(f"there is no column {name!r}; there are {', '.join(map(str, names))}")
    return frame[name]


def _texts(frame: Any, name: str) -> npt.NDArray[np.str_]:
    return np.asarray(_column(frame, name), dtype=str)


def _outcome(word: str, model_a: str, model_b: str, row: int) -> int:
    verdict = verdict_of(word)
    if verdict is None and word in (model_a, model_b):
        verdict = "a" if word == model_a else "b"
    if verdict is None:
        raise ValueError(
            f"row {row}: {str(word)!r} is no verdict: a, b, tie, both_bad, or the name of the model that won"
        )
    return OUTCOME[verdict]
