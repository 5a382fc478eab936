"""The models that /v1 offers: the roster's, by name, `name@3` or alias, as OpenAI's model objects."""

from __future__ import annotations

from typing import Any

from arena.api.errors import ApiError
from arena.config import ConfigError
from arena.roster import Contestant, UnknownModel, current, find
from results.records import ModelVersion
from results.store import Store
from results.store.aliases import Alias, aliases, find_version

OWNER = "palaestra"


def served(store: Store, reference: str, param: str | None = "model") -> Contestant:
    """The contestant that a request's model id means, as it is at this moment. Blocking.

    Raises:
        ApiError: 404 where nothing of this name is on the roster, 400 where its entry cannot be used.
    """
    try:
        contestant = find(store, reference)
    except UnknownModel as error:
        raise ApiError(404, str(error), code="model_not_found", param=param) from None
    except ConfigError as error:
        raise ApiError(400, str(error), code="model_not_usable", param=param) from None
    if not find_version(store, reference).on_roster:
        # What was only judged or benchmarked once is no offer, and neither is what was taken off.
        raise ApiError(
            404,
            f"'{reference}' is not on the roster: `arena models add` puts it there",
            code="model_not_found",
            param=param,
        )
    return contestant


def model_list(store: Store) -> dict[str, Any]:
    """All models of the roster and all aliases. Blocking."""
    versions = {version.version_key: version for version in store.model_versions()}
    named = aliases(store)
    models = [
        model_object(each.spec.name, each, versions.get(each.version.version_key), named)
        for each in current(store)
    ]
    known = {each.version.version_key: each for each in current(store)}
    for alias in named:
        contestant = known.get(alias.version.version_key) or _of(store, alias)
        if contestant is not None:
            models.append(model_object(alias.alias, contestant, alias.version, named))
    return {"object": "list", "data": models}


def one_model(store: Store, reference: str) -> dict[str, Any]:
    """One model object. Blocking. Raises `ApiError` (404)."""
    contestant = served(store, reference)
    versions = {version.version_key: version for version in store.model_versions()}
    return model_object(reference, contestant, versions.get(contestant.version.version_key), aliases(store))


def model_object(
    identity: str, contestant: Contestant, version: ModelVersion | None, named: list[Alias]
) -> dict[str, Any]:
    """OpenAI's model object; what is ours lies under `palaestra`."""
    spec = contestant.spec
    created = int(version.created_at.timestamp()) if version is not None else 0
    return {
        "id": identity,
        "object": "model",
        "created": created,
        "owned_by": OWNER,
        "palaestra": {
            "version": contestant.version.label,
            "digest": contestant.version.digest,
            "kind": spec.kind,
            "aliases": [
                each.alias for each in named if each.version.version_key == contestant.version.version_key
            ],
            "context_length": spec.context_length,
            "quantisation": spec.quantisation,
            "prompt_format": spec.prompt_format,
            "sampling": spec.sampling.model_dump(exclude_none=True),
            "licence": spec.licence,
            "parent": spec.parent,
            "tags": list(spec.tags),
            "note": spec.note,
        },
    }


def _of(store: Store, alias: Alias) -> Contestant | None:
    try:
        return served(store, alias.alias)
    except ApiError:  # it stands for what is off the roster now: not offered
        return None
