"""What people call a model (a name, `name@3`, an alias) made into contestants, and contestants made known."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from arena.config import ConfigError
from arena.engines.sources import weights_digest
from arena.engines.spec import ModelSpec
from arena.roster._entries import Contestant
from arena.roster.inspection import inspect
from results.records import ModelVersion, ModelVersionRecord, ModelVersionRef
from results.store import BadWrite, Store
from results.store import roster as stored
from results.store.aliases import aliases, find_version
from results.store.model_facts import ModelFacts, record_facts


class UnknownModel(ConfigError):
    """No model, version or alias has this name; the message names the nearest known ones."""


def find(store: Store, reference: str) -> Contestant:
    """The contestant that a name (its version on the roster, else its newest), `name@3` or an alias means.

    Raises:
        UnknownModel: there is none, or it is known from imported votes only, so that nothing here can answer for it.
    """
    found = find_version(store, reference)
    if found.version is None:
        raise UnknownModel(f"there is no model '{reference}'{nearest_known(store, reference)}")
    return contestant_of(found.version)


def find_known(store: Store, reference: str) -> Contestant | None:
    """The same, with None for what nothing is known of (or nothing but imported votes)."""
    found = find_version(store, reference)
    return (
        None if found.version is None or "source" not in found.version.spec else contestant_of(found.version)
    )


def current(store: Store) -> list[Contestant]:
    """All models that take part now, in the order in which they came."""
    return [contestant_of(entry.version) for entry in stored.entries(store)]


def enter(
    store: Store,
    spec: ModelSpec,
    data_dir: Path,
    owner: Literal["user", "trainer"] = "user",
    facts: ModelFacts | None = None,
) -> Contestant:
    """Put a model on the roster (as its next version where one of this name is known), with what is to be found out
    about it (`facts`, where that was done already).

    Raises:
        ConfigError: a settings file owns the name, an alias has it, or files are missing or damaged.
        EngineUnavailable: the weights cannot be found.
    """
    found = facts or inspect(spec, data_dir)
    record = record_of(spec, weights_digest(spec, data_dir), owner)
    try:
        (entry,) = stored.enter(store, [record], owner=owner)
    except BadWrite as error:
        raise ConfigError(str(error)) from None
    record_facts(store, entry.version.version_key, found)
    return contestant_of(entry.version)


def refusal_of_name(store: Store, name: str) -> str | None:
    """Why `enter` would refuse a model of this name, so that long work can be refused before it begins; None where it
    would not."""
    if any(each.owner == "file" for each in stored.entries(store) if each.version.model == name):
        return f"'{name}' is an entry of a settings file, which alone may change it: take another name"
    if any(each.alias == name for each in aliases(store)):
        return f"'{name}' is an alias: take another name, or remove the alias"
    return None


def enrol_version(store: Store, spec: ModelSpec, data_dir: Path) -> Contestant:
    """Make a version of a spec known to the store without putting it on the roster; a known one is found again.

    Raises:
        ConfigError: another model of the roster has this name; files are missing or damaged.
        EngineUnavailable: the weights cannot be found.
    """
    digest = spec.digest(weights_digest(spec, data_dir))
    known = [each for each in store.model_versions() if each.model == spec.name]
    same = next((each for each in known if each.digest == digest and each.spec), None)
    if same is not None:
        return contestant_of(same)
    _check_free(store, spec)
    facts = inspect(spec, data_dir)
    record = ModelVersionRecord(model=spec.name, digest=digest, spec=spec.model_dump(mode="json"))
    (version,) = store.upsert_model_versions([record])
    record_facts(store, version.version_key, facts)
    return Contestant(spec, version)


def _check_free(store: Store, spec: ModelSpec) -> None:
    standing = next((e for e in stored.entries(store) if e.version.model == spec.name), None)
    if standing is not None:
        raise ConfigError(
            f"'{spec.source}' would be named '{spec.name}', as another model of the roster "
            f"({standing.version.spec.get('source')}) is: give it a name of its own with `arena models add --name`"
        )


def record_of(spec: ModelSpec, weights: str, owner: Literal["file", "user", "trainer"]) -> ModelVersionRecord:
    """What the store is told of a spec."""
    return ModelVersionRecord(
        model=spec.name, digest=spec.digest(weights), spec=spec.model_dump(mode="json"), owner=owner
    )


def contestant_of(version: ModelVersion) -> Contestant:
    """A version that the store knows, as a contestant. Raises ConfigError where nothing here can answer for it."""
    ref = ModelVersionRef(**version.model_dump(include=set(ModelVersionRef.model_fields)))
    return Contestant(spec_of(version), ref)


def spec_of(version: ModelVersion) -> ModelSpec:
    """The spec of a version. Raises UnknownModel for one that is known from imports only, ConfigError for one that this
    release cannot read."""
    if "source" not in version.spec:
        raise UnknownModel(
            f"'{version.label}' is known from imported results only: nothing here can answer for it. "
            "Add the model under another name with `arena models add`"
        )
    try:
        return ModelSpec.model_validate(version.spec)
    except ValidationError as error:
        raise ConfigError(f"{version.label}: what the database holds of it cannot be used: {error}") from None


def nearest_known(store: Store, word: str) -> str:
    """` (did you mean ...?)`: the models and aliases that are nearest to a word."""
    versions = store.model_versions()
    name, at, _ = word.rpartition("@")
    if at and any(version.model == name for version in versions):
        numbers = [version.number for version in versions if version.model == name]
        return f" ('{name}' has versions {', '.join(map(str, sorted(numbers)))})"
    known = sorted({version.model for version in versions} | {each.alias for each in aliases(store)})
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.4)
    if close:
        return f" (did you mean {' or '.join(repr(each) for each in close)}?)"
    return f" (known: {', '.join(known[:20])})" if known else " (none is known yet: `arena models add`)"
