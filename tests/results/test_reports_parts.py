"""The parts of reports that need no store: texts, numbers in words, agreement."""

from __future__ import annotations

import string

import numpy as np
import pytest

from results.reports import LANGUAGES
from results.reports._agreement import summarise as agreement_of
from results.reports._numbers import percent
from results.reports._texts import Texts, texts


def test_both_languages_have_the_same_texts_with_the_same_figures() -> None:
    fields = [
        {
            key: {name for _, name, _, _ in string.Formatter().parse(value) if name}
            for key, value in texts(language).items()
        }
        for language in LANGUAGES
    ]
    assert set(fields[0]) == set(fields[1])
    assert fields[0] == fields[1]


@pytest.mark.parametrize(
    ("name", "said"), [("한빛", "한빛이"), ("누리", "누리가"), ("GPT 4", "GPT 4이(가)"), ("", "이(가)")]
)
def test_korean_particles_follow_the_last_syllable(name: str, said: str) -> None:
    sentence = Texts("ko")("summary.chance", leader=name, chance="50%")
    assert f"고려하면 {said} 정말로" in sentence


def tables_of(counts: list[list[int]]) -> np.ndarray:
    """One table per battle with one verdict each, from a 3 x 3 table of counts."""
    single = [(i, j) for i in range(3) for j in range(3) for _ in range(counts[i][j])]
    tables = np.zeros((len(single), 3, 3))
    for place, (i, j) in enumerate(single):
        tables[place, i, j] = 1
    return tables


def test_kappa_is_cohens_and_its_interval_is_that_of_a_bootstrap() -> None:
    # 20, 5, 10, 15 of 50: agreement 0.70, by chance 0.50, kappa 0.40 (a common textbook example).
    tables = tables_of([[20, 0, 5], [0, 0, 0], [10, 0, 15]])
    found = agreement_of("j", tables, np.ones(50), 50, 0.95)
    assert found.agreement.value == pytest.approx(0.70)
    assert found.kappa is not None
    assert found.kappa.value == pytest.approx(0.40)
    assert found.same_winner is not None
    assert found.same_winner.value == pytest.approx(0.70)
    rng = np.random.default_rng(1)
    drawn = []
    for _ in range(2000):
        mean = tables[rng.integers(0, 50, 50)].mean(axis=0)
        chance = float(mean.sum(axis=1) @ mean.sum(axis=0))
        drawn.append((np.trace(mean) - chance) / (1 - chance))
    assert found.kappa.lower is not None
    assert (found.kappa.value - found.kappa.lower) / 1.96 == pytest.approx(np.std(drawn), rel=0.1)


def test_few_battles_get_no_interval_and_equal_verdicts_no_kappa() -> None:
    found = agreement_of("j", tables_of([[5, 0, 0], [0, 0, 0], [0, 0, 0]]), np.ones(5), 5, 0.95)
    assert found.agreement.value == 1
    assert found.agreement.lower is None
    assert found.kappa is None


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.5, "50%"), (0.973, "97.3%"), (0.00004, "<0.1%"), (0.99999, ">99.9%"), (1.0, "100.0%")],
)
def test_a_share_is_never_rounded_to_certainty(share: float, said: str) -> None:
    assert percent(share) == said
