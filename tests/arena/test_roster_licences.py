"""Commercial use: what is known of licences, and what a model inherits. What is not known is never allowed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena.roster.licences import Lineage, commercial_names, commercial_uses, load_licences
from results.records import ModelOwner, ModelVersionRecord
from results.store import Store, open_store
from results.store.model_facts import ModelFacts, record_facts
from results.store.roster import enter


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "data") as store:
        yield store


def put(store: Store, name: str, owner: ModelOwner = "user", **spec: Any) -> int:
    record = ModelVersionRecord(model=name, digest=repr(spec), spec={"source": name, **spec}, owner=owner)
    (ref,) = store.upsert_model_versions([record])
    return ref.version_key


def status(store: Store, key: int) -> str:
    return Lineage(store).commercial_use(key).status


@pytest.mark.parametrize(
    ("name", "commercial"),
    [
        ("Apache-2.0", "yes"), ("mit", "yes"), ("CC BY 4.0", "conditions"), ("cc-by-nc-4.0", "no"),
        ("cc-by-nc-sa-4.0", "no"), ("gpl-3.0", "conditions"), ("openrail", "conditions"),
        ("llama2", "conditions"), ("llama3", "conditions"), ("llama3.1", "conditions"),
        ("llama3.2", "conditions"), ("llama3.3", "conditions"), ("llama4", "conditions"),
        ("gemma", "conditions"), ("qwen", "conditions"), ("qwen-research", "no"),
        ("mistral-ai-research-license", "no"), ("exaone", "no"),
        ("hyperclovax-seed", "conditions"), ("solar", "conditions"), ("other", None), ("", None),
    ],
)  # fmt: skip
def test_licences_by_the_names_that_cards_use(name: str, commercial: str | None) -> None:
    found = load_licences().find(name)
    assert (found.commercial if found else None) == commercial


def test_every_licence_is_whole() -> None:
    known = load_licences()
    names = [name.lower() for each in known.licences for name in {each.id, *each.aliases}]
    assert len(names) == len(set(names)), "no two licences share a name"
    for each in known.licences:
        assert (each.commercial == "conditions") == (set(each.conditions) == {"en", "ko"})
        assert each.source.startswith("https://") or each.id == "wtfpl"


def test_licences_of_published_models() -> None:
    known = load_licences()
    expected = {
        "Qwen/Qwen2.5-7B-Instruct": "apache-2.0", "qwen/qwen2.5-3b": "qwen-research",
        "meta-llama/Llama-3.1-8B": "llama3.1", "meta-llama/Meta-Llama-3-8B": "llama3",
        "LGAI-EXAONE/EXAONE-3.5-2.4B-Instruct": "exaone", "google/gemma-3-1b-it": "gemma", "org/unknown": None,
    }  # fmt: skip
    found = {name: known.of_model(name) for name in expected}
    assert {name: each.id if each else None for name, each in found.items()} == expected


def test_a_model_inherits_from_its_parents_and_its_data(store: Store) -> None:
    free = put(store, "free", licence="apache-2.0")
    research = put(store, "research", licence="cc-by-nc-4.0")
    assert status(store, put(store, "child", licence="mit", parent="free@1")) == "yes"
    assert status(store, put(store, "by-name", licence="mit", parent="free")) == "yes"
    of_research = put(store, "grandchild", licence="mit", parent="research@1")
    assert status(store, put(store, "great", licence="mit", parent="grandchild")) == "no"
    data = put(store, "on-data", licence="mit", data_licences=["cc-by-4.0", "cc-by-nc-4.0"], parent="free")
    use = Lineage(store).commercial_use(data)
    assert use.status == "no"
    assert [reason.status for reason in use.reasons] == ["yes", "conditions", "no", "yes"]
    assert "data of on-data@1: Creative Commons Attribution-NonCommercial" in use.reasons[2].text()
    assert "상업적 이용을 금지" in use.reasons[2].text("ko")
    assert commercial_uses(store, [free, research, of_research])[of_research].allowed is False


def test_what_is_not_known_is_not_allowed(store: Store) -> None:
    assert status(store, put(store, "silent")) == "unknown"
    assert status(store, put(store, "house", licence="our own")) == "unknown"
    assert status(store, put(store, "orphan", licence="mit", parent="nobody/knows")) == "unknown"
    assert (
        status(store, put(store, "published", licence="mit", parent="meta-llama/Llama-3.2-1B"))
        == "conditions"
    )
    assert status(store, put(store, "adapter", parent="published", adapter="x")) == "unknown"
    put(store, "imported-parent", owner="import")
    assert status(store, put(store, "of-import", licence="mit", parent="imported-parent")) == "unknown"
    assert status(store, put(store, "data", licence="mit", data_licences=["who knows"])) == "unknown"


def test_what_was_trained_here_is_bound_by_its_parent_and_data_alone(store: Store) -> None:
    put(store, "free", licence="mit")
    put(store, "silent")
    assert status(store, put(store, "ours", "trainer", parent="free@1")) == "yes"
    assert status(store, put(store, "of-silent", "trainer", parent="silent@1")) == "unknown"
    assert status(store, put(store, "from-nothing", "trainer")) == "unknown"
    assert status(store, put(store, "nc", "trainer", parent="free", data_licences=["cc-by-nc-4.0"])) == "no"


def test_facts_speak_where_the_entry_says_nothing(store: Store) -> None:
    key = put(store, "one")
    record_facts(store, key, ModelFacts(licence="apache-2.0", parent="google/gemma-3-1b-pt"))
    use = Lineage(store).commercial_use(key)
    assert (use.status, [reason.licence for reason in use.reasons]) == (
        "conditions", ["Apache License 2.0", "Gemma Terms of Use"],
    )  # fmt: skip


def test_circles_end(store: Store) -> None:
    put(store, "a", licence="mit", parent="b")
    key = put(store, "b", licence="cc-by-nc-4.0", parent="a")
    assert status(store, key) == "no"
    assert status(store, put(store, "self", licence="mit", parent="self")) == "yes"


def test_a_source_means_its_plain_weights(store: Store) -> None:
    for name, more in (("nf4", {"quantisation": "nf4"}), ("plain", {}), ("told", {"system_prompt": "x"})):
        put(store, name, **{"licence": "mit", **more, "source": "org/base"})
    found = Lineage(store).find("org/base")
    assert found is not None
    assert found.model == "plain"


def test_names_that_a_leaderboard_may_show(store: Store) -> None:
    put(store, "free", licence="mit")
    put(store, "changed", licence="mit")
    put(store, "changed", licence="cc-by-nc-4.0")
    enter(store, [ModelVersionRecord(model="silent", digest="1", spec={"source": "x"})])
    assert commercial_names(store) == {"free@1", "free", "changed@1"}


LICENCES = st.sampled_from(["mit", "cc-by-4.0", "cc-by-nc-4.0", "our own", None])
ORDER = {"mit": 0, "cc-by-4.0": 1, "our own": 2, None: 2, "cc-by-nc-4.0": 3}


@given(st.lists(LICENCES, min_size=1, max_size=6))
def test_a_chain_allows_what_its_strictest_link_allows(
    tmp_path_factory: pytest.TempPathFactory, chain: list[str | None]
) -> None:
    class Chain(Lineage):
        """The lineage of a store that holds `chain`, each made from the one before."""

        def __init__(self) -> None:
            from results.records import ModelVersion, now

            self._facts, self._aliases = {}, {}
            self._versions = {
                n: ModelVersion(
                    version_key=n, model=f"m{n}", number=1, digest="x", owner="user", created_at=now(),
                    spec={"source": "s", "licence": licence, **({"parent": f"m{n - 1}"} if n else {})},
                )
                for n, licence in enumerate(chain)
            }  # fmt: skip
            self._current = {f"m{n}": n for n in self._versions}

    use = Chain().commercial_use(len(chain) - 1)
    worst = max(ORDER[licence] for licence in chain)
    assert use.status == ("yes", "conditions", "unknown", "no")[worst]
    assert use.allowed == (worst < 2)
