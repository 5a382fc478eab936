"""Contestants: models of the roster with the version that answers now."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from arena.engines.base import EngineError
from arena.engines.spec import ModelSpec
from results.records import ModelVersionRecord, ModelVersionRef
from results.store import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Contestant:
    """A model of the roster and the version of it that answers now."""

    spec: ModelSpec
    version: ModelVersionRef


class Roster:
    """The models of one arena, by name, in the order of their entry."""

    def __init__(self, contestants: Iterable[Contestant], unusable: Mapping[str, str] | None = None) -> None:
        self._contestants = {contestant.spec.name: contestant for contestant in contestants}
        self._unusable = dict(unusable or {})

    def contestant(self, name: str) -> Contestant:
        """The contestant of that name; KeyError where there is none."""
        return self._contestants[name]

    def contestants(self) -> list[Contestant]:
        """All contestants, usable or not."""
        return list(self._contestants.values())

    def available(self) -> list[str]:
        """The names of those that can be drawn."""
        return [name for name in self._contestants if name not in self._unusable]

    def unusable(self) -> dict[str, str]:
        """The reason for each model that cannot be used now."""
        return dict(self._unusable)

    def set_unusable(self, name: str, reason: str) -> None:
        """Leave the model out of further draws."""
        log.warning("%s is left out of battles: %s", name, reason)
        self._unusable[name] = reason

    def update(self, contestants: Iterable[Contestant]) -> None:
        """Let these be the contestants of further draws. Who stays as it was and could not be used still cannot."""
        fresh = {contestant.spec.name: contestant for contestant in contestants}
        self._unusable = {
            name: reason
            for name, reason in self._unusable.items()
            if fresh.get(name) == self._contestants.get(name)
        }
        self._contestants = fresh

    def set_usable(self, name: str) -> None:
        """Let the model be drawn again."""
        self._unusable.pop(name, None)


def enrol(store: Store, specs: Sequence[ModelSpec], weights_digest: Callable[[ModelSpec], str]) -> Roster:
    """Make a version of every spec known to the store (a new one only where something changed).

    A model whose weights cannot be read is unusable, with the reason; it still has its entry.
    """
    usable: list[ModelSpec] = []
    records: list[ModelVersionRecord] = []
    unusable: dict[str, str] = {}
    for spec in specs:
        try:
            weights = weights_digest(spec)
        except EngineError as error:
            unusable[spec.name] = str(error)
            log.warning("%s is left out of battles: %s", spec.name, error)
            continue
        usable.append(spec)
        records.append(
            ModelVersionRecord(
                model=spec.name, digest=spec.digest(weights), spec=spec.model_dump(mode="json"), owner="file"
            )
        )
    versions = store.upsert_model_versions(records)
    contestants = [Contestant(spec, version) for spec, version in zip(usable, versions, strict=True)]
    return Roster(contestants, unusable)
