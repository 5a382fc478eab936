"""What a person wants to know of a dataset before training on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from trainers.datasets.rows import ChatRow, KtoRow, LabelledRow, Row

_LANGUAGE_SAMPLE = 2_000


class Spread(BaseModel):
    """How a number is spread over rows."""

    model_config = ConfigDict(frozen=True)

    mean: float
    p50: float
    p95: float
    largest: float
    total: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        array = np.asarray(values, dtype=float)
        p50, p95 = np.percentile(array, [50, 95])
        return cls(mean=array.mean(), p50=p50, p95=p95, largest=array.max(), total=array.sum())


class Statistics(BaseModel):
    """`characters` is over whole rows, `turns` over conversations (messages a row), `duplicates` the rows whose
    content stood before, `languages` and `labels` rows by value; `distinct_words` is the share of different words
    (type-token ratio, the first 100,000 words), a plain measure of diversity."""

    model_config = ConfigDict(frozen=True)

    rows: int
    duplicates: int
    characters: Spread
    turns: Spread | None = None
    languages: dict[str, int] = {}
    labels: dict[str, int] = {}
    distinct_words: float


def statistics(rows: Iterable[Row], language_of: Callable[[str], str]) -> Statistics:
    """Statistics of at least one row; languages are told of the first 2,000 rows (it costs a millisecond each)."""
    seen: set[str] = set()
    duplicates = 0
    characters: list[float] = []
    turns: list[float] = []
    languages: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    words: set[str] = set()
    counted = 0
    for row in rows:
        digest = row.digest()
        duplicates += digest in seen
        seen.add(digest)
        texts = row.texts()
        characters.append(sum(map(len, texts)))
        if isinstance(row, ChatRow):
            turns.append(len(row.messages))
        if isinstance(row, LabelledRow | KtoRow):
            labels[str(row.label)] += 1
        if len(characters) <= _LANGUAGE_SAMPLE:
            languages[language_of(" ".join(texts)[:2_000]) or "?"] += 1
        if counted < 100_000:
            found = " ".join(texts).split()
            counted += len(found)
            words.update(found)
    return Statistics(
        rows=len(characters),
        duplicates=duplicates,
        characters=Spread.of(characters),
        turns=Spread.of(turns) if turns else None,
        languages=dict(languages.most_common()),
        labels=dict(labels.most_common(50)),
        distinct_words=len(words) / counted if counted else 0.0,
    )
