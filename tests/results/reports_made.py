"""A store that has something of everything a report tells: people and a judge, categories, languages, weeks of
votes, texts (Korean ones and hostile ones), the arena's own battles with speed, a failure and a withdrawn vote."""

from __future__ import annotations

import json
import math
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid5

from results.ids import new_id
from results.interchange import import_votes
from results.records import (
    BattleRecord,
    GenerationRecord,
    ModelVersionRecord,
    TurnRecord,
    VoteRecord,
    VoterRecord,
    now,
)
from results.store import Store
from results.store.model_facts import ModelFacts, record_facts
from results.store.suites import SampleRecord, SuiteRunRecord, begin_run, record_samples, sample_id

HOSTILE = "<img src=x onerror=alert(1)>"
FORMULA = "=cmd|' /C calc'!A0"
STRENGTH = {"한빛-7B": 0.9, "Orca Mini": 0.55, "누리-3B": 0.0, FORMULA: -0.5, HOSTILE: -0.95}
UNDEFEATED = "무패-1B"
CATEGORIES = {"글쓰기": "ko", "coding": "en", "": "ko"}
START = datetime(2026, 8, 3, 9, tzinfo=UTC)
_SPACE = UUID("00000000-0000-0000-0000-00000000babe")


def fill(store: Store, folder: Path, votes: int = 400) -> None:
    """Put everything in; `folder` takes the files that are imported."""
    rng = random.Random(7)
    rows = [_row(rng, place, votes) for place in range(votes)]
    for place in range(1, votes, 4):
        # A second person votes on the battle before.
        verdict = rng.choice([rows[place - 1]["winner"], rows[place]["winner"]])
        rows[place] = {**rows[place - 1], "winner": verdict, "voter": f"second-{place % 5}"}
    judged = [_judged(rng, row) for row in rows[: votes // 2 : 2]]
    unbeaten = [
        {"model_a": UNDEFEATED, "model_b": "누리-3B", "winner": "model_a", "voter": "하늘", "category": "글쓰기",
         "timestamp": (START + timedelta(days=k)).isoformat(), "language": "ko"} for k in range(6)
    ]  # fmt: skip
    _import(store, folder / "people.jsonl", rows + unbeaten)
    _import(store, folder / "judge.jsonl", judged, source="judge", judge="심판-1")
    _battles_of_the_arena(store)
    _facts_and_suites(store)


def _facts_and_suites(store: Store) -> None:
    """Sizes of all models but one, and a suite that all of them ran; its last item has a wrong answer key."""
    rng = random.Random(11)
    versions = {version.model: version.version_key for version in reversed(store.model_versions())}
    for name, size in (("한빛-7B", 4_100_000_000), ("Orca Mini", 1_900_000_000), (FORMULA, 93_000_000)):
        record_facts(
            store, versions[name], ModelFacts(bytes_on_disk=size, parameters=2 * size, licence="apache-2.0")
        )
    run = begin_run(store, SuiteRunRecord(id=new_id(), plan={}, plan_hash="made"))
    samples = []
    for name, strength in STRENGTH.items():
        for item in range(24):
            solved = rng.random() < 1 / (1 + math.exp(-2 * strength - (item % 8 - 4) / 2))
            if item == 23:
                solved = strength < 0
            samples.append(
                SampleRecord(
                    id=sample_id(run.id, versions[name], "산수", f"문항-{item}", 0), run_id=run.id,
                    version_key=versions[name], suite="산수", suite_version="1", item=f"문항-{item}",
                    item_hash=f"h{item}", language="ko", score=float(solved), group=f"g{item // 2}",
                )
            )  # fmt: skip
    record_samples(store, samples)


def _row(rng: random.Random, place: int, votes: int) -> dict[str, object]:
    a, b = rng.sample(list(STRENGTH), 2)
    category, language = list(CATEGORIES.items())[rng.choices(range(3), [5, 4, 1])[0]]
    lengths = rng.randint(1, 6), rng.randint(1, 6)
    gap = STRENGTH[a] - STRENGTH[b] + 0.15 * (lengths[0] - lengths[1])
    tie = rng.random() < 0.2
    winner = "tie" if tie else "model_a" if rng.random() < 1 / (1 + math.exp(-gap)) else "model_b"
    asked = (
        "밤하늘을 한 문단으로 그려 주세요."
        if language == "ko"
        else f"Sort <b>these</b> {place} words & explain."
    )
    said = "별빛이 조용히 내려앉습니다. " if language == "ko" else "First, compare the words. "
    talk = [
        [{"role": "user", "content": asked}, {"role": "assistant", "content": said * n + HOSTILE * (n == 3)}]
        for n in lengths
    ]
    return {
        "battle_uuid": str(uuid5(_SPACE, str(place))),
        "model_a": a, "model_b": b, "winner": winner, "voter": f"voter-{rng.randint(1, 9)}",
        "timestamp": (START + timedelta(hours=place * 1400 / votes)).isoformat(),
        "language": language, "category": category, "conversation_a": talk[0], "conversation_b": talk[1],
    }  # fmt: skip


def _judged(rng: random.Random, row: dict[str, object]) -> dict[str, object]:
    agrees = rng.random() < 0.7
    kept = {key: value for key, value in row.items() if key not in ("voter", "winner")}
    return {**kept, "winner": row["winner"] if agrees else rng.choice(["model_a", "model_b"])}


def _import(store: Store, path: Path, rows: list[dict[str, object]], **options: str) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    if options:
        import_votes(store, path, source="judge", fixed={"judge": options["judge"]})
    else:
        import_votes(store, path)


def _battles_of_the_arena(store: Store) -> None:
    versions = store.upsert_model_versions(
        [ModelVersionRecord(model=name, digest="local") for name in ("한빛-7B", "Orca Mini")]
    )
    for place in range(8):
        voter = VoterRecord(id=new_id())
        store.register_voter(voter)
        battle = BattleRecord(
            id=new_id(), version_a=versions[0].version_key, version_b=versions[1].version_key,
            selection_probability=0.5, selection_policy="uniform", voter_id=voter.id, prompt="수도는?", language="ko",
            category="글쓰기",
        )  # fmt: skip
        store.create_battle(battle, TurnRecord(battle_id=battle.id, number=1, message="수도는?"))
        for side, version in zip(("a", "b"), versions, strict=True):
            failed = place == 7 and side == "b"
            store.record_generation(
                GenerationRecord(
                    id=new_id(), battle_id=battle.id, turn=1, side=side, version_key=version.version_key,
                    text="" if failed else "서울입니다.", finish_reason="error" if failed else "stop",
                    completion_tokens=None if failed else 41, time_to_first_token=0.25,
                    duration=2.25 if side == "a" else 1.25, error_kind="timed_out" if failed else None,
                )
            )  # fmt: skip
        store.set_battle_state(battle.id, "done")
        store.record_vote(
            VoteRecord(battle_id=battle.id, voter_id=voter.id, request_id=new_id(), verdict="ab"[place % 2])
        )
        if place == 6:
            store.withdraw_vote(battle.id, voter.id, new_id())
    assert now() > START
