"""Judges against people on the same battles."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest

from arena.cli.main import main
from results.interchange import import_votes
from results.judge_agreement import calibrate_judge, judge_agreement
from results.leaderboard import leaderboard
from results.store import Store

SHARED = Path(__file__).parents[4] / "shared" / "data" / "llmfao_crowd_votes"
MAPPING = {"model_a": "left", "model_b": "right", "verdict": "winner", "id": "id", "prompt": "prompt"}


def load(store: Store, file: Path, judge: str | None = None) -> int:
    if judge is None:
        return import_votes(store, file, source="human", mapping={**MAPPING, "voter": "worker"}).added
    return import_votes(store, file, source="judge", mapping=MAPPING, fixed={"judge": judge}).added


def test_a_judge_like_people_and_one_against_them(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three people on 120 battles of 30 prompts; one judge repeats a person, one says the opposite."""
    rows: dict[str, list[dict[str, object]]] = {"people": [], "echo": [], "contrary": []}
    said = ("left", "left", "right", "tie")
    for number in range(120):
        base = {"id": number, "prompt": f"질문 {number % 30}", "left": "가람", "right": "나래"}
        verdicts = [said[(number * 7 + k * (number % 3 == 0)) % 4] for k in range(3)]
        rows["people"] += [{**base, "worker": f"w{k}", "winner": v} for k, v in enumerate(verdicts)]
        rows["echo"].append({**base, "winner": verdicts[0]})
        flipped = {"left": "right", "right": "left", "tie": "tie"}[verdicts[0]]
        rows["contrary"].append({**base, "winner": flipped})
    for name, chosen in rows.items():
        with (tmp_path / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(chosen[0]))
            writer.writeheader()
            writer.writerows(chosen)
        load(store, tmp_path / f"{name}.csv", None if name == "people" else name)
    (echo,) = judge_agreement(store, "echo")
    assert (echo.with_people.battles, echo.with_people.items, echo.with_people.votes) == (120, 30, 360)
    assert echo.people is not None
    assert echo.with_people.agreement.value > echo.people.agreement.value
    assert echo.replaces == "yes"
    (contrary,) = judge_agreement(store, "contrary")
    assert contrary.with_people.kappa.value < 0 < echo.with_people.kappa.value
    assert contrary.replaces == "no"
    assert judge_agreement(store, "nobody") == []
    monkeypatch.setattr(sys, "argv", ["arena", "judge", "agreement", "--data", str(store.data_dir)])
    with pytest.raises(SystemExit):
        main()
    tables = capsys.readouterr().out.partition("\necho")[2].split("\n")
    for measure, share in (("agreement", echo.with_people.agreement), ("kappa", echo.with_people.kappa)):
        row = next(line for line in tables if line.split()[:1] == [measure])
        assert f"{share.value:.2f} [{share.lower:.2f}, {share.upper:.2f}]" in row
        assert len(row) <= 80
    told = calibrate_judge(store, "contrary")
    assert told.gain.value > 0
    assert dict(told.knots)[1.0] < 0.5


@pytest.mark.shared
def test_people_and_gpt_on_the_same_battles(store: Store) -> None:
    if not SHARED.is_dir():
        pytest.skip(f"the reference data is not here: {SHARED}")
    assert load(store, SHARED / "crowd-comparisons.csv") == 8931
    assert load(store, SHARED / "gpt4-crowd-comparisons.csv", "gpt-4") == 2139
    assert load(store, SHARED / "gpt3-crowd-comparisons.csv", "gpt-3.5") == 2139
    (four,), (three,) = judge_agreement(store, "gpt-4"), judge_agreement(store, "gpt-3.5")
    assert four.people is not None
    for each in (four, three):
        assert (each.with_people.battles, each.with_people.items, each.with_people.votes) == (2139, 13, 8931)
        assert each.people == four.people
    # GPT-4 agrees better with people than GPT-3.5 does, and both worse than people with each other.
    assert three.with_people.agreement.value < four.with_people.agreement.value < four.people.agreement.value
    assert three.with_people.kappa.value < four.with_people.kappa.value < four.people.kappa.value
    assert (three.replaces, four.replaces) == ("no", "undecided")
    boards = [leaderboard(store), leaderboard(store, source="judge", judge="gpt-4")]
    assert [board.votes for board in boards] == [8931, 2139]
    assert {row.model for row in boards[0].models} == {row.model for row in boards[1].models}
