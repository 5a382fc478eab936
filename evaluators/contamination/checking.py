"""Checks of a dataset against suites: what is missing is computed, and all of it is kept in the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

from evaluators.contamination import embeddings
from evaluators.contamination._index import BOILERPLATE
from evaluators.contamination.duplicates import LIKENESS, near_duplicates
from evaluators.contamination.overlap import CHARACTERS, WORDS, Index, overlaps
from evaluators.contamination.passages import items_digest, passages
from evaluators.suites.definition import Suite
from results.store import Store
from results.store.contamination import (
    CheckRecord,
    DuplicatesRecord,
    FlagRecord,
    Method,
    check_id,
    known_checks,
    record_checks,
    record_duplicates,
)

NGRAM: dict[str, Any] = {"version": 1, "words": WORDS, "characters": CHARACTERS, "boilerplate": BOILERPLATE}
_CLUSTERS = 1_000


class CheckedRow(NamedTuple):
    """A row of a dataset, as checks see it; rows are numbered as they come."""

    digest: str
    split: Literal["train", "held_out"]
    texts: Sequence[str]


Rows = Callable[[], Iterable[CheckedRow]]
Progress = Callable[[int, int], None]


def current_checks(store: Store, dataset_digest: str, suites: Sequence[Suite]) -> dict[str, CheckRecord]:
    """The n-gram checks of these rows against the suites as they are now, by suite; those not made are missing."""
    known = known_checks(store, dataset_digest)
    found = {}
    for suite in suites:
        check = known.get(check_id(dataset_digest, suite.name, items_digest(suite), "ngram", NGRAM))
        if check is not None:
            found[suite.name] = check
    return found


def check_overlap(
    store: Store,
    dataset_digest: str,
    rows: Rows,
    suites: Sequence[Suite],
    *,
    total: int = 0,
    progress: Progress = lambda *_: None,
) -> dict[str, CheckRecord]:
    """Compare rows with suites letter by letter (see `overlap`), where that was not done yet; checks by suite.

    `total` is the number of rows where it is known, for `progress` (rows done, of how many).
    """
    done = current_checks(store, dataset_digest, suites)
    missing = [suite for suite in suites if suite.name not in done]
    if not missing:
        return done
    index = Index([passage for suite in missing for passage in passages(suite)])
    seen: list[tuple[str, Literal["train", "held_out"]]] = []
    flags: dict[str, list[FlagRecord]] = {suite.name: [] for suite in missing}
    for found in overlaps(index, _texts(rows(), seen, total, progress)):
        digest, split = seen[found.row]
        flags[found.passage.suite].append(
            FlagRecord(
                row_digest=digest,
                row_number=found.row,
                split=split,
                item=found.passage.item,
                item_hash=found.passage.item_hash,
                field=found.passage.field,
                evidence=found.evidence,
                share=found.share,
                span=found.span,
            )
        )
    checks = [
        (_check(dataset_digest, suite, "ngram", NGRAM, len(seen), flags[suite.name]), flags[suite.name])
        for suite in missing
    ]
    record_checks(store, checks)
    return done | {check.suite: check for check, _ in checks}


def check_meaning(
    store: Store,
    dataset_digest: str,
    rows: Rows,
    suites: Sequence[Suite],
    *,
    threshold: float = embeddings.THRESHOLD,
    limit: int | None = None,
    progress: Progress = lambda *_: None,
) -> dict[str, CheckRecord]:
    """Compare the meaning of rows with that of items (see `embeddings`): candidates, by suite. Each row's longest text
    but the last stands for it (what was asked; of plain text, the text); `limit` takes that many rows, evenly spread.

    Raises:
        NeedsEmbeddings: the model is not installed.
    """
    every = list(rows())
    step = 1 if limit is None else max(1, -(-len(every) // limit))
    taken = range(0, len(every), step)
    asked = [(number, _asked(every[number].texts)) for number in taken if every[number].texts]
    settings = {"version": 1, "model": embeddings.MODEL, "threshold": threshold, "every": step}
    every_passage = [passage for suite in suites for passage in passages(suite)]
    flags: dict[str, list[FlagRecord]] = {suite.name: [] for suite in suites}
    for found in embeddings.likenesses(every_passage, asked, threshold, progress):
        row = every[found.row]
        flags[found.passage.suite].append(
            FlagRecord(
                row_digest=row.digest,
                row_number=found.row,
                split=row.split,
                item=found.passage.item,
                item_hash=found.passage.item_hash,
                field=found.passage.field,
                evidence="embedding",
                share=found.cosine,
                span=found.passage.text[:300],
            )
        )
    checks = [
        (
            _check(dataset_digest, suite, "embedding", settings, len(asked), flags[suite.name]),
            flags[suite.name],
        )
        for suite in suites
    ]
    record_checks(store, checks)
    return {check.suite: check for check, _ in checks}


def check_duplicates(
    store: Store, dataset_digest: str, rows: Rows, *, likeness: float = LIKENESS
) -> DuplicatesRecord:
    """Find near-duplicates among rows, and keep them. Raises NeedsDatasketch."""
    found = near_duplicates((row.texts for row in rows()), likeness)
    record = DuplicatesRecord(
        dataset_digest=dataset_digest,
        settings={"version": 1, "jaccard": likeness},
        row_count=found.rows,
        cluster_count=len(found.clusters),
        extra_rows=found.extra_rows,
        clusters=[list(cluster) for cluster in found.clusters[:_CLUSTERS]],
    )
    record_duplicates(store, record)
    return record


def _texts(
    rows: Iterable[CheckedRow],
    seen: list[tuple[str, Literal["train", "held_out"]]],
    total: int,
    progress: Progress,
) -> Iterator[Sequence[str]]:
    for row in rows:
        seen.append((row.digest, row.split))
        if len(seen) % 1_000 == 0:
            progress(len(seen), total)
        yield row.texts


def _asked(texts: Sequence[str]) -> str:
    return max(texts[:-1] or texts, key=len)


def _check(
    dataset_digest: str,
    suite: Suite,
    method: Method,
    settings: dict[str, Any],
    rows: int,
    flags: list[FlagRecord],
) -> CheckRecord:
    return CheckRecord(
        dataset_digest=dataset_digest,
        suite=suite.name,
        suite_digest=items_digest(suite),
        method=method,
        settings=settings,
        row_count=rows,
        item_count=len(suite.items),
        flagged_rows=len({flag.row_digest for flag in flags}),
        flagged_items=len({flag.item_hash for flag in flags}),
    )
