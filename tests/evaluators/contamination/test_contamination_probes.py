"""Probes tell a real model that knows test items from one that does not."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from arena.engines.base import Engine
from arena.engines.pool import EnginePool
from arena.engines.spec import ModelSpec
from arena.roster import enter
from evaluators.contamination.apart import exposures
from evaluators.contamination.probes import (
    completion_probe,
    completion_summary,
    halves,
    order_probe,
)
from evaluators.contamination.probing import probe_suite
from evaluators.suites.catalogue import find_suite
from evaluators.suites.definition import Suite
from results.store import open_store
from results.store.contamination import model_probes

KNOWN = {f"item-{number}" for number in range(4)}


def test_a_text_is_parted_before_a_word() -> None:
    text = "In the cellar of the old museum stands a clock that runs backwards whenever it snows"
    first, second = halves(text) or ("", "")
    assert first + " " + second == text
    assert abs(len(first) - len(second)) < 8
    assert halves("What is the capital of France?") is None, "half of it could be guessed"
    korean = halves("소라는 다락방에서 낡은 라디오를 찾아 할머니께 드렸고 할머니는 오래 웃으셨다.")
    assert korean is not None
    assert korean[1].startswith("할머니께")
    assert halves("한단어") is None


async def test_items_known_by_heart_are_continued_word_for_word(knowing_engine: Engine, quiz: Suite) -> None:
    found = await completion_probe(knowing_engine, quiz)
    assert len(found) == 8
    assert {each.passage.item for each in found if each.flagged} == KNOWN
    by_item = {each.passage.item: each for each in found}
    assert all(by_item[item].share == 1 and by_item[item].control < 0.2 for item in KNOWN)
    assert by_item["item-2"].rouge_l > 0.7
    assert all(each.share < 0.2 for item, each in by_item.items() if item not in KNOWN)
    difference = completion_summary(found)
    assert difference is not None
    assert difference.difference > 0.4


async def test_the_order_of_known_options_is_preferred(knowing_engine: Engine, quiz: Suite) -> None:
    found = await order_probe(knowing_engine, quiz)
    assert (len(found.items), found.left_out) == (8, 0)
    known = [each for each in found.items if each.item in KNOWN]
    assert all(each.wins and each.own > each.others + 5 for each in known)
    assert found.p is not None
    only_known = await order_probe(knowing_engine, Suite(quiz.definition, quiz.items[:4], quiz.folder))
    assert only_known.p == pytest.approx(1 / 16)


async def test_options_with_an_order_of_their_own_prove_nothing(knowing_engine: Engine, quiz: Suite) -> None:
    item = quiz.items[0]
    options = [
        ["3", "5", "8"],
        ["9 kg", "4 kg", "1 kg"],
        ["a", "b", "all of the above"],
        ["가", "나", "위의 모두"],
    ]
    items = tuple(
        item.model_copy(update={"id": f"o{n}", "choices": each, "target": each[0]})
        for n, each in enumerate(options)
    )
    found = await order_probe(knowing_engine, Suite(quiz.definition, items, quiz.folder))
    assert (found.items, found.left_out, found.p) == ((), 4, None)


def test_what_probes_find_is_kept_and_counts_as_contaminated(
    knowing_model: Path, quiz: Suite, tmp_path: Path
) -> None:
    async def probe(pool: EnginePool) -> None:
        try:
            await probe_suite(store, contestant, pool.get(contestant.spec), quiz)
        finally:
            await pool.close()

    with open_store(tmp_path) as store:
        contestant = enter(store, ModelSpec(name="knowing", source=str(knowing_model)), tmp_path)
        asyncio.run(probe(EnginePool(tmp_path, dtype="float32")))
        key = contestant.version.version_key
        kept = model_probes(store, key, "quiz")
        assert {each.item for each in kept if each.flagged} == KNOWN
        assert len([each for each in kept if each.probe == "order"]) == 8
        assert exposures(store, key) == {
            "quiz": {each.item_hash: {"continues it word for word"} for each in kept if each.flagged}
        }


@pytest.mark.model
async def test_smollm2_does_not_know_the_starter_items(
    engine_pool: EnginePool, smollm2_spec: ModelSpec
) -> None:
    found = await completion_probe(engine_pool.get(smollm2_spec), find_suite("arithmetic"), items=2)
    assert len(found) == 2
    assert not any(each.flagged for each in found)
    assert all(each.text for each in found)
