"""Agreement, biases and calibration: against known values, simulations and other implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score

from results.agreement import alpha_of, clustered, coincidences, cross_tables, kappa_of, own_tables, wilson
from results.calibration import calibrate, fit_map
from results.judge_bias import length_control, standing, two_orders
from results.logistic import fit_logistic

RNG = np.random.default_rng(7)


def test_kappa_equals_scikit_learns() -> None:
    first, second = RNG.integers(0, 3, 400), RNG.integers(0, 3, 400)
    second[:200] = first[:200]
    table = cross_tables(np.eye(3)[first], np.eye(3)[second]).mean(axis=0)
    assert kappa_of(table) == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)
    assert math.isnan(kappa_of(np.diag([1.0, 0.0, 0.0])))


def test_alpha_equals_krippendorffs_published_example() -> None:
    # Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", example C: four observers, missing data.
    data = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    ]
    counts = np.zeros((12, 5))
    for observer in data:
        for unit, value in enumerate(observer):
            if value is not None:
                counts[unit, value - 1] += 1
    table = coincidences(counts)
    assert alpha_of(table) == pytest.approx(0.743, abs=5e-4)
    values = np.arange(1.0, 6.0)
    assert alpha_of(table, distances=(values[:, None] - values) ** 2) == pytest.approx(0.849, abs=5e-4)


def test_people_are_paired_without_themselves() -> None:
    (table,) = own_tables(np.array([[2.0, 1.0, 0.0]]))
    assert table.sum() == pytest.approx(1)
    assert np.trace(table) == pytest.approx(1 / 3)
    assert own_tables(np.array([[2.0, 0.0, 0.0]]))[0, 0, 0] == 1


def test_clustered_intervals_are_wider_where_items_hang_together() -> None:
    item = RNG.random(12)
    hits = (RNG.random((12, 50)) < item[:, None]).astype(np.float64).ravel()
    parts = np.column_stack([hits, np.ones_like(hits)])

    def width(clusters: np.ndarray) -> float:
        found = clustered(lambda total: float(total[0] / total[1]), parts, clusters)
        assert found.lower is not None
        assert found.upper is not None
        assert found.lower < found.value < found.upper
        return found.upper - found.lower

    assert width(np.repeat(np.arange(12), 50)) > 2 * width(np.arange(600))
    few = clustered(lambda total: float(total[0] / total[1]), parts[:10], np.arange(10))
    assert few.lower is None


def test_two_orders_are_counted() -> None:
    told = two_orders([("a", "a"), ("b", "b"), ("a", "b"), ("b", "a"), ("tie", "tie"), ("a", "tie")])
    assert (told.kept, told.followed, told.ties, told.mixed, told.inconsistent) == (2, 2, 1, 1, 3)
    assert (told.first_slot, told.decided) == (5, 9)


@pytest.mark.parametrize(
    ("verdicts", "unread", "usable", "reason"),
    [
        ([("a", "b")] * 12, 0, False, "order"),
        ([("a", "b")] * 3, 0, None, "few"),
        ([("a", "a")] * 12, 0, True, "fine"),
        ([("a", "a")] * 12, 40, False, "unparsed"),
        ([("tie", "tie")] * 20, 0, False, "no_winner"),
        ([("a", "a"), ("a", "b")] * 10, 0, True, "fine"),  # half and half: not shown to follow the order
    ],
)
def test_a_judge_is_usable_unless_shown_otherwise(
    verdicts: list[tuple[str, str]], unread: int, usable: bool | None, reason: str
) -> None:
    found = standing(two_orders(verdicts), unread)
    assert (found.usable, found.reason) == (usable, reason)


def test_logistic_regression_equals_scikit_learns() -> None:
    x = np.column_stack([np.ones(500), RNG.normal(size=500)])
    y = (RNG.random(500) < 1 / (1 + np.exp(-(0.3 + 0.8 * x[:, 1])))).astype(np.float64)
    other = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(x, y)
    assert fit_logistic(x, y, ridge=1e-9).coefficients == pytest.approx(other.coef_[0], abs=1e-4)


def test_length_control_takes_the_length_out() -> None:
    """A judge that prefers longer answers, and a model whose answers are longer but no better."""
    gap = RNG.normal(400, 300, 6000)
    odds = 1.5 * np.tanh(gap / gap.std())
    preferred = (RNG.random(6000) < 1 / (1 + np.exp(-odds))).astype(np.float64)
    told = length_control(preferred, gap)
    assert told.raw > 0.7
    assert told.controlled.value == pytest.approx(0.5, abs=0.04)
    assert told.slope.value == pytest.approx(1.5, abs=0.15)
    assert told.controlled.lower is not None
    assert told.controlled.lower < 0.5 < (told.controlled.upper or 0)
    always = length_control(np.ones(50), RNG.normal(size=50))
    assert 0.9 < always.controlled.value < 1
    assert length_control(np.array([1.0, 0.0]), np.zeros(2)).controlled.value == pytest.approx(0.5)


@pytest.mark.parametrize("method", ["logistic", "monotone"])
def test_an_overconfident_judge_is_calibrated_on_held_out_items(method: str) -> None:
    truth = RNG.random(3000)
    judged = 1 / (1 + np.exp(-4 * np.log(truth / (1 - truth))))
    people = (RNG.random(3000) < truth).astype(np.float64)
    told = calibrate(judged, people, np.arange(3000) // 10, method=method)  # type: ignore[arg-type]
    assert told.error_raw > 0.12
    assert told.error_mapped < 0.03
    assert told.gain.lower is not None
    assert told.gain.lower > 0
    shape = fit_map(method, judged, people)(np.linspace(0, 1, 21))  # type: ignore[arg-type]
    assert (np.diff(shape) >= -1e-9).all()
    assert shape[10] == pytest.approx(0.5, abs=1e-6)


def test_calibration_refuses_too_few_items() -> None:
    with pytest.raises(ValueError, match="5 items"):
        calibrate(np.ones(9), np.ones(9), np.arange(9) % 3)


def test_wilson_matches_its_formula_at_the_edges() -> None:
    assert wilson(0, 10).lower == 0
    assert wilson(0, 10).upper == pytest.approx(0.2775, abs=1e-4)
    assert math.isnan(wilson(0, 0).value)
