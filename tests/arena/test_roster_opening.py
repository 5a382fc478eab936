"""The roster of an arena: entries of the file, of the database and of words, brought together."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arena.config import ConfigError, Settings
from arena.engines import embedded
from arena.engines.base import EngineUnavailable
from arena.engines.spec import ModelSpec
from arena.roster import (
    UnknownModel,
    current,
    enter,
    find,
    needs_embedded,
    open_roster,
    resolve_models,
    sync,
)
from results.records import ModelVersionRecord
from results.store import Store, open_store
from results.store.aliases import set_alias
from results.store.model_facts import model_facts
from results.store.roster import leave
from tests.arena.model_folders import save_adapter, save_model


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PALAESTRA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "data"


@pytest.fixture
def store(data: Path) -> Iterator[Store]:
    with open_store(data) as store:
        yield store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_model(tmp_path / "모형", license="mit")


def settings(*models: dict[str, Any], **more: Any) -> Settings:
    return Settings.model_validate({"models": models, **more})


def labels(store: Store) -> list[str]:
    return [contestant.version.label for contestant in current(store)]


def prepared(data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tiny model stand for the embedded one: these tests are about who takes part."""
    monkeypatch.setattr(embedded, "find", lambda _: folder)


def test_an_edit_in_the_file_is_the_next_version_and_what_leaves_it_leaves(
    store: Store, data: Path, folder: Path
) -> None:
    entry = {"name": "one", "source": str(folder)}
    assert sync(store, settings(entry), data) == {}
    assert labels(store) == ["one@1"]
    sync(store, settings({**entry, "licence": "cc-by-nc-4.0", "tags": ["x"]}), data)
    (contestant,) = current(store)
    assert (contestant.version.label, contestant.spec.licence) == ("one@1", "cc-by-nc-4.0")
    assert model_facts(store)[contestant.version.version_key].licence == "cc-by-nc-4.0"
    sync(store, settings({**entry, "system_prompt": "짧게."}), data)
    assert labels(store) == ["one@2"]
    sync(store, settings(entry), data)
    assert labels(store) == ["one@1"]
    sync(store, settings({"name": "two", "source": str(folder)}), data)
    assert labels(store) == ["two@1"]
    assert find(store, "one@2").spec.system_prompt == "짧게."


def test_weights_that_cannot_be_read_keep_the_entry_and_say_why(
    store: Store, data: Path, folder: Path, tmp_path: Path
) -> None:
    entries = ({"name": "one", "source": str(folder)}, {"name": "gone", "source": str(tmp_path / "nowhere")})
    assert list(sync(store, settings(*entries), data)) == ["gone"]
    assert labels(store) == ["one@1"]
    folder.rename(tmp_path / "moved")
    assert set(sync(store, settings(*entries), data)) == {"one", "gone"}
    roster = open_roster(store, settings(*entries), data, [])
    assert (labels(store), roster.available()) == (["one@1"], [])
    with pytest.raises(EngineUnavailable, match="nowhere"):
        resolve_models(store, settings(*entries), data, ["gone"])
    moved = {"name": "one", "source": str(tmp_path / "moved")}
    assert sync(store, settings(moved), data) == {}
    assert labels(store) == ["one@1"], "the same weights elsewhere are the same version"


def test_two_files_do_not_take_each_others_entries_away(
    store: Store, data: Path, folder: Path, tmp_path: Path
) -> None:
    from arena.config import load_settings

    files = {}
    for name in ("a", "b"):
        file = tmp_path / f"{name}.toml"
        file.write_text(
            f'[[models]]\nname = "{name}"\nsource = {json.dumps(str(folder), ensure_ascii=False)}\n'
        )
        files[name] = load_settings(data, file)
        sync(store, files[name], data)
    assert labels(store) == ["a@1", "b@1"]
    (tmp_path / "a.toml").write_text("")
    sync(store, load_settings(data, tmp_path / "a.toml"), data)
    assert "a@1" not in labels(store)
    assert "b@1" in labels(store)


def test_bad_entries_are_refused_before_anything_changes(store: Store, data: Path, folder: Path) -> None:
    good = {"name": "one", "source": str(folder)}
    sync(store, settings(good), data)
    for bad, says in (
        ({"name": "two", "sorce": "x"}, "did you mean 'source'"),
        ({**good, "prompt_format": "alpca"}, "alpca"),
    ):
        with pytest.raises(ConfigError, match=says):
            sync(store, settings({"name": "three", "source": str(folder)}, bad), data)
    assert labels(store) == ["one@1"]
    set_alias(store, "champion", current(store)[0].version.version_key)
    with pytest.raises(ConfigError, match="'champion' is an alias"):
        sync(store, settings({"name": "champion", "source": str(folder)}), data)


