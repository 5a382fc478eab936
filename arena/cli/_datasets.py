"""Datasets that a command names: what is wrong with them becomes exit codes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from arena.cli._common import BadInput, WorkFailed


@contextmanager
def dataset_errors() -> Iterator[None]:
    """A dataset that there is not is bad input; one whose rows are gone is work that failed."""
    # Imported here: the libraries behind datasets take a while, and `--help` must not wait for them.
    from trainers.datasets import MissingRows, UnknownDataset

    try:
        yield
    except UnknownDataset as error:
        raise BadInput(str(error.args[0])) from None
    except MissingRows as error:
        raise WorkFailed(str(error)) from None
