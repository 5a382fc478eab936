import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena.config import MatchmakingSettings, PairBoost
from arena.matchmaking import Boosted, Changeable, Draw, Policy, Uniform, Weighted, draw, policy_from

rosters = st.lists(st.text(min_size=1, max_size=8), min_size=2, max_size=8, unique=True)
weights = st.floats(min_value=0.01, max_value=100)


@st.composite
def policies(draw_: st.DrawFn) -> tuple[list[str], Policy]:
    models = draw_(rosters)
    base: Policy = Weighted({name: draw_(weights) for name in models[: draw_(st.integers(0, len(models)))]})
    base = draw_(st.sampled_from([Uniform(), base]))
    if draw_(st.booleans()):
        pair = (models[0], draw_(st.sampled_from([*models[1:], "absent"])))
        base = Boosted(base, pair, draw_(st.floats(min_value=0.01, max_value=0.99)))
    return models, base


@given(policies(), st.integers())
def test_probabilities_are_a_distribution_blind_to_the_side(
    case: tuple[list[str], Policy], seed: int
) -> None:
    models, policy = case
    table = policy.probabilities(models)
    assert sum(table.values()) == pytest.approx(1)
    assert all(a != b and table[a, b] == pytest.approx(table[b, a]) for a, b in table)
    drawn = draw(models, policy, random.Random(seed))
    assert drawn.probability == table[drawn.a, drawn.b]
    assert drawn.policy == policy.name


def test_draws_follow_the_probabilities() -> None:
    policy = Boosted(Weighted({"x": 3.0}), ("y", "z"), 0.25)
    models = ["x", "y", "z", "한국어-모형"]
    rng = random.Random(7)
    n = 40_000
    counts = Counter((d.a, d.b) for d in (draw(models, policy, rng) for _ in range(n)))
    for pair, p in policy.probabilities(models).items():
        assert abs(counts[pair] - n * p) < 5 * (n * p * (1 - p)) ** 0.5, pair


@pytest.mark.parametrize("models", [[], ["only"], ["twice", "twice"]])
def test_too_few_models(models: list[str]) -> None:
    with pytest.raises(ValueError, match=r"two models|named twice"):
        draw(models, Uniform(), random.Random(0))


def test_a_draw_is_a_value() -> None:
    assert Draw("a", "b", "uniform", 0.5) == Draw("a", "b", "uniform", 0.5)


def test_a_boost_can_be_set_and_ended_while_an_arena_is_served() -> None:
    models = ["새 모형", "parent", "other"]
    policy: Changeable = policy_from(MatchmakingSettings())
    plain = policy.probabilities(models)
    assert (policy.name, policy.boosted) == ("uniform", None)
    policy.boost(("새 모형", "parent"), 0.8)
    assert policy.boosted == ("새 모형", "parent")
    drawn = [draw(models, policy, random.Random(n)) for n in range(2_000)]
    together = [d for d in drawn if {d.a, d.b} == {"새 모형", "parent"}]
    assert {d.policy for d in drawn} == {"uniform+boost(0.8)"}
    assert len(together) / len(drawn) == pytest.approx(0.8 + 0.2 / 3, abs=0.03)
    assert {d.a for d in together} == {"새 모형", "parent"}, "either may be side a"
    policy.boost(None)
    assert (policy.probabilities(models), policy.name) == (plain, "uniform")

    told = MatchmakingSettings(
        boost=PairBoost(pair=("a", "b"), probability=0.6), weights={"a": 2}, strategy="weighted"
    )
    policy = policy_from(told)
    assert (policy.name, policy.boosted) == ("weighted+boost(0.6)", ("a", "b"))
    policy.boost(("a", "c"), 0.5)
    assert policy.name == "weighted+boost(0.5)", "one pair at a time, over the same strategy"