def test_the_embedded_models_take_part_where_nothing_else_is_named_or_it_is_asked_for(
    store: Store, data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(data, folder, monkeypatch)
    seeds = ["smollm2-135m@1", "smollm2-135m-nf4@1", "smollm2-135m-int8@1", "smollm2-135m-calls@1"]
    mine = {"name": "mine", "source": str(folder)}

    def open_with(words: list[str], *models: dict[str, Any], **more: Any) -> list[str]:
        open_roster(store, settings(*models, **more), data, words)
        return labels(store)

    assert open_with([]) == seeds
    assert open_with([], mine) == ["mine@1"]
    assert sorted(open_with([], mine, embedded=True)) == sorted(["mine@1", *seeds])
    assert open_with([f"{folder}"]) == ["모형@1"]
    assert open_with([], embedded=False) == []
    assert open_with([]) == seeds
    leave(store, "smollm2-135m-int8")
    enter(store, ModelSpec(name="other", source=str(folder)), data)
    assert open_with([]) == [*seeds[:2], seeds[3], "other@1"]
    assert open_with(["smollm2-135m-int8"]) == ["smollm2-135m-int8@1", "other@1"], "named, it takes part"


def test_what_must_be_prepared_first(store: Store, data: Path, folder: Path) -> None:
    mine = settings({"name": "mine", "source": str(folder)})
    for words, with_settings, serving, needed in (
        (["openai:m@http://x/v1"], settings(), False, False),
        (["smollm2-135m"], settings(), False, True),
        (["smollm2-135m-nf4"], mine, False, True),
        ([], settings(), False, False),
        ([], settings(), True, True),
        ([], mine, True, False),
        ([], settings({"name": "x", "source": "embedded:SmolLM2-135M-Instruct"}), True, True),
    ):
        assert needs_embedded(store, with_settings, data, words, serving=serving) is needed, words


def test_words_are_names_versions_aliases_folders_and_endpoints(
    store: Store, data: Path, folder: Path, tmp_path: Path
) -> None:
    first = enter(store, ModelSpec(name="one", source=str(folder)), data)
    enter(store, ModelSpec(name="one", source=str(folder), system_prompt="짧게."), data)
    set_alias(store, "champion", first.version.version_key)
    adapter = save_adapter(tmp_path / "adapter", str(folder))
    words = ["one", "one@1", "champion", str(adapter), "openai:org/m@http://localhost:1/v1"]
    found = resolve_models(store, settings(embedded=False), data, words)
    assert [each.version.label for each in found] == ["one@2", "one@1", "one@1", "adapter@1", "org-m@1"]
    assert (found[3].spec.source, found[3].spec.parent) == (str(folder), "one@1")
    assert resolve_models(store, settings(embedded=False), data, words) == found, (
        "nothing new the second time"
    )
    assert labels(store) == ["one@2"], "words do not join the roster"
    (again,) = resolve_models(store, settings(embedded=False), data, ["adapter"])
    assert again == found[3]


def test_words_that_mean_nothing_name_what_is_near(store: Store, data: Path, folder: Path) -> None:
    enter(store, ModelSpec(name="garam-7b", source=str(folder)), data)
    store.upsert_model_versions([ModelVersionRecord(model="gpt-4", digest="1", owner="import")])
    for word, says in (
        ("garam-8b", r"did you mean 'garam-7b'"),
        ("garam-7b@4", r"'garam-7b' has versions 1"),
        ("gpt-4", r"known from imported results only"),
    ):
        with pytest.raises(UnknownModel, match=says):
            find(store, word)
        with pytest.raises(UnknownModel, match=says):
            resolve_models(store, settings(), data, [word])
    with pytest.raises(ConfigError, match=r"no folder or file"):
        resolve_models(store, settings(), data, ["./nowhere"])
    other = save_model(folder.parent / "x" / "garam-7b", seed=1)
    with pytest.raises(ConfigError, match=r"on the roster with another source"):
        resolve_models(store, settings(), data, [str(other)])


def test_models_of_a_start_leave_with_the_next(
    store: Store, data: Path, folder: Path, tmp_path: Path
) -> None:
    other = save_model(tmp_path / "other", seed=1)
    enter(store, ModelSpec(name="mine", source=str(folder)), data)
    quiet = settings(embedded=False)
    open_roster(store, quiet, data, [str(other), "mine"])
    assert labels(store) == ["mine@1", "other@1"]
    open_roster(store, quiet, data, ["other"])
    assert labels(store) == ["mine@1", "other@1"], "a name of the start before is still known"
    open_roster(store, quiet, data, [])
    assert labels(store) == ["mine@1"]
    with pytest.raises(ConfigError, match="two models are named 'other'"):
        open_roster(store, quiet, data, [str(other), str(save_model(tmp_path / "z" / "other", seed=2))])


def test_weights_that_change_on_disk_are_another_version(
    store: Store, data: Path, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    enter(store, ModelSpec(name="one", source=str(folder)), data)
    for file in save_model(tmp_path / "retrained", seed=3).glob("*.safetensors"):
        (folder / file.name).write_bytes(file.read_bytes())
    roster = open_roster(store, settings(embedded=False), data, [])
    assert [contestant.version.label for contestant in roster.contestants()] == ["one@2"]
    assert "the weights of one have changed on disk: it is one@2" in caplog.text
