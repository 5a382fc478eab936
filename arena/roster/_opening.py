"""A roster opened for work: the settings file's entries brought in, words resolved, weights looked at."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from arena.config import ConfigError, Settings
from arena.engines.base import EngineError, EngineUnavailable
from arena.engines.embedded import default_specs
from arena.engines.sources import EMBEDDED as EMBEDDED_SOURCE
from arena.engines.sources import weights_digest
from arena.engines.spec import ModelSpec
from arena.roster._entries import Contestant, Roster
from arena.roster._references import (
    contestant_of,
    current,
    enrol_version,
    record_of,
    spec_of,
)
from arena.roster._specs import check_formats, specs_from_tables
from arena.roster.adding import propose, with_base
from arena.roster.inspection import facts_or_note
from prompt_formats import load_registry
from results.records import ModelVersionRecord
from results.store import BadWrite, Store
from results.store import roster as stored
from results.store.aliases import find_version
from results.store.model_facts import model_facts, record_facts

log = logging.getLogger(__name__)

SERVE = "serve"
"""The origin of entries that `arena serve --model` names; they leave with the next start."""


def resolve_models(
    store: Store, settings: Settings, data_dir: Path, words: Sequence[str]
) -> list[Contestant]:
    """The contestants that words name: each a reference (see `find`), or a folder, a hub id or
    `openai:MODEL@BASE_URL`, which then becomes a version of its own (without joining the roster).

    Entries of `arena.toml` are brought in first, and the embedded models where they are prepared. A hub model that is
    not here yet is fetched, which may take long.

    Raises:
        UnknownModel: a word is none of these.
        ConfigError: an entry of the file cannot be used; a source would take the name of another model.
        EngineUnavailable: weights cannot be read.
    """
    failed = sync(store, settings, data_dir)
    return [_resolve(store, data_dir, word, failed) for word in words]


def open_roster(store: Store, settings: Settings, data_dir: Path, words: Sequence[str]) -> Roster:
    """The roster of an arena that is about to be served: `arena.toml`, the database's entries, models named by words
    (until the next start), and the embedded ones where neither the file nor words name any.

    Database entries whose weights have changed on disk become a new version. Those whose weights cannot be read are
    unusable, with the reason.

    Raises:
        ConfigError: an entry or a word cannot be used.
    """
    failed = sync(store, settings, data_dir, others_named=bool(words))
    specs = _served(store, data_dir, words)
    failed |= _replace(store, SERVE, specs, data_dir)
    failed |= _refresh(store, data_dir)
    return Roster(current(store), failed)


def sync(store: Store, settings: Settings, data_dir: Path, *, others_named: bool = False) -> dict[str, str]:
    """Bring the entries of `arena.toml` and the embedded models into the store; entries that left the file leave the
    roster. Gives the reason for each entry whose weights cannot be read (it stays as it was).

    The embedded models take part where the file names no others (nor somebody else does: `others_named`), or as its
    `embedded` says. One that a user has removed does not come back.

    Raises:
        ConfigError: an entry cannot be used.
    """
    file = settings.file or data_dir / "arena.toml"
    specs = specs_from_tables(settings.models, str(file))
    check_formats(specs, load_registry(data_dir / "formats"))
    failed: dict[str, str] = {}
    if specs or any(entry.origin == str(file) for entry in stored.entries(store)):
        failed |= _replace(store, str(file), specs, data_dir)
    taken = {spec.name for spec in specs}
    wanted = _embedded_join(settings, others_named=others_named)
    seeds = [spec for spec in default_specs(data_dir) if spec.name not in taken] if wanted else []
    return failed | _replace(store, stored.EMBEDDED, seeds, data_dir)


def needs_embedded(
    store: Store, settings: Settings, data_dir: Path, words: Sequence[str], *, serving: bool = False
) -> bool:
    """Whether the embedded model must be prepared first: one of the words names it or something made of it; and where
    an arena is to be served, something on its roster is it or made of it."""
    names = {spec.name for spec in default_specs(data_dir)}
    tables = [table for table in settings.models if serving or table.get("name") in words]
    sources = [str(table.get("source", "")) for table in tables]
    versions = [found.version for found in (find_version(store, word) for word in words) if found.version]
    if serving:
        versions += [entry.version for entry in stored.entries(store)]
    sources += [str(version.spec.get("source", "")) for version in versions]
    return (
        (serving and _embedded_join(settings, others_named=bool(words)))
        or any(source.startswith(EMBEDDED_SOURCE) for source in sources)
        or any(word in names for word in words)
    )


def _embedded_join(settings: Settings, *, others_named: bool) -> bool:
    told = "embedded" in settings.model_fields_set
    return settings.embedded if told else not (settings.models or others_named)


def _resolve(store: Store, data_dir: Path, word: str, failed: dict[str, str]) -> Contestant:
    found = find_version(store, word)
    if found.version is not None:
        return contestant_of(found.version)
    if word in failed:
        raise EngineUnavailable(failed[word])
    return enrol_version(store, _spec_of_word(store, data_dir, word), data_dir)


def _spec_of_word(store: Store, data_dir: Path, word: str) -> ModelSpec:
    """The spec of a word that names nothing the store knows."""
    embedded = next((spec for spec in default_specs(data_dir) if spec.name == word), None)
    if embedded is not None:
        return embedded
    return with_base(store, data_dir, propose(store, data_dir, word, {})).spec


def _served(store: Store, data_dir: Path, words: Sequence[str]) -> list[ModelSpec]:
    """Specs of words that name no model which takes part anyway."""
    others = {e.version.model: e.version for e in stored.entries(store) if e.origin != SERVE}
    specs = []
    for word in words:
        found = find_version(store, word)
        if found.version is None:
            specs.append(_spec_of_word(store, data_dir, word))
            continue
        standing = others.get(found.version.model)
        if standing is None:
            specs.append(spec_of(found.version))
        elif standing.version_key != found.version.version_key:
            raise ConfigError(
                f"'{word}' cannot take part beside {standing.label}: a roster holds one version of a model. "
                f"Go back to it (`arena models rollback {standing.model}`), or give it a name of its own"
            )
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two models are named '{name}': give one another name in arena.toml")
    return specs


def _replace(store: Store, origin: str, specs: Sequence[ModelSpec], data_dir: Path) -> dict[str, str]:
    records, failed = [], {}
    before = {version.version_key: version.spec for version in store.model_versions()} if specs else {}
    for spec in specs:
        try:
            owner: Literal["file", "user"] = "user" if origin == stored.EMBEDDED else "file"
            records.append(record_of(spec, weights_digest(spec, data_dir), owner))
        except EngineError as error:
            failed[spec.name] = str(error)
    try:
        standing = stored.replace_origin(store, origin, records, keep=list(failed))
    except BadWrite as error:
        raise ConfigError(str(error)) from None
    known = model_facts(store) if specs else {}
    for entry in standing:
        key = entry.version.version_key
        if entry.version.model not in failed and (key not in known or before.get(key) != entry.version.spec):
            record_facts(store, key, facts_or_note(spec_of(entry.version), data_dir))
    return failed


def _refresh(store: Store, data_dir: Path) -> dict[str, str]:
    """See whether the database's own entries are still what they were."""
    failed = {}
    for entry in stored.entries(store):
        if entry.origin:
            continue
        try:
            spec = spec_of(entry.version)
            digest = spec.digest(weights_digest(spec, data_dir))
        except EngineError as error:
            failed[entry.version.model] = str(error)
            continue
        if digest != entry.version.digest:
            record = ModelVersionRecord(
                model=spec.name, digest=digest, spec=entry.version.spec, owner=entry.owner
            )
            owner: Literal["user", "trainer"] = "trainer" if entry.owner == "trainer" else "user"
            (fresh,) = stored.enter(store, [record], owner=owner)
            record_facts(store, fresh.version.version_key, facts_or_note(spec, data_dir))
            log.warning(
                "the weights of %s have changed on disk: it is %s from now on",
                spec.name,
                fresh.version.label,
            )
    return failed
