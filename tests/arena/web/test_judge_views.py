"""What the Judge page says of a judge's probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from arena.web.pages.judge_views import calibration_html
from results.calibration import calibrate


@pytest.mark.parametrize(
    ("trusted", "english", "korean"),
    [
        (True, "They carry information", "확률에 정보가 있습니다"),
        (False, "Do not read them", "확률로 읽으면 안 됩니다"),
    ],
)
def test_probabilities_are_held_against_votes(trusted: bool, english: str, korean: str) -> None:
    rng = np.random.default_rng(3)
    truth = rng.uniform(0.05, 0.95, 200)
    people = (rng.random(200) < truth).astype(float)
    told = calibrate(truth if trusted else 1 - truth, people, np.arange(200))
    page = calibration_html("en", told)
    assert english in page
    assert f"{told.error_raw:.3f}" in page
    assert page.count("<tr><td>") == len(told.bins)
    assert korean in calibration_html("ko", told)


def test_too_few_battles_are_said_to_be_too_few() -> None:
    assert "Too few battles" in calibration_html("en", None)
