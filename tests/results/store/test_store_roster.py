"""Which version of a model takes part, aliases, facts: switched at once, with history, by owner and client."""

from __future__ import annotations

import json

import pytest

from results.ids import new_id
from results.records import ModelOwner, ModelVersionRecord
from results.store import BadWrite, Store, open_store
from results.store import roster as stored
from results.store.aliases import (
    alias_history,
    aliases,
    find_version,
    remove_alias,
    rollback_alias,
    set_alias,
)
from results.store.model_facts import ModelFacts, model_facts, record_facts

FILE = "/somewhere/arena.toml"


def version(model: str, digest: str = "1", owner: ModelOwner = "user") -> ModelVersionRecord:
    return ModelVersionRecord(model=model, digest=digest, spec={"source": digest}, owner=owner)


def standing(store: Store) -> dict[str, str]:
    return {entry.version.label: entry.origin for entry in stored.entries(store)}


def test_an_edit_takes_part_as_the_next_version_and_can_be_taken_back(store: Store) -> None:
    stored.enter(store, [version("한국어")])
    stored.enter(store, [version("한국어", "2")])
    assert standing(store) == {"한국어@2": ""}
    request = new_id()
    assert stored.rollback(store, "한국어", request).version.label == "한국어@1"
    assert stored.rollback(store, "한국어", request).version.label == "한국어@1", "the same request again"
    with pytest.raises(BadWrite, match="no earlier version"):
        stored.rollback(store, "한국어")
    stored.enter(store, [version("한국어", "2")])
    assert standing(store) == {"한국어@2": ""}, "known versions are found again"


def test_a_model_that_left_keeps_its_versions_and_can_come_back(store: Store) -> None:
    stored.enter(store, [version("one"), version("two")])
    assert stored.leave(store, "one")
    assert not stored.leave(store, "one")
    assert not stored.leave(store, "nobody")
    assert standing(store) == {"two@1": ""}
    found = find_version(store, "one")
    assert found.version is not None
    assert (found.version.label, found.on_roster, found.removed) == ("one@1", False, True)
    stored.enter(store, [version("one")])
    assert "one@1" in standing(store)


def test_a_settings_file_owns_its_entries_and_they_leave_with_it(store: Store) -> None:
    stored.enter(store, [version("mine"), version("taken")])
    stored.replace_origin(store, FILE, [version("a", owner="file"), version("taken", "2", "file")])
    assert standing(store) == {"mine@1": "", "taken@2": FILE, "a@1": FILE}
    for refused in (
        lambda: stored.enter(store, [version("a", "2")]),
        lambda: stored.leave(store, "a"),
        lambda: stored.rollback(store, "taken"),
    ):
        with pytest.raises(BadWrite, match=r"an entry of /somewhere/arena\.toml"):
            refused()
    stored.replace_origin(store, FILE, [version("a", "2", "file")], keep=["taken"])
    assert standing(store) == {"mine@1": "", "taken@2": FILE, "a@2": FILE}
    stored.replace_origin(store, "/other/arena.toml", [version("b", owner="file")])
    stored.replace_origin(store, FILE, [])
    assert standing(store) == {"mine@1": "", "b@1": "/other/arena.toml"}
    assert find_version(store, "a@1").version is not None


def test_the_embedded_models_take_nobodys_name_and_stay_away_when_removed(store: Store) -> None:
    seeds = [version("seed"), version("mine", "other")]
    stored.enter(store, [version("mine")])
    stored.replace_origin(store, stored.EMBEDDED, seeds)
    assert standing(store) == {"mine@1": "", "seed@1": stored.EMBEDDED}
    stored.replace_origin(store, stored.EMBEDDED, [])
    assert standing(store) == {"mine@1": ""}
    stored.replace_origin(store, stored.EMBEDDED, seeds)
    assert standing(store) == {"mine@1": "", "seed@1": stored.EMBEDDED}
    stored.leave(store, "seed")
    stored.replace_origin(store, stored.EMBEDDED, seeds)
    assert standing(store) == {"mine@1": ""}


