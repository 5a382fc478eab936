"""Recipes: typed, merged from presets, told apart by digest, and refused with the nearest key."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.recipes import (
    METHODS,
    OBJECTIVES,
    OBJECTIVES_OF,
    BadRecipe,
    Recipe,
    make_recipe,
    presets,
    read_recipe,
    write_recipe,
)

LEAST = {"name": "도우미", "base": "smollm2", "dataset": "songys@1"}


@pytest.mark.parametrize("name", presets())
def test_presets_make_recipes_and_say_what_they_are_for(name: str) -> None:
    least = {**LEAST, "distillation": {"teacher": "big"}, "reinforcement": {"reward_model": "rater"}}
    recipe = make_recipe({**least, "preset": name})
    assert presets()[name]["about"].endswith(".")
    assert make_recipe({**least, "preset": name, "method": recipe.method}) == recipe


def test_every_method_has_a_preset_of_its_own_for_small_models() -> None:
    for method in METHODS:
        assert presets()[f"{method}-small"]["method"] == method


def test_a_file_wins_over_its_preset_and_changes_over_both(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "preset: lora-small\nname: 도우미\nbase: smollm2\ndataset: songys\noptimiser: {batch_size: 3}\n",
        encoding="utf-8",
    )
    recipe = read_recipe(
        path, ["lora.rank=8", "optimiser.learning_rate=1e-4", "lora.targets=[q_proj, v_proj]"]
    )
    assert (recipe.optimiser.batch_size, recipe.optimiser.schedule) == (3, "cosine")
    assert (recipe.lora.rank, recipe.lora.targets, recipe.optimiser.learning_rate) == (
        8,
        ("q_proj", "v_proj"),
        1e-4,
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rate": 1}, "unknown key"),
        (
            {"optimiser": {"learning_rte": 1}},
            "optimiser.learning_rte: unknown key \\(did you mean 'learning_rate'",
        ),
        ({"lora": {"rank": 0}}, "lora.rank: Input should be greater"),
        ({"method": "ia3", "objective": "grpo"}, "cannot train for grpo; grpo works with full, lora, qlora"),
        ({"objective": "distill"}, "set distillation.teacher"),
        ({"objective": "rloo"}, "reinforcement.reward_model"),
        ({"method": "tool_tokens"}, "tool_tokens.tokens"),
        ({"frozen_layers": [0]}, "lora.layers"),
        ({"preset": "lora-smal"}, "did you mean 'lora-small'"),
        ({"name": "a/b"}, "name: String should match"),
    ],
)
def test_bad_recipes_name_the_key(values: dict[str, object], message: str) -> None:
    with pytest.raises(BadRecipe, match=message):
        make_recipe({**LEAST, **values})


def test_bad_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(BadRecipe, match="there is no such file"):
        read_recipe(tmp_path / "none.yaml")
    path = tmp_path / "r.yaml"
    path.write_text("a: [", encoding="utf-8")
    with pytest.raises(BadRecipe, match="not valid YAML"):
        read_recipe(path)
    path.write_text("just text", encoding="utf-8")
    with pytest.raises(BadRecipe, match="key: value"):
        read_recipe(path)
    with pytest.raises(BadRecipe, match="KEY=VALUE"):
        make_recipe(LEAST, ["lora.rank"])


@given(
    rank=st.integers(1, 256),
    rate=st.floats(1e-7, 1, allow_nan=False),
    method=st.sampled_from(METHODS),
    objective=st.sampled_from(OBJECTIVES),
    seed=st.integers(0, 2**31 - 1),
)
def test_writing_and_reading_gives_the_same_recipe(
    rank: int, rate: float, method: str, objective: str, seed: int
) -> None:
    if objective not in OBJECTIVES_OF[method]:  # type: ignore[index]
        return
    recipe = make_recipe(
        {
            **LEAST,
            "method": method,
            "objective": objective,
            "seed": seed,
            "lora": {"rank": rank},
            "optimiser": {"learning_rate": rate},
            "tool_tokens": {"tokens": ["<날씨>"]},
            "distillation": {"teacher": "big"},
            "reinforcement": {"rule": "short"},
        }
    )
    import yaml

    again = make_recipe(yaml.safe_load(write_recipe(recipe)))
    assert again == recipe
    assert again.digest() == recipe.digest()


def test_the_digest_follows_what_shapes_the_weights() -> None:
    recipe = Recipe.model_validate(LEAST)
    assert recipe.model_copy(update={"note": "x"}).digest() == recipe.digest()
    assert recipe.model_copy(update={"seed": 1}).digest() != recipe.digest()
