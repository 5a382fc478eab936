"""Whether one model is better than another: figures that can be reckoned again, and votes that would decide it."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from results.decisions import Decision, decide
from results.interchange import import_votes
from results.leaderboard import BoardQuery, UnknownModel, rate
from results.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "data") as opened:
        yield opened


def voted(store: Store, tmp_path: Path, wins: int, losses: int, ties: int = 0) -> Decision:
    """The decision after so many votes between the new model and its parent."""
    file = tmp_path / f"votes-{wins}-{losses}-{ties}.csv"
    verdicts = ["model_a"] * wins + ["model_b"] * losses + ["tie"] * ties
    with file.open("w", newline="", encoding="utf-8") as opened:
        lines = csv.writer(opened)
        lines.writerow(("model_a", "model_b", "winner", "question_id"))
        lines.writerows(("new", "parent", verdict, number) for number, verdict in enumerate(verdicts))
    import_votes(store, file)
    return decide(rate(store, BoardQuery()), "new", "parent")


def test_many_votes_decide(store: Store, tmp_path: Path) -> None:
    found = voted(store, tmp_path, 70, 25, 5)
    assert (found.answer, found.basis, found.more_battles) == ("better", "ratings", None)
    assert (found.battles, found.wins, found.losses, found.ties) == (100, 70, 25, 5)
    assert found.probability == pytest.approx(0.725, abs=1e-6)
    assert 0.5 < (found.lower or 0) < 0.725 < (found.upper or 0)
    other = decide(rate(store, BoardQuery()), "parent", "new")
    assert (other.answer, other.probability) == ("worse", pytest.approx(0.275, abs=1e-6))


def test_few_votes_are_undecided_and_as_many_more_would_decide(store: Store, tmp_path: Path) -> None:
    found = voted(store, tmp_path, 12, 8)
    assert (found.answer, found.basis) == ("undecided", "ratings")
    assert (found.lower or 1) < 0.5 < (found.upper or 0)
    more = found.more_battles or 0
    assert more == pytest.approx(found.more_votes or 0, rel=0.05), "all votes are of this pair"
    # With so many further votes of a coin of 60%, the interval leaves one half in 8 of 10 cases.
    rng = np.random.default_rng(3)
    total = 20 + more
    won = rng.binomial(total, 0.6, 4_000)
    clear = np.abs(won / total - 0.5) > 1.96 * np.sqrt(won / total * (1 - won / total) / total)
    assert clear.mean() == pytest.approx(0.8, abs=0.04)
    turned = decide(rate(store, BoardQuery()), "parent", "new")
    assert (turned.answer, turned.more_battles) == ("undecided", found.more_battles)


def test_equal_models_are_as_good_as_each_other(store: Store, tmp_path: Path) -> None:
    found = voted(store, tmp_path, 20, 20)
    assert (found.answer, found.more_battles, found.more_votes) == ("as_good", None, None)


@pytest.mark.parametrize(
    ("wins", "losses", "answer"), [(5, 0, "undecided"), (6, 0, "better"), (0, 6, "worse")]
)
def test_who_won_all_is_judged_by_the_battles_themselves(
    store: Store, tmp_path: Path, wins: int, losses: int, answer: str
) -> None:
    found = voted(store, tmp_path, wins, losses)
    assert (found.answer, found.basis) == (answer, "battles")
    exact = binomtest(wins, wins + losses).proportion_ci(0.95, method="exact")
    assert (found.lower, found.upper) == (pytest.approx(exact.low), pytest.approx(exact.high))
    assert found.more_battles == (1 if answer == "undecided" else None), "six of six decide"


def test_models_that_never_met_are_unknown(store: Store, tmp_path: Path) -> None:
    voted(store, tmp_path, 3, 2)
    file = tmp_path / "apart.csv"
    file.write_text("model_a,model_b,winner\nleft,right,model_a\nleft,right,model_b\n", encoding="utf-8")
    import_votes(store, file)
    rated = rate(store, BoardQuery())
    found = decide(rated, "new", "left")
    assert (found.answer, found.basis, found.probability) == ("unknown", None, None)
    with pytest.raises(ValueError, match="itself"):
        decide(rated, "new", "new")
    with pytest.raises(UnknownModel):
        decide(rated, "new", "nobody")
