"""All that is known of the models of a roster, for people: lists, cards, and one model in full."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from arena.roster._references import UnknownModel, nearest_known
from arena.roster.licences import CommercialUse, Lineage, load_licences
from results.records import ModelVersion
from results.store import Store
from results.store.aliases import AliasChange, alias_history, aliases, find_version
from results.store.model_facts import ModelFacts
from results.store.roster import RosterEntry, entries

_NOT_TOLD = {"name", "note", "tags"}


class _Shown(BaseModel):
    model_config = ConfigDict(frozen=True)


class ModelOverview(_Shown):
    """One model version with what is known of it. `owner` `file` means that a settings file (`origin`) says what it
    is; `on_roster` whether this version takes part now; `licence` is what counts, from its entry or its files."""

    reference: str
    model: str
    number: int
    version_key: int
    kind: str
    source: str
    base_url: str | None
    owner: str
    origin: str
    on_roster: bool
    licence: str | None
    commercial: CommercialUse
    facts: ModelFacts
    parent: str | None
    tags: tuple[str, ...]
    note: str | None
    aliases: tuple[str, ...]
    created_at: datetime


class VersionChange(_Shown):
    """One version of a model, and what changed since the one before: (field, before, after)."""

    number: int
    created_at: datetime
    on_roster: bool
    changes: tuple[tuple[str, Any, Any], ...]


class Ancestor(_Shown):
    """A link of a model's lineage; `known` is False for a parent that the store knows by name
    alone."""

    reference: str
    known: bool
    licence: str | None


class ModelDetails(_Shown):
    """One model in full. `lineage` begins with the version itself and goes up; `children` were made from it;
    `alias_changes` are those of every alias that its model ever had."""

    overview: ModelOverview
    spec: dict[str, Any]
    versions: tuple[VersionChange, ...]
    lineage: tuple[Ancestor, ...]
    children: tuple[str, ...]
    alias_changes: tuple[AliasChange, ...]


def overview(store: Store) -> list[ModelOverview]:
    """All models that take part now, in the order in which they came."""
    lineage, standing = Lineage(store), entries(store)
    names = _alias_names(store)
    return [_overview(entry.version, standing, lineage, names) for entry in standing]


def details(store: Store, reference: str) -> ModelDetails:
    """One model, by name, `name@3` or alias, on the roster or not.

    Raises:
        UnknownModel: nothing has this name.
    """
    found = find_version(store, reference)
    if found.version is None:
        raise UnknownModel(f"there is no model '{reference}'{nearest_known(store, reference)}")
    version, lineage, standing = found.version, Lineage(store), entries(store)
    versions = [each for each in store.model_versions() if each.model == version.model]
    current = {entry.version.version_key for entry in standing}
    keys = {each.version_key for each in versions}
    chain = list(lineage.chain(version.version_key))
    history = alias_history(store)
    own = {each.alias for each in history if each.version is not None and each.version.version_key in keys}
    return ModelDetails(
        overview=_overview(version, standing, lineage, _alias_names(store)),
        spec=version.spec,
        versions=tuple(
            VersionChange(
                number=each.number,
                created_at=each.created_at,
                on_roster=each.version_key in current,
                changes=() if before is None else changes(before, each),
            )
            for before, each in zip([None, *versions], versions, strict=False)
        ),
        lineage=tuple(
            Ancestor(
                reference=each if isinstance(each, str) else each.label,
                known=not isinstance(each, str),
                licence=_published(each) if isinstance(each, str) else lineage.licence_of(each),
            )
            for each in chain
        ),
        children=tuple(child.label for child in lineage.children(version.version_key)),
        alias_changes=tuple(change for change in history if change.alias in own),
    )


def changes(before: ModelVersion, after: ModelVersion) -> tuple[tuple[str, Any, Any], ...]:
    """What differs between two versions: fields of their specs, and `weights` where nothing else explains it."""
    fields = dict.fromkeys([*before.spec, *after.spec])
    found: list[tuple[str, Any, Any]] = []
    for field in fields:
        first, second = before.spec.get(field), after.spec.get(field)
        if field in _NOT_TOLD or first == second:
            continue
        if isinstance(first, dict) and isinstance(second, dict):
            found += [
                (f"{field}.{key}", first.get(key), second.get(key))
                for key in dict.fromkeys([*first, *second])
                if first.get(key) != second.get(key)
            ]
        else:
            found.append((field, first, second))
    return tuple(found) or (("weights", before.digest[:12], after.digest[:12]),)


def _overview(
    version: ModelVersion,
    standing: Sequence[RosterEntry],
    lineage: Lineage,
    names: dict[int, tuple[str, ...]],
) -> ModelOverview:
    entry = next((each for each in standing if each.version.version_key == version.version_key), None)
    spec = version.spec
    return ModelOverview(
        reference=version.label,
        model=version.model,
        number=version.number,
        version_key=version.version_key,
        kind=spec.get("kind", "imported"),
        source=spec.get("source", ""),
        base_url=spec.get("base_url"),
        owner=entry.owner if entry else version.owner,
        origin=entry.origin if entry else "",
        on_roster=entry is not None,
        licence=lineage.licence_of(version),
        commercial=lineage.commercial_use(version.version_key),
        facts=lineage.facts(version.version_key) or ModelFacts(),
        parent=lineage.parent_of(version),
        tags=tuple(spec.get("tags", ())),
        note=spec.get("note"),
        aliases=names.get(version.version_key, ()),
        created_at=version.created_at,
    )


def _published(hub_id: str) -> str | None:
    licence = load_licences().of_model(hub_id)
    return None if licence is None else licence.id


def _alias_names(store: Store) -> dict[int, tuple[str, ...]]:
    names: dict[int, tuple[str, ...]] = {}
    for alias in aliases(store):
        key = alias.version.version_key
        names[key] = (*names.get(key, ()), alias.alias)
    return names
