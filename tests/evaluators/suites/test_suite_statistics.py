"""Standard errors, paired comparisons and their correction: against formulas, SciPy and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from evaluators.suites.statistics import bootstrap_stderr, holm, mcnemar, mean, paired_difference, verdict


def test_the_standard_error_without_groups_is_the_usual_one() -> None:
    values = [0.0, 1.0, 1.0, 0.0, 1.0]
    found = mean(values)
    assert found is not None
    assert found.stderr == pytest.approx(np.std(values, ddof=1) / np.sqrt(5))
    assert mean([]) is None
    one = mean([1.0])
    assert one is not None
    assert one.stderr is None


def test_items_of_one_group_count_once() -> None:
    values = [0.0, 1.0, 1.0, 0.0]
    copies = [value for value in values for _ in range(5)]
    groups = [str(place // 5) for place in range(20)]
    alone, clustered = mean(values), mean(copies, groups)
    assert alone is not None
    assert clustered is not None
    assert clustered.stderr == pytest.approx(alone.stderr)


def test_the_bootstrap_of_a_mean_agrees_with_the_formula() -> None:
    rng = np.random.default_rng(1)
    values = rng.random(60)
    formula = mean(list(values))
    assert formula is not None
    groups = [str(place) for place in range(60)]
    found = bootstrap_stderr(groups, lambda places: float(values[list(places)].mean()), draws=600)
    assert found == pytest.approx(formula.stderr, rel=0.15)


def test_mcnemar_is_exact() -> None:
    assert mcnemar(9, 1) == pytest.approx(binomtest(9, 10, 0.5).pvalue)
    assert mcnemar(0, 0) == 1
    a = [1.0] * 9 + [0.0] + [1.0] * 20
    b = [0.0] * 9 + [1.0] + [1.0] * 20
    found = paired_difference(a, b)
    assert found.test == "mcnemar"
    assert found.p == pytest.approx(mcnemar(9, 1))
    assert found.difference == pytest.approx(-8 / 30)
    assert found.interval[0] < found.difference < found.interval[1] < 0


def test_few_items_show_nothing_even_when_all_of_them_differ() -> None:
    found = paired_difference([1.0] * 4, [0.0] * 4, bound=0.02)
    assert verdict(found.difference, found.p) == "inconclusive"
    assert found.p_beyond > 0.05
    fractions = paired_difference([0.6, 0.7, 0.8], [0.5, 0.6, 0.7], bound=0.02)
    assert fractions.p_beyond > 0.05


def test_the_gate_is_about_more_than_the_bound() -> None:
    rng = np.random.default_rng(2)
    a = rng.random(400)
    b = a - 0.03 + rng.normal(0, 0.05, 400)
    assert paired_difference(list(a), list(b), bound=0.02).p_beyond < 0.05
    shown_worse = paired_difference(list(a), list(b), bound=0.05)
    assert shown_worse.p_beyond > 0.5
    assert verdict(shown_worse.difference, shown_worse.p) == "worse"


def test_a_gate_on_equal_models_stops_at_most_one_in_twenty() -> None:
    rng = np.random.default_rng(3)
    stopped = 0
    for _ in range(200):
        a, b = rng.random((2, 40)) < 0.6
        stopped += paired_difference(list(a.astype(float)), list(b.astype(float))).p_beyond < 0.05
    assert stopped <= 16  # 200 x 0.05 = 10, and two standard deviations


def test_groups_widen_the_interval() -> None:
    rng = np.random.default_rng(4)
    effect = np.repeat(rng.normal(0.1, 0.3, 20), 5)
    a, b = np.zeros(100), effect
    groups = [str(place // 5) for place in range(100)]
    alone, clustered = paired_difference(list(a), list(b)), paired_difference(list(a), list(b), groups)
    assert clustered.groups == 20
    assert clustered.interval[1] - clustered.interval[0] > 1.5 * (alone.interval[1] - alone.interval[0])


def test_four_items_solved_alike_leave_much_open_and_four_hundred_little() -> None:
    few, many = (paired_difference([1.0] * count, [1.0] * count) for count in (4, 400))
    assert few.interval == pytest.approx((-(1 - 0.025**0.25), 1 - 0.025**0.25))
    assert few.at_most < few.interval[1]
    assert many.interval[1] < 0.01
    assert paired_difference([1.0] * 6, [0.0] * 6).interval[1] < 0


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=30))
def test_swapping_sides_turns_the_difference_and_keeps_p(pairs: list[tuple[int, int]]) -> None:
    a, b = [float(x) for x, _ in pairs], [float(y) for _, y in pairs]
    one, other = paired_difference(a, b), paired_difference(b, a)
    assert one.difference == pytest.approx(-other.difference)
    assert one.p == pytest.approx(other.p)
    assert 0 < one.p <= 1


def test_a_comparison_without_items_is_refused() -> None:
    with pytest.raises(ValueError, match="same items"):
        paired_difference([], [])
