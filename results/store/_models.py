"""Operations on models and their versions."""

from __future__ import annotations

import json

from results.records import ModelVersion, ModelVersionRecord, ModelVersionRef, Record, now
from results.store._audit import note
from results.store._operations import Nothing, Operation
from results.store._transaction import Row, Transaction, one
from results.store.errors import BadWrite


class ModelVersions(Record):
    """Model versions to be found or made, in order."""

    versions: list[ModelVersionRecord]


def _upsert(tx: Transaction, payload: ModelVersions) -> list[ModelVersionRef]:
    return [upsert_version(tx, version) for version in payload.versions]


def upsert_version(tx: Transaction, version: ModelVersionRecord) -> ModelVersionRef:
    """Find the version by its model and digest, or make it the model's version n+1."""
    row = tx.row("SELECT model_key FROM models WHERE name = ?", version.model)
    if row is None:
        model_key = int(one(tx.row("SELECT coalesce(max(model_key), 0) + 1 FROM models")))
        tx.insert("models", {"model_key": model_key, "name": version.model, "created_at": now()})
    else:
        model_key = int(row[0])
    spec = json.dumps(version.spec, ensure_ascii=False)
    known = tx.row(
        "SELECT version_key, number, owner, spec FROM model_versions WHERE model_key = ? AND digest = ?",
        model_key,
        version.digest,
    )
    if known is not None:
        # Content is immutable; who looks after an entry is not. An import never takes one over.
        if known[2] != version.owner and version.owner != "import":
            tx.write("UPDATE model_versions SET owner = ? WHERE version_key = ?", version.owner, known[0])
        key, number = int(known[0]), int(known[1])
        # What shapes no answer (licence, tags, further addresses, where the weights lie) is as it was said last.
        if version.spec and version.spec != json.loads(known[3]):
            tx.write("UPDATE model_versions SET spec = ? WHERE version_key = ?", spec, key)
    else:
        key = int(one(tx.row("SELECT coalesce(max(version_key), 0) + 1 FROM model_versions")))
        number = int(
            one(
                tx.row(
                    "SELECT coalesce(max(number), 0) + 1 FROM model_versions WHERE model_key = ?", model_key
                )
            )
        )
        tx.insert(
            "model_versions",
            {
                "version_key": key,
                "model_key": model_key,
                "number": number,
                "digest": version.digest,
                "spec": spec,
                "owner": version.owner,
                "created_at": now(),
            },
        )
    return ModelVersionRef(version_key=key, model=version.model, number=number, digest=version.digest)


VERSION_COLUMNS = "v.version_key, m.name, v.number, v.digest, v.spec, v.owner, v.created_at"
"""Of `model_versions v` and `models m`: what `version_of` takes."""


def version_of(row: Row) -> ModelVersion:
    """A model version of a row of `VERSION_COLUMNS`."""
    key, name, number, digest, spec, owner, created_at = row
    return ModelVersion(
        version_key=key, model=name, number=number, digest=digest, spec=json.loads(spec), owner=owner,
        created_at=created_at,
    )  # fmt: skip


def _list(tx: Transaction, payload: Nothing) -> list[ModelVersion]:
    rows = tx.rows(
        f"SELECT {VERSION_COLUMNS} FROM model_versions v JOIN models m USING (model_key) "  # noqa: S608
        "ORDER BY v.version_key"
    )
    return [version_of(row) for row in rows]


def require_versions(tx: Transaction, *version_keys: int) -> None:
    """Raise BadWrite unless the store knows the model versions."""
    marks = ", ".join("?" * len(version_keys))
    known = tx.rows(f"SELECT version_key FROM model_versions WHERE version_key IN ({marks})", *version_keys)  # noqa: S608
    for missing in set(version_keys) - {key for (key,) in known}:
        raise BadWrite(f"there is no model version {missing}: write it first (upsert_model_versions)")


def audit_change(
    tx: Transaction, kind: str, name: str, action: str, before: int | None, after: int | None
) -> None:
    """Tell the audit that a name (of a model or an alias) stands for another version, or for none."""
    note(tx, action, (kind, name), {kind: name, "version_key": before}, {kind: name, "version_key": after})


UPSERT_MODEL_VERSIONS = Operation("upsert_model_versions", ModelVersions, list[ModelVersionRef], _upsert)
LIST_MODEL_VERSIONS = Operation("model_versions", Nothing, list[ModelVersion], _list, kind="read")
