"""Models as people name them, made into entries: adapters with their bases, variants, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arena.config import ConfigError
from arena.engines.spec import Example, ModelSpec
from arena.roster import UnknownModel, current, enter, find
from arena.roster.adding import add, propose, read_examples
from arena.roster.cards import UnusableSource
from arena.roster.overview import details, overview
from results.store import Store, open_store
from results.store.aliases import rollback_alias, set_alias
from results.store.model_facts import model_facts
from tests.arena.model_folders import save_adapter, save_gguf, save_model


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "data") as store:
        yield store


def join(store: Store, source: Path | str, base: str | None = None, **fields: Any) -> str:
    sampling = fields.pop("sampling", None)
    proposal = propose(store, store.data_dir, str(source), fields, sampling=sampling, base=base)
    return add(store, store.data_dir, proposal).version.label


def test_a_folder_joins_under_its_name_with_an_absolute_path(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(tmp_path / "모형", license="mit")
    monkeypatch.chdir(tmp_path)
    assert join(store, "./모형", tags=("x",), licence=None) == "모형@1"
    (contestant,) = current(store)
    assert (contestant.spec.source, contestant.spec.tags) == (str(tmp_path / "모형"), ("x",))
    assert model_facts(store)[contestant.version.version_key].parameters == 48
    monkeypatch.chdir("/")
    assert join(store, "모형", system_prompt="짧게.") == "모형@2", "a name of the roster is edited"
    assert join(store, "모형", name="다른", quantisation="nf4") == "다른@1"
    assert find(store, "다른").spec.system_prompt == "짧게.", "a variant keeps what is not said"


def test_a_gguf_file_is_named_without_its_ending(store: Store, tmp_path: Path) -> None:
    assert join(store, save_gguf(tmp_path / "모형-Q8_0.gguf")) == "모형-Q8_0@1"


@pytest.mark.parametrize("how", ["by its source", "by --base", "by --adapter"])
def test_an_adapter_joins_its_base_on_the_roster(store: Store, tmp_path: Path, how: str) -> None:
    base = save_model(tmp_path / "base", license="mit")
    enter(store, ModelSpec(name="base-nf4", source=str(base), quantisation="nf4"), store.data_dir)
    enter(store, ModelSpec(name="plain", source=str(base), context_length=900), store.data_dir)
    named = str(base) if how == "by its source" else "org/unheard-of"
    folder = save_adapter(tmp_path / "tuned", named)
    if how == "by --adapter":
        label = join(store, "plain", adapter=str(folder))
    else:
        label = join(store, folder, base="plain" if how == "by --base" else None)
    spec = find(store, label).spec
    assert label == "tuned@1"
    assert (spec.source, spec.adapter, spec.parent) == (str(base), str(folder), "plain@1")
    assert (spec.quantisation, spec.context_length) == ("none", 900)


def test_a_base_that_is_not_on_the_roster_becomes_a_version_alone(store: Store, tmp_path: Path) -> None:
    base = save_model(tmp_path / "base", license="cc-by-nc-4.0")
    folder = save_adapter(tmp_path / "tuned", str(base), license="mit")
    proposal = propose(store, store.data_dir, str(folder), {})
    assert store.model_versions() == [], "nothing is stored before it is wanted"
    assert add(store, store.data_dir, proposal).spec.parent == "base@1"
    (shown,) = overview(store)
    assert (shown.reference, shown.commercial.status) == ("tuned@1", "no")
    assert [each.reference for each in details(store, "tuned").lineage] == ["tuned@1", "base@1"]
    assert details(store, "base").children == ("tuned@1",)


def test_what_cannot_join_is_told_and_leaves_nothing(store: Store, tmp_path: Path) -> None:
    data = store.data_dir
    model = save_model(tmp_path / "model")
    tuned = save_adapter(tmp_path / "tuned", "/gone/base")
    stacked = save_adapter(tmp_path / "stacked", None)
    cut = save_model(tmp_path / "cut")
    (cut / "model-00001-of-00002.safetensors").unlink()
    enter(store, ModelSpec(name="remote", kind="openai", source="m", base_url="http://x/v1"), data)
    enter(store, ModelSpec(name="taken", source=str(model)), data)
    before = store.model_versions()
    empty = tmp_path / "empty"
    empty.mkdir()
    for source, base, fields, error, says in (
        (tuned, None, {}, UnusableSource, r"base '/gone/base' is neither on the roster nor a folder"),
        (stacked, None, {}, UnusableSource, r"names no base"),
        (stacked, "remote", {}, UnusableSource, r"'remote@1', which is an endpoint"),
        (cut, None, {}, UnusableSource, r"1 of 2 shards are missing"),
        (empty, None, {}, UnusableSource, r"no weights"),
        (model, None, {"name": "taken@2"}, ConfigError, r"name: String should match"),
        (save_model(tmp_path / "again"), None, {"name": "taken"}, ConfigError, r"another source"),
        (model, None, {"name": "x", "prompt_format": "alpca"}, ConfigError, r"alpca"),
        (model, None, {"name": "x", "quantisation": "int3"}, ConfigError, r"quantisation"),
        (model, "taken", {}, ConfigError, r"--base belongs to an adapter"),
        ("takn", None, {}, UnknownModel, r"did you mean 'taken'"),
        (tmp_path / "nowhere", None, {}, UnusableSource, r"no folder or file"),
        ("openai:m@localhost", None, {}, ConfigError, r"openai:MODEL@BASE_URL"),
    ):
        with pytest.raises(error, match=says):
            join(store, source, base, **fields)
    assert store.model_versions() == before


def test_an_adapter_of_an_adapter_must_be_merged_first(store: Store, tmp_path: Path) -> None:
    base = save_model(tmp_path / "base")
    join(store, save_adapter(tmp_path / "first", str(base)))
    with pytest.raises(UnusableSource, match=r"an adapter itself: merge that first"):
        join(store, save_adapter(tmp_path / "second", "first"))


def test_the_name_of_other_weights_is_not_taken_over(store: Store, tmp_path: Path) -> None:
    join(store, save_model(tmp_path / "a" / "checkpoint-100"))
    other = save_model(tmp_path / "b" / "checkpoint-100", seed=1)
    with pytest.raises(ConfigError, match=r"give this one a name of its own with --name"):
        join(store, other)
    assert join(store, other, name="second") == "second@1"


def test_examples_are_read_from_three_formats(tmp_path: Path) -> None:
    rows = [{"user": "1+1?", "assistant": "2"}, {"user": "수도는?", "assistant": "서울"}]
    expected = tuple(Example(**row) for row in rows)
    (tmp_path / "e.json").write_text(json.dumps(rows))
    (tmp_path / "e.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "e.yaml").write_text(
        '- {user: "1+1?", assistant: \'2\'}\n- {user: "수도는?", assistant: 서울}\n'
    )
    assert {read_examples(tmp_path / f"e.{kind}") for kind in ("json", "jsonl", "yaml")} == {expected}
    for text, says in (("[]", "must hold a list"), ('[{"user": "x"}]', "example 1"), ("{", "cannot be read")):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ConfigError, match=says):
            read_examples(tmp_path / "bad.json")


def test_details_tell_what_changed_and_who_was_called_what(store: Store, tmp_path: Path) -> None:
    folder = save_model(tmp_path / "one", license="mit")
    keys = [find(store, join(store, folder)).version.version_key]
    join(store, "one", sampling={"temperature": 0.5}, system_prompt="짧게.")
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 1024}))
    join(store, "one")
    keys.append(find(store, "one").version.version_key)
    for key in keys:
        set_alias(store, "champion", key)
    rollback_alias(store, "champion")
    found = details(store, "champion")
    assert (found.overview.reference, found.overview.aliases) == ("one@1", ("champion",))
    assert [version.on_roster for version in found.versions] == [False, False, True]
    second = {field: (before, after) for field, before, after in found.versions[1].changes}
    assert second == {"system_prompt": (None, "짧게."), "sampling.temperature": (None, 0.5)}
    assert [field for field, _, _ in found.versions[2].changes] == ["weights"]
    assert [(c.version.label if c.version else None, c.undone) for c in found.alias_changes] == [
        ("one@1", False), ("one@3", True),
    ]  # fmt: skip
