"""The comparisons behind a report, as counts of pairs: all together, and by category and language."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from results.ratings import OUTCOME, PairCounts

if TYPE_CHECKING:
    import pyarrow as pa

    from results.reports._model import ReportQuery
    from results.store import Store

Ints = npt.NDArray[np.int64]

_CODES = " ".join(f"WHEN '{verdict}' THEN {code}" for verdict, code in OUTCOME.items())
OUTCOME_SQL = f"(CASE verdict {_CODES} END)::TINYINT"


@dataclass(frozen=True, eq=False)
class Selection:
    """Models that were compared (`names`), and their counts: `counts` of all selected comparisons, `rows` the
    table that they are summed from, `of_version` the index of each version key (-1 for others)."""

    names: tuple[str, ...]
    of_version: Ints
    counts: PairCounts
    rows: pa.Table

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the counts, with the models by name: it does not depend on keys or on the order."""
        cells = self.counts.cells
        lines = sorted(
            f"{self.names[a]}\t{self.names[b]}\t{outcome}\t{cells[a, b, outcome]:.0f}\n"
            for a, b, outcome in np.argwhere(cells)
        )
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def parts(self, column: str) -> dict[str, PairCounts]:
        """The counts by a column (category or language), most comparisons first."""
        values = np.asarray(self.rows[column].to_pylist(), dtype=object)
        n = ints(self.rows, "n")
        sizes: Counter[str] = Counter()
        for value, count in zip(values.tolist(), n.tolist(), strict=True):
            sizes[value] += count
        return {value: self._of(self.rows.filter(values == value)) for value, _ in sizes.most_common()}

    def _of(self, rows: pa.Table) -> PairCounts:
        return pair_counts(rows, self.of_version, len(self.names))


def pair_counts(rows: pa.Table, of_version: Ints, models: int) -> PairCounts:
    """Rows (version_a, version_b, outcome, n) as counts of `models` models."""
    a, b = (of_version[ints(rows, column)] for column in ("version_a", "version_b"))
    return PairCounts.of(a, b, ints(rows, "outcome"), models, count=ints(rows, "n"))


def select(store: Store, query: ReportQuery) -> Selection:
    """Read the counts that a query selects. Raises StoreError."""
    where, params = conditions(query)
    rows = store.query(
        f"SELECT version_a, version_b, category, language, {OUTCOME_SQL} AS outcome, sum(n)::BIGINT AS n "  # noqa: S608
        f"FROM pair_counts WHERE n > 0 AND version_a <> version_b{where} GROUP BY ALL",
        params,
    )
    present = np.unique(np.concatenate([ints(rows, "version_a"), ints(rows, "version_b")]))
    labels = _labels(store)
    of_version = np.full(max(labels, default=0) + 1, -1, np.int64)
    of_version[present] = np.arange(len(present))
    names = tuple(labels[int(key)] for key in present)
    return Selection(names, of_version, pair_counts(rows, of_version, len(names)), rows)


def conditions(query: ReportQuery, *, source: bool = True) -> tuple[str, tuple[str, ...]]:
    """The query's filters as SQL that begins with AND (on `pair_counts` or `comparisons`) and parameters;
    without `source` those of all people and judges."""
    wanted = {"category": query.category}
    if source:
        wanted |= {"source": None if query.source == "all" else query.source, "judge": query.judge}
    chosen = {column: value for column, value in wanted.items() if value is not None}
    return "".join(f" AND {column} = ?" for column in chosen), tuple(chosen.values())


def ints(table: pa.Table, column: str) -> Ints:
    """A column as int64."""
    return np.asarray(table[column].to_numpy(), dtype=np.int64)


def _labels(store: Store) -> dict[int, str]:
    """What each version is called: by its model's name alone where the model has one version."""
    versions = store.model_versions()
    per_model = Counter(version.model for version in versions)
    return {v.version_key: v.model if per_model[v.model] == 1 else v.label for v in versions}