def test_what_shapes_no_answer_changes_without_a_new_version(store: Store) -> None:
    (first,) = stored.enter(store, [version("one")])
    moved = ModelVersionRecord(model="one", digest="1", spec={"source": "moved", "licence": "mit"})
    (second,) = stored.enter(store, [moved])
    assert second.version.label == first.version.label
    assert second.version.spec == {"source": "moved", "licence": "mit"}
    store.upsert_model_versions([ModelVersionRecord(model="one", digest="1", owner="import")])
    (entry,) = stored.entries(store)
    assert entry.version.spec == moved.spec, "an import says nothing of it"


def test_an_alias_is_switched_and_rolled_back_with_its_history(store: Store) -> None:
    stored.enter(store, [version("one"), version("two")])
    one, two = (entry.version.version_key for entry in stored.entries(store))
    set_alias(store, "champion", one)
    set_alias(store, "champion", one)
    assert set_alias(store, "champion", two).version.label == "two@1"
    request = new_id()
    assert rollback_alias(store, "champion", request).version.label == "one@1"
    assert rollback_alias(store, "champion", request).version.label == "one@1"
    with pytest.raises(BadWrite, match="stood for nothing else"):
        rollback_alias(store, "champion")
    history = [(c.version.label if c.version else None, c.undone) for c in alias_history(store, "champion")]
    assert history == [("one@1", False), ("two@1", True)]
    found = find_version(store, "champion")
    assert (found.kind, found.version.label if found.version else None) == ("alias", "one@1")
    remove_alias(store, "champion")
    assert aliases(store) == []
    assert find_version(store, "champion").kind == "nothing"
    actions = store.query(
        "SELECT action, after FROM audit WHERE action LIKE 'alias%' ORDER BY id"
    ).to_pylist()
    assert [(row["action"], json.loads(row["after"])["version_key"]) for row in actions] == [
        ("alias set", one), ("alias set", two), ("alias rollback", one), ("alias set", None),
    ]  # fmt: skip


def test_names_and_aliases_cannot_be_mixed_up(store: Store) -> None:
    stored.enter(store, [version("one"), version("two")])
    key = stored.entries(store)[0].version.version_key
    set_alias(store, "champion", key)
    with pytest.raises(BadWrite, match="a model is named 'two'"):
        set_alias(store, "two", key)
    with pytest.raises(BadWrite, match="'champion' is an alias"):
        stored.enter(store, [version("champion")])
    for bad in ("name@2", " x", "a/b", "", "x" * 121):
        with pytest.raises(BadWrite, match="cannot be an alias"):
            set_alias(store, bad, key)
    with pytest.raises(BadWrite, match="no model version 99"):
        set_alias(store, "next", 99)


def test_references_without_a_roster_mean_the_newest_version(store: Store) -> None:
    store.upsert_model_versions([version("one"), version("one", "2"), version("one", "3")])
    labels = {text: find_version(store, text).version for text in ("one", "one@2", "one@9", "one@x", "two")}
    assert {text: each.label if each else None for text, each in labels.items()} == {
        "one": "one@3", "one@2": "one@2", "one@9": None, "one@x": None, "two": None,
    }  # fmt: skip


def test_facts_are_kept_beside_the_version(store: Store) -> None:
    (entry,) = stored.enter(store, [version("one")])
    key = entry.version.version_key
    facts = ModelFacts(parameters=135, licence="apache-2.0", languages=("ko", "en"), notes=("메모",))
    record_facts(store, key, ModelFacts(parameters=1))
    record_facts(store, key, facts)
    assert model_facts(store) == {key: facts}
    with pytest.raises(BadWrite, match="no model version"):
        record_facts(store, key + 1, facts)


def test_the_roster_outlives_its_process(store: Store) -> None:
    data = store.data_dir
    stored.enter(store, [version("one"), version("one", "2")])
    with open_store(data) as second:
        stored.rollback(second, "one")
        set_alias(second, "champion", stored.entries(second)[0].version.version_key)
    assert standing(store) == {"one@1": ""}
    assert [each.version.label for each in aliases(store)] == ["one@1"]
