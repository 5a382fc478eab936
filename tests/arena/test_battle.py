"""Battles on a real store with scripted engines: what is timed or fails here must do so on purpose."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

from arena.battle import BattleError, BattleService, BattleView
from arena.config import BattleSettings
from arena.engines.base import (
    Chunk,
    EngineUnavailable,
    Finished,
    Generation,
    GenerationRequest,
    Prompted,
    TextDelta,
)
from arena.engines.spec import ModelSpec
from arena.matchmaking import Uniform
from arena.roster import Roster, enrol
from results import ids
from results.store import Store, open_store

VOTER = ids.new_id()


class ScriptedEngine:
    """Says its words one by one; `slow` waits before each, `fails` raises after the first, `hangs` never ends."""

    def __init__(
        self, words: Sequence[str], slow: float = 0.0, fails: bool = False, hangs: bool = False
    ) -> None:
        self.words, self.slow, self.fails, self.hangs = words, slow, fails, hangs
        self.requests: list[GenerationRequest] = []
        self.closed = 0

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        self.requests.append(request)
        try:
            yield Prompted(
                rendered_prompt="<prompt>",
                rendered_by="engine",
                prompt_log={"dropped_rounds": [{"number": 1, "begins": "한참 전 이야기"}]},
            )
            for number, word in enumerate(self.words):
                await asyncio.sleep(self.slow)
                if self.fails and number:
                    raise EngineUnavailable("scripted-model-at-http://secret.example went away")
                yield TextDelta(text=word)
            if self.hangs:
                await asyncio.Event().wait()
            yield Finished(
                generation=Generation(
                    text="".join(self.words),
                    finish_reason="stop",
                    duration=0.1,
                    rendered_prompt="<prompt>",
                    rendered_by="engine",
                    prompt_log={"dropped_rounds": [{"number": 1, "begins": "한참 전 이야기"}]},
                )
            )
        finally:
            self.closed += 1

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        raise AssertionError("battles stream")

    async def close(self) -> None: ...


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as opened:
        yield opened


def service(store: Store, engines: dict[str, ScriptedEngine], **settings: object) -> BattleService:
    specs = [ModelSpec(name=name, source=name) for name in engines]
    roster = enrol(store, specs, lambda spec: f"weights of {spec.name}")
    return BattleService(
        store,
        roster,
        lambda spec: engines[spec.name],
        Uniform(),
        BattleSettings.model_validate(settings),
        random.Random(5),
    )


async def until_stable(battles: BattleService, view: BattleView) -> list[BattleView]:
    return [seen async for seen in battles.follow(VOTER, view.id)]


async def test_a_battle_from_prompt_to_names(store: Store) -> None:
    engines = {"Ada": ScriptedEngine(["안녕", "하세요"]), "Bob": ScriptedEngine(["Hello"])}
    battles = service(store, engines)
    view = await battles.start(VOTER, "인사해 주세요")
    assert view.phase == "answering"
    seen = await until_stable(battles, view)
    assert seen[-1].phase == "voting"
    assert {seen[-1].turns[0].a.text, seen[-1].turns[0].b.text} == {"안녕하세요", "Hello"}

    voted = await battles.vote(VOTER, view.id, "a")
    assert (voted.phase, voted.names) == ("voted", None)
    revealed = await battles.reveal(VOTER, view.id)
    assert revealed.names is not None
    assert set(revealed.names) == {"Ada", "Bob"}

    row = store.query(
        "SELECT verdict, excluded, selection_probability, language FROM comparisons"
    ).to_pylist()
    assert row == [{"verdict": "a", "excluded": None, "selection_probability": 0.5, "language": "ko"}]
    prompts = store.query("SELECT DISTINCT rendered_prompt FROM generations").to_pylist()
    assert prompts == [{"rendered_prompt": "<prompt>"}]
    await battles.close()


async def test_no_view_before_the_reveal_tells_the_models_apart(store: Store) -> None:
    engines = {"Ada-7B": ScriptedEngine(["x"], fails=True), "Bob-9B": ScriptedEngine(["y", "z"], fails=True)}
    battles = service(store, engines)
    view = await battles.start(VOTER, "prompt")
    seen = await until_stable(battles, view)
    seen.append(await battles.vote(VOTER, view.id, "tie"))
    for each in seen:
        text = json.dumps(asdict(each), default=str)
        assert "Ada" not in text
        assert "Bob" not in text
        assert "secret.example" not in text
        assert "한참 전" not in json.dumps(asdict(each), default=str, ensure_ascii=False)
    revealed = await battles.reveal(VOTER, view.id)
    assert revealed.turns[0].a.dropped_rounds == ("한참 전 이야기",)
    await battles.close()


async def test_a_slow_side_does_not_hold_back_the_other(store: Store) -> None:
    engines = {"fast": ScriptedEngine(["f"]), "slow": ScriptedEngine(["s"] * 4, slow=0.25)}
    battles = service(store, engines)
    view = await battles.start(VOTER, "prompt")
    seen = await until_stable(battles, view)
    halfway = [v for v in seen if {v.turns[0].a.status, v.turns[0].b.status} >= {"finished"}]
    assert halfway[0].phase == "answering"
    with pytest.raises(BattleError, match="answering"):
        await _vote_while_answering(battles)
    await battles.close()


async def _vote_while_answering(battles: BattleService) -> None:
    voter = ids.new_id()
    view = await battles.start(voter, "another")
    await battles.vote(voter, view.id, "a")


async def test_a_failed_side_ends_the_battle_and_keeps_it_out_of_ratings(store: Store) -> None:
    engines = {"good": ScriptedEngine(["ok"]), "bad": ScriptedEngine(["partly", "never"], fails=True)}
    battles = service(store, engines)
    view = (await until_stable(battles, await battles.start(VOTER, "prompt")))[-1]
    assert {view.turns[0].a.status, view.turns[0].b.status} == {"finished", "failed"}
    assert not view.may_continue
    voted = await battles.vote(VOTER, view.id, "a")
    assert not voted.counted
    assert store.query("SELECT excluded FROM comparisons").to_pylist() == [{"excluded": "failed_side"}]
    assert store.query("SELECT coalesce(sum(n), 0) AS n FROM pair_counts").to_pylist()[0]["n"] == 0
    errors = store.query("SELECT error_kind FROM generations WHERE error_kind IS NOT NULL").to_pylist()
    assert errors == [{"error_kind": "unavailable"}]
    await battles.close()


async def test_a_fault_in_an_engine_ends_its_side_and_not_the_battle(store: Store) -> None:
    class Faulty(ScriptedEngine):
        async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
            raise ZeroDivisionError("scripted fault")
            yield  # makes this an iterator

    battles = service(store, {"good": ScriptedEngine(["ok"]), "faulty": Faulty([])})
    view = (await until_stable(battles, await battles.start(VOTER, "prompt")))[-1]
    assert {view.turns[0].a.status, view.turns[0].b.status} == {"finished", "failed"}
    errors = store.query("SELECT error FROM generations WHERE error IS NOT NULL").to_pylist()
    assert errors == [{"error": "ZeroDivisionError: scripted fault"}]
    await battles.close()


async def test_stopping_keeps_what_was_written_and_frees_the_engine(store: Store) -> None:
    engines = {"one": ScriptedEngine(["said "], hangs=True), "two": ScriptedEngine(["done"])}
    battles = service(store, engines)
    view = await battles.start(VOTER, "prompt")
    await asyncio.sleep(0.2)
    await battles.stop(VOTER, view.id)
    await battles.stop(VOTER, view.id)
    view = (await until_stable(battles, view))[-1]
    assert {view.turns[0].a.status, view.turns[0].b.status} == {"finished", "stopped"}
    assert {view.turns[0].a.text, view.turns[0].b.text} == {"said ", "done"}
    assert engines["one"].closed == 1
    reasons = store.query("SELECT finish_reason FROM generations ORDER BY 1").to_pylist()
    assert reasons == [{"finish_reason": "cancelled"}, {"finish_reason": "stop"}]
    prompts = store.query("SELECT rendered_prompt FROM generations").to_pylist()
    assert prompts == [{"rendered_prompt": "<prompt>"}] * 2
    await battles.close()


async def test_a_second_prompt_continues_both_sides_with_one_verdict(store: Store) -> None:
    engines = {"one": ScriptedEngine(["1"]), "two": ScriptedEngine(["2"])}
    battles = service(store, engines, max_turns=2)
    view = (await until_stable(battles, await battles.start(VOTER, "first")))[-1]
    view = (await until_stable(battles, await battles.go_on(VOTER, view.id, "둘째")))[-1]
    assert [turn.prompt for turn in view.turns] == ["first", "둘째"]
    for name, engine in engines.items():
        conversation = engine.requests[1].conversation
        assert conversation is not None
        said = [message.content for message in conversation.messages]
        assert said == ["first", {"one": "1", "two": "2"}[name], "둘째"]
    assert not view.may_continue
    with pytest.raises(BattleError, match="closed"):
        await battles.go_on(VOTER, view.id, "third")
    await battles.vote(VOTER, view.id, "b")
    assert store.query("SELECT count(*) AS n FROM votes").to_pylist() == [{"n": 1}]
    assert store.query("SELECT count(*) AS n FROM generations").to_pylist() == [{"n": 4}]
    await battles.close()


async def test_undo_then_another_verdict_counts_once(store: Store) -> None:
    battles = service(store, {"one": ScriptedEngine(["1"]), "two": ScriptedEngine(["2"])})
    view = (await until_stable(battles, await battles.start(VOTER, "prompt")))[-1]
    await battles.vote(VOTER, view.id, "a")
    with pytest.raises(BattleError, match="voted"):
        await battles.vote(VOTER, view.id, "b")
    undone = await battles.undo(VOTER, view.id)
    assert undone.phase == "voting"
    assert store.query("SELECT coalesce(sum(n), 0) AS n FROM pair_counts").to_pylist()[0]["n"] == 0
    await battles.vote(VOTER, view.id, "both_bad")
    counted = store.query("SELECT verdict, n FROM pair_counts WHERE n > 0").to_pylist()
    assert counted == [{"verdict": "both_bad", "n": 1}]
    await battles.reveal(VOTER, view.id)
    with pytest.raises(BattleError, match="too_late"):
        await battles.undo(VOTER, view.id)
    await battles.close()


async def test_names_come_by_themselves_when_the_undo_has_passed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import timedelta

    monkeypatch.setattr("arena.battle._service.CHANGE_WINDOW", timedelta(seconds=0.3))
    battles = service(store, {"one": ScriptedEngine(["1"]), "two": ScriptedEngine(["2"])})
    view = (await until_stable(battles, await battles.start(VOTER, "prompt")))[-1]
    seen = await until_stable(battles, await battles.vote(VOTER, view.id, "tie"))
    assert seen[0].phase == "voted"
    assert seen[-1].names is not None
    await battles.close()


async def test_bad_requests(store: Store) -> None:
    battles = service(
        store,
        {"one": ScriptedEngine(["1"], hangs=True), "two": ScriptedEngine(["2"])},
        max_prompt_chars=10,
        per_voter_per_hour=2,
    )
    for prompt, code in [("  \n", "empty_prompt"), ("x" * 11, "long_prompt")]:
        with pytest.raises(BattleError, match=code):
            await battles.start(VOTER, prompt)
    view = await battles.start(VOTER, "one")
    with pytest.raises(BattleError, match="busy"):
        await battles.start(VOTER, "two")
    stranger = ids.new_id()
    for call in (battles.vote(stranger, view.id, "a"), battles.undo(stranger, view.id)):
        with pytest.raises(BattleError, match="unknown_battle"):
            await call
    with pytest.raises(BattleError, match="not_voted"):
        await battles.reveal(VOTER, view.id)
    await battles.stop(VOTER, view.id)
    await until_stable(battles, view)
    await battles.start(VOTER, "two")
    battles.leave(VOTER)
    with pytest.raises(BattleError, match="too_many"):
        await battles.start(VOTER, "three")
    await battles.close()


async def test_one_usable_model_makes_no_battle(store: Store) -> None:
    battles = service(store, {"alone": ScriptedEngine(["1"])})
    with pytest.raises(BattleError, match="no_pair"):
        await battles.start(VOTER, "prompt")


async def test_a_restarted_arena_finds_the_voters_battle_again(store: Store) -> None:
    engines = {"one": ScriptedEngine(["1"]), "two": ScriptedEngine(["2"])}
    before = service(store, engines)
    view = (await until_stable(before, await before.start(VOTER, "prompt")))[-1]
    after = service(store, engines)
    restored, unsent = await after.restore(VOTER)
    assert unsent is None
    assert restored is not None
    assert (restored.id, restored.phase, restored.turns) == (view.id, "voting", view.turns)
    voted = await after.vote(VOTER, view.id, "a")
    assert voted.counted
    await after.reveal(VOTER, view.id)
    third = service(store, engines)
    assert await third.restore(VOTER) == (None, None)


async def test_a_battle_cut_off_while_answering_gives_its_prompt_back(store: Store) -> None:
    engines = {"one": ScriptedEngine(["1"], hangs=True), "two": ScriptedEngine(["2"])}
    before = service(store, engines)
    await before.start(VOTER, "끝나지 않은 질문")
    await asyncio.sleep(0.3)
    after = service(store, engines)
    assert await after.restore(VOTER) == (None, "끝나지 않은 질문")
    states = store.query("SELECT state FROM battles").to_pylist()
    assert states == [{"state": "abandoned"}]
    assert await after.restore(VOTER) == (None, None)
    await before.close()


def test_the_roster_of_a_second_start_has_the_same_versions(store: Store) -> None:
    def versions(specs: list[ModelSpec], weights: str = "w") -> list[str]:
        roster: Roster = enrol(store, specs, lambda _: weights)
        return [contestant.version.label for contestant in roster.contestants()]

    spec = ModelSpec(name="model", source="folder")
    assert versions([spec]) == ["model@1"]
    assert versions([spec]) == ["model@1"]
    assert versions([spec.model_copy(update={"licence": "MIT"})]) == ["model@1"]
    assert versions([spec.model_copy(update={"system_prompt": "한국어로 답하세요."})]) == ["model@2"]
    assert versions([spec], weights="others") == ["model@3"]
    assert versions([spec]) == ["model@1"]


def test_the_digest_ignores_what_does_not_shape_answers_and_defaults() -> None:
    spec = ModelSpec(name="model", source="folder")
    assert spec.digest("w") == spec.model_copy(update={"source": "moved", "tags": ("x",)}).digest("w")
    for change in ({"window": {"last_rounds": 2}}, {"prompt_format": "alpaca"}, {"quantisation": "nf4"}):
        assert spec.model_copy(update=change).digest("w") != spec.digest("w")
