"""The loop by hand, with a user's commands: votes become data, data a model, and the model battles its parent.

The prompts are requests; the voters prefer the answer that is a function call, as one contestant of the demo gives it.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from arena.battle import BattleError, BattleService
from arena.config import Settings
from arena.engines.base import Engine
from arena.engines.embedded import CALLS
from arena.engines.spec import ModelSpec
from arena.matchmaking import policy_from
from arena.roster import open_roster
from results.ids import new_id
from results.records import Verdict, VoterRecord
from results.store import open_store

pytestmark = [pytest.mark.long, pytest.mark.model]

PARENT = "smollm2-135m"
CALL = re.compile(r"\w+\(\w+=.*\)")
ROWS = Path(__file__).parents[2] / "trainers" / "data" / "calls.jsonl"
RECIPE = """\
name: challenger
base: smollm2-135m
dataset: wanted
method: lora
precision: bfloat16
lora: {rank: 8, alpha: 16}
optimiser: {learning_rate: 2.0e-3, batch_size: 4, gradient_accumulation: 1, epochs: 6, max_length: 256}
evaluation: {every_steps: 0}
"""


@pytest.mark.timeout(3_600)
def test_votes_become_a_model_that_battles_its_parent(model_data_dir: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "models").symlink_to(model_data_dir / "models")
    asked = requests()
    first, second = (
        written(tmp_path / "first.jsonl", asked[:28]),
        written(tmp_path / "second.jsonl", asked[28:40]),
    )

    # 1. Votes: people on battles between two contestants of the demo.
    arena(data, "battles", "run", "--prompts", first, "--models", f"{PARENT} {CALLS}", "--max-tokens", "24")
    who = new_id()
    assert vote(data, who) == 28

    # 2. Data: the winning answers.
    built = json.loads(
        arena(data, "data", "from-votes", "wanted", "--kind", "chat", "--held-out", "0.1", "--json")
    )
    assert built["dataset"]["row_count"] >= 20, built

    # 3. A new model.
    recipe = tmp_path / "challenger.yaml"
    recipe.write_text(RECIPE, encoding="utf-8")
    job = json.loads(arena(data, "train", "run", str(recipe), "--json"))
    assert (job["state"], job["result"]["model"]) == ("done", "challenger@1")
    shown = json.loads(arena(data, "models", "show", "challenger", "--json"))
    assert shown["training"]["job"] == job["id"]
    assert (shown["training"]["dataset"], shown["lineage"][1]["reference"]) == ("wanted@1", f"{PARENT}@1")

    # 4. It battles its parent.
    arena(
        data, "battles", "run", "--prompts", second, "--models", f"{PARENT} challenger", "--max-tokens", "24"
    )
    assert vote(data, who) == 12

    # 5. Is it better, and how sure is that?
    told = arena(data, "leaderboard", "--models", "challenger", "--against", PARENT, notes=True)
    (decision,) = json.loads(
        arena(data, "leaderboard", "--models", "challenger", "--against", PARENT, "--json")
    )["decisions"]
    assert decision["battles"] == 12
    assert decision["wins"] > decision["losses"], told
    words = {
        "better": "challenger is better than", "undecided": "Undecided whether challenger is better than",
        "as_good": "as good as equal",
    }  # fmt: skip
    assert words[decision["answer"]] in told
    assert "P(challenger beats smollm2-135m)" in told
    if folder := os.environ.get("ARENA_EVIDENCE"):
        (Path(folder) / "loop-by-hand.txt").write_text(
            f"28 votes -> {built['dataset']['row_count']} rows -> challenger, "
            f"{job['result']['seconds']:.0f} s of training "
            f"-> 12 battles against its parent: {decision['wins']} won, {decision['losses']} lost, "
            f"{decision['ties']} tied\n{told}\n",
            encoding="utf-8",
        )


def requests() -> list[str]:
    """Requests of the data set that ships, in English, each asking for one call."""
    rows = [json.loads(line) for line in ROWS.read_text(encoding="utf-8").split("\n") if line]
    chosen = [
        row for row in rows if row["language"] == "en" and row["function"] in ("weather", "light", "timer")
    ]
    return [row["messages"][0]["content"] for row in chosen]


def written(file: Path, prompts: list[str]) -> str:
    file.write_text("".join(json.dumps({"prompt": each}) + "\n" for each in prompts), encoding="utf-8")
    return str(file)


def arena(data: Path, *arguments: str, notes: bool = False) -> str:
    """What a command prints (with `notes`: on stderr as well, in one line)."""
    done = subprocess.run(
        [sys.executable, "-m", "arena.cli.main", *arguments, "--data", str(data)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
    )
    assert done.returncode == 0, f"{arguments}: {done.stderr}"
    return " ".join((done.stdout + done.stderr).split()) if notes else done.stdout


def vote(data: Path, who: UUID) -> int:
    """A person's votes on all battles that wait for theirs, as the Battle page takes them; how many these were."""

    def no_engine(spec: ModelSpec) -> Engine:
        raise AssertionError("a prepared battle asks no model")

    async def run() -> int:
        with open_store(data) as store:
            settings = Settings()
            roster = open_roster(store, settings, data, [])
            policy = policy_from(settings.matchmaking)
            battles = BattleService(store, roster, no_engine, policy, settings.battle)
            count = 0
            store.register_voter(VoterRecord(id=who))
            while True:
                try:
                    view = await battles.start_prepared(who)
                except BattleError:  # none is left
                    await battles.close()
                    return count
                await battles.vote(who, view.id, verdict(view))
                await battles.reveal(who, view.id)
                count += 1

    return asyncio.run(run())


def verdict(view: Any) -> Verdict:
    """What a person says who wants calls."""
    turn = view.turns[-1]
    a, b = (bool(CALL.search(side.text)) for side in (turn.a, turn.b))
    return "tie" if a and b else "a" if a else "b" if b else "both_bad"
