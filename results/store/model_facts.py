"""What is known of a model version beyond its answers: size, licence, architecture, parent, prompt format."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pydantic import Field

from results.records import Record, now
from results.store._models import require_versions
from results.store._operations import Nothing, Operation
from results.store._transaction import Transaction

if TYPE_CHECKING:
    from results.store._store import Store


class ModelFacts(Record):
    """Facts of one model version; None where they are not known. They are no part of its digest.

    `parameters` counts the weights as trained (a quantised copy has as many); `bytes_on_disk` is the size of the
    weights and the adapter. `licence` is an id of `arena/roster/licences.yaml` where it is a known one, else what the
    model's card says; `licence_source` tells where it was found. `quantisation` names how a quantised copy was made
    (`nf4`, `int8`, `GGUF Q4_1`) and is None for one in the precision it was published in. `parent` is the
    model version or the id of the model that this one was made from.
    """

    parameters: int | None = Field(default=None, ge=0)
    bytes_on_disk: int | None = Field(default=None, ge=0)
    architecture: str | None = None
    licence: str | None = None
    licence_source: str | None = None
    data_licences: tuple[str, ...] = ()
    context_length: int | None = Field(default=None, ge=1)
    quantisation: str | None = None
    dtype: str | None = None
    prompt_format: str | None = None
    prompt_format_reason: str | None = None
    prompt_format_warning: str | None = None
    parent: str | None = None
    languages: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class VersionFacts(Record):
    """Facts to be kept of a version."""

    version_key: int
    facts: ModelFacts


def record_facts(store: Store, version_key: int, facts: ModelFacts) -> None:
    """Keep what is known of a version, in place of what was kept before. Raises BadWrite for an unknown one."""
    store.perform(RECORD_FACTS, VersionFacts(version_key=version_key, facts=facts))


def model_facts(store: Store) -> dict[int, ModelFacts]:
    """The facts of all versions that have any, by version key."""
    return {each.version_key: each.facts for each in store.perform(MODEL_FACTS, Nothing())}


def _record(tx: Transaction, payload: VersionFacts) -> None:
    require_versions(tx, payload.version_key)
    text = payload.facts.model_dump_json(exclude_defaults=True)
    known = tx.row("SELECT facts FROM model_facts WHERE version_key = ?", payload.version_key)
    if known is None:
        tx.insert("model_facts", {"version_key": payload.version_key, "facts": text, "recorded_at": now()})
    elif known[0] != text:
        tx.write(
            "UPDATE model_facts SET facts = ?, recorded_at = ? WHERE version_key = ?",
            text,
            now(),
            payload.version_key,
        )


def _list(tx: Transaction, payload: Nothing) -> list[VersionFacts]:
    rows = tx.rows("SELECT version_key, facts FROM model_facts ORDER BY version_key")
    return [
        VersionFacts(version_key=key, facts=ModelFacts.model_validate(json.loads(facts)))
        for key, facts in rows
    ]


RECORD_FACTS = Operation("record_model_facts", VersionFacts, None, _record)
MODEL_FACTS = Operation("model_facts", Nothing, list[VersionFacts], _list, kind="read")
