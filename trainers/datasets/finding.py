"""Dataset versions by name."""

from __future__ import annotations

from arena.config import nearest
from results.store import Store
from results.store.datasets import StoredDataset, dataset_versions


class UnknownDataset(LookupError):
    """There is no dataset of that name. The message names the nearest."""


def find_dataset(store: Store, reference: str) -> StoredDataset:
    """The dataset version that `name` (its newest) or `name@number` stands for. Raises `UnknownDataset`."""
    name, _, number = reference.partition("@")
    versions = [each for each in dataset_versions(store) if each.name == name]
    if number:
        versions = [each for each in versions if str(each.number) == number]
    if versions:
        return versions[-1]
    known = dataset_versions(store)
    if not known:
        raise UnknownDataset(
            f"there is no dataset '{reference}', nor any other: add one with `arena data add FILE`"
        )
    raise UnknownDataset(
        f"there is no dataset '{reference}'"
        + nearest(reference, [each.label for each in known] if number else sorted({d.name for d in known}))
    )
