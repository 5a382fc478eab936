"""Item response: parameters are recovered, and what cannot be known is not claimed."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.items import TooFewScores, suite_items
from results.ratings.items import item_response
from results.records import ModelVersionRecord
from results.store import open_store
from results.store.suites import SampleRecord, SuiteRunRecord, begin_run, record_samples, sample_id


def simulated(models: int, items: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    ability = rng.normal(size=models)
    slope, difficulty = rng.normal(1, 0.6, items), rng.normal(0, 1.2, items)
    chance = 1 / (1 + np.exp(-(slope * (ability[:, None] - difficulty))))
    return (rng.random((models, items)) < chance).astype(float), ability, slope, difficulty


def test_parameters_are_recovered_and_intervals_cover_them() -> None:
    covered, shown, near = [], [], []
    for seed in range(4):
        scores, ability, slope, difficulty = simulated(300, 50, seed)
        fit = item_response(scores)
        covered.append((fit.discrimination_lower < slope) & (slope < fit.discrimination_upper))
        clear = np.isfinite(fit.difficulty)
        shown.append(((fit.difficulty_lower < difficulty) & (difficulty < fit.difficulty_upper))[clear])
        near.append(np.corrcoef(ability, fit.ability)[0, 1])
        assert np.corrcoef(slope, fit.discrimination)[0, 1] > 0.9
        assert np.corrcoef(difficulty[clear], fit.difficulty[clear])[0, 1] > 0.9
    assert 0.88 < np.mean(covered) < 0.99
    assert 0.88 < np.mean(np.concatenate(shown)) < 0.99
    assert min(near) > 0.9


def test_a_wrong_answer_key_is_found() -> None:
    scores, _, _, _ = simulated(60, 40, 5)
    best = scores.mean(axis=1)
    scores[:, 0] = (best < np.median(best)).astype(float)
    fit = item_response(scores)
    assert fit.discrimination_upper[0] < 0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), models=st.integers(2, 12), items=st.integers(1, 12), gaps=st.booleans())
def test_any_scores_give_finite_numbers_that_follow_the_data(
    seed: int, models: int, items: int, gaps: bool
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.choice([0.0, 1.0, 0.5], (models, items), p=[0.45, 0.45, 0.1])
    if gaps:
        hidden = rng.random((models, items)) < 0.3
        hidden[np.arange(models), rng.integers(0, items, models)] = False
        hidden[rng.integers(0, models, items), np.arange(items)] = False
        scores[hidden] = np.nan
    fit = item_response(scores)
    for values in (fit.discrimination, fit.ability, fit.information, fit.discrimination_lower):
        assert np.isfinite(values).all()
    assert (fit.discrimination_lower < fit.discrimination).all()
    assert (fit.ability_error > 0).all()
    order = rng.permutation(models)
    again = item_response(scores[order])
    np.testing.assert_allclose(again.ability, fit.ability[order], atol=1e-3)
    if items > 1:
        np.testing.assert_allclose(item_response(scores[:, ::-1]).ability, fit.ability, atol=1e-3)


@pytest.mark.parametrize(
    "scores",
    [
        [[1.0, 0.0]],
        [[1.0, 2.0], [0.0, 1.0]],
        [[1.0, np.nan], [0.0, np.nan]],
        [[np.inf, 1.0], [0.0, 1.0]],
        [1.0],
    ],
)
def test_scores_that_cannot_be_fitted(scores: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="score"):
        item_response(scores)


def test_the_view_of_a_suite(tmp_path: Path) -> None:
    scores, ability, _, _ = simulated(12, 20, 1)
    scores[:, 3], scores[:, 4] = 1.0, 0.0
    with open_store(tmp_path / "data") as store:
        refs = store.upsert_model_versions(
            [ModelVersionRecord(model=f"모델-{n:02}", digest="1") for n in range(12)]
        )
        run = begin_run(store, SuiteRunRecord(id=uuid4(), plan={}, plan_hash="x"))
        record_samples(
            store,
            [
                SampleRecord(
                    id=sample_id(run.id, ref.version_key, "산수", f"i{i}", 0), run_id=run.id,
                    version_key=ref.version_key, suite="산수", suite_version="1", item=f"i{i}",
                    item_hash=f"h{i}", language="ko" if i % 2 else "en", score=float(scores[m, i]),
                )
                for m, ref in enumerate(refs)
                for i in range(20)
            ],
        )  # fmt: skip
        view = suite_items(store, "산수")
        assert len(view.items) == 20
        assert {row.item: row.remark for row in view.items if row.remark in ("all solved", "none solved")} == {
            "i3": "all solved", "i4": "none solved",
        }  # fmt: skip
        assert [row.information for row in view.items] == sorted(
            (row.information for row in view.items), reverse=True
        )
        assert view.models[0].ability > view.models[-1].ability
        assert abs(np.corrcoef(ability, scores.mean(axis=1))[0, 1]) > 0.5
        korean = suite_items(store, "산수", language="ko")
        assert {row.language for row in korean.items} == {"ko"}
        with pytest.raises(TooFewScores, match="needs at least two"):
            suite_items(store, "없는 것")
