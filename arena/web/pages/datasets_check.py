"""A check of a dataset that its page starts: overlap with test suites and near-duplicates (see `arena data check`)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from arena.web._work import Work
from evaluators.contamination.checking import CheckedRow, check_duplicates, check_overlap
from evaluators.suites.catalogue import all_suites
from results.store import Store
from results.store.datasets import StoredDataset
from trainers.contamination import checked_rows

KIND = "data-check"


class _Stopped(Exception):
    """The check was asked to stop."""


async def check_dataset(store: Store, dataset: StoredDataset, work: Work) -> str:
    """Compare every row with the suites that it was not compared with yet, then look for near-duplicates; what is
    found is kept in the store, each part when it is complete. Gives the dataset's label.

    Raises:
        MissingRows: the rows are gone. StoreError. NeedsDatasketch: near-duplicates need an extra; the overlap is kept.
    """
    checking = asyncio.create_task(asyncio.to_thread(_check, store, dataset, work))
    try:
        await asyncio.shield(checking)
    except asyncio.CancelledError:
        # The thread looks at `work.stopping` at every row; the store must stay open until it has ended.
        await asyncio.wait([checking])
        checking.exception()
        raise
    return dataset.label


def _check(store: Store, dataset: StoredDataset, work: Work) -> None:
    data_dir, digest, kind = store.data_dir, dataset.digest, dataset.kind

    def rows() -> Iterator[CheckedRow]:
        for row in checked_rows(data_dir, digest, kind):
            if work.stopping:
                raise _Stopped
            work.done += 1
            yield row

    suites, broken = all_suites(data_dir)
    work.errors = len(broken)
    work.total = 2 * dataset.row_count
    work.where = ", ".join(suite.name for suite in suites)
    check_overlap(store, digest, rows, suites)
    work.done = work.total - dataset.row_count  # also where everything was known
    work.where = ""
    check_duplicates(store, digest, rows)
