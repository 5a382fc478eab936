"""Estimates: exact counts from a config alone, memory by its parts, and what to change where nothing fits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from arena.engines.memory import in_words
from trainers._devices import Device, catalogue, catalogue_date
from trainers._shapes import UnknownShapes, read_shapes
from trainers.memory import DataSize, estimate, estimate_training, methods_table
from trainers.plan import TrainingPlan
from trainers.recipes import Recipe, make_recipe

LLAMA2_7B = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32000, "tie_word_embeddings": False,
}  # fmt: skip
LLAMA3_8B = {**LLAMA2_7B, "intermediate_size": 14336, "num_key_value_heads": 8, "vocab_size": 128256}
QWEN2_05B = {
    "model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
    "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True,
}  # fmt: skip
GEMMA3_270M = {
    "model_type": "gemma3_text", "hidden_size": 640, "intermediate_size": 2048, "num_hidden_layers": 18,
    "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256, "vocab_size": 262144,
}  # fmt: skip
GPU = Device(name="card", memory=24 * 2**30, gpu=True, here=True, speed=1e14, source="test")
CPU = Device(name="cpu", memory=8 * 2**30, gpu=False, here=True, speed=1e11, source="test")


def folder(tmp_path: Path, config: dict[str, object]) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def recipe(**values: object) -> Recipe:
    return make_recipe({"name": "n", "base": "b", "dataset": "d", **values})


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (LLAMA2_7B, 6_738_415_616),
        (LLAMA3_8B, 8_030_261_248),
        (QWEN2_05B, 494_032_768),
        (GEMMA3_270M, 268_098_176),
    ],
)
def test_parameters_of_known_models_follow_from_their_config(
    config: dict[str, object], parameters: int, tmp_path: Path
) -> None:
    assert read_shapes(folder(tmp_path, config)).parameters == parameters


def test_lora_and_nf4_of_llama_2_7b(tmp_path: Path) -> None:
    path = folder(tmp_path, LLAMA2_7B)
    found = estimate_training(recipe(lora={"rank": 16}), path, devices=[GPU])
    assert found.trained_parameters == 39_976_960
    packed = estimate_training(recipe(method="qlora", lora={"rank": 16}), path, devices=[GPU])
    linear = read_shapes(path).linear_parameters
    rest = 6_738_415_616 - linear
    assert packed.need.weights == pytest.approx(linear * 4.127 / 8 + rest * 4 + 39_976_960 * 4, rel=1e-6)
    assert packed.need.gradients == 39_976_960 * 4
    assert packed.need.optimiser == 39_976_960 * 8
    full = estimate_training(recipe(method="full"), path, devices=[GPU])
    # Float32 weights, gradients and two moments: 16 bytes a parameter.
    assert full.need.weights + full.need.gradients + full.need.optimiser == 16 * 6_738_415_616
    assert not full.fits_here
    assert [fit.name for fit in full.devices if fit.fits] == ["H200", "B200", "MI300X"]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("chat", {"lora": {"rank": 4}}),
        ("chat", {"lora": {"rank": 2, "targets": ["q_proj"], "layers": [1], "dora": True}}),
        ("chat", {"method": "ia3"}),
        ("chat", {"method": "full"}),
        ("chat", {"method": "full", "frozen_layers": [0]}),
        ("chat", {"method": "tool_tokens", "tool_tokens": {"tokens": ["<a>", "<날씨>"]}}),
        ("labelled", {"method": "head", "objective": "classify"}),
        ("labelled", {"method": "full", "objective": "classify"}),
        ("preference", {"method": "full", "objective": "reward"}),
    ],
)
def test_trained_parameters_are_those_of_the_real_model(
    plan_for: Callable[..., TrainingPlan], kind: str, values: dict[str, object]
) -> None:
    from trainers.methods._loading import load_model, load_tokenizer, trainable

    plan = plan_for(kind, **values)
    labels = ("a", "b") if kind == "labelled" else ()
    counted, _ = trainable(load_model(plan, load_tokenizer(plan.base.path), labels))
    assert estimate_training(plan.recipe, plan.base.path, devices=[CPU]).trained_parameters == counted


def test_the_reservation_of_a_plan_is_its_estimate(plan_for: Callable[..., TrainingPlan]) -> None:
    plan = plan_for("chat")
    assert estimate(plan).ram > 900 * 2**20
    twice = plan.model_copy(update={"recipe": plan.recipe.model_copy(update={"processes": 2})})
    assert estimate(twice).ram == 2 * estimate(plan).ram


def test_time_comes_from_rows_tokens_and_speed(tmp_path: Path) -> None:
    path = folder(tmp_path, QWEN2_05B)
    data = DataSize(rows=1_000, mean_tokens=100, longest=180, source="counted")
    values: dict[str, object] = {"optimiser": {"batch_size": 4, "gradient_accumulation": 5, "epochs": 2}}
    found = estimate_training(recipe(**values), path, data=data, devices=[GPU])
    assert (found.steps, found.tokens, found.tokens_from) == (100, 200_000, "counted")
    assert found.seconds is not None
    slower = estimate_training(
        recipe(**values), path, data=data, devices=[GPU], tokens_per_second=(50.0, "measured in job x")
    )
    assert (slower.seconds, slower.speed_from) == (4_000, "measured in job x")
    unknown = estimate_training(recipe(), path, devices=[GPU])
    assert (unknown.tokens, unknown.seconds, unknown.measured) == (None, None, False)


@pytest.mark.parametrize(
    ("rows", "optimiser", "steps"),
    [
        (
            282,
            {"batch_size": 8, "gradient_accumulation": 4, "epochs": 30},
            270,
        ),  # 36 batches, 9 steps an epoch
        (103, {"batch_size": 4, "gradient_accumulation": 1, "epochs": 4}, 104),
        (10, {"batch_size": 4, "gradient_accumulation": 4, "epochs": 0.5}, 1),
        (10, {"batch_size": 4, "max_steps": 7}, 7),
    ],
)
def test_steps_are_those_that_transformers_makes(
    rows: int, optimiser: dict[str, object], steps: int, tmp_path: Path
) -> None:
    path = folder(tmp_path, QWEN2_05B)
    data = DataSize(rows=rows, mean_tokens=10, longest=20)
    assert estimate_training(recipe(optimiser=optimiser), path, data=data, devices=[CPU]).steps == steps
    sampled = recipe(objective="grpo", reinforcement={"rule": "short", "answers": 4, "max_answer_tokens": 6})
    # 4 answers to each prompt, 16 a step.
    found = estimate_training(sampled, path, data=DataSize(rows=40, mean_tokens=10), devices=[CPU])
    assert (found.steps, found.tokens) == (10, 40 * 4 * 16)


def test_a_measured_speed_sets_the_times_of_all_methods(tmp_path: Path) -> None:
    path, data = folder(tmp_path, QWEN2_05B), DataSize(rows=1_000, mean_tokens=100, longest=100)
    plain = {row.method: row.seconds for row in methods_table(recipe(), path, data=data, devices=[CPU])}
    table = methods_table(recipe(), path, data=data, devices=[CPU], tokens_per_second=(50.0, "job x"))
    slower = {row.method: row.seconds for row in table}
    assert slower["lora"] == pytest.approx(100_000 / 50)
    for method in ("full", "ia3"):
        assert slower[method] / slower["lora"] == pytest.approx(plain[method] / plain["lora"])  # type: ignore[operator]


def test_advice_names_changes_that_make_it_fit(tmp_path: Path) -> None:
    path = folder(tmp_path, LLAMA2_7B)
    card = GPU.model_copy(update={"memory": 16 * 2**30})
    found = estimate_training(recipe(optimiser={"max_length": 2048}), path, devices=[card])
    assert not found.fits_here
    assert "method=qlora" in found.advice[0]
    assert found.advice[0].endswith("(fits)")
    changes = found.advice[0].partition(":")[0].split()
    followed = make_recipe(recipe(optimiser={"max_length": 2048}).model_dump(mode="json"), changes)
    again = estimate_training(followed, path, devices=[card])
    assert again.fits_here
    assert in_words(again.devices[0].needed) in found.advice[0]
    assert again.advice == ()
    # What would need as much or more is no advice.
    small = folder(tmp_path, QWEN2_05B)
    tight = CPU.model_copy(update={"memory": 2**30})
    told = estimate_training(recipe(optimiser={"batch_size": 64}), small, devices=[tight])
    assert told.advice
    assert all(float(line.rpartition(": ")[2].split()[0]) < told.ram / 2**30 for line in told.advice)


def test_checkpointing_batch_and_length_lower_activations(tmp_path: Path) -> None:
    path = folder(tmp_path, QWEN2_05B)

    def activations(**optimiser: object) -> int:
        return estimate_training(recipe(optimiser=optimiser), path, devices=[CPU]).need.activations

    whole = activations(batch_size=4)
    assert activations(batch_size=2) == pytest.approx(whole / 2, rel=0.01)
    assert activations(batch_size=4, gradient_checkpointing=True) < whole / 5


def test_methods_side_by_side(tmp_path: Path) -> None:
    rows = methods_table(recipe(), folder(tmp_path, QWEN2_05B), devices=[CPU])
    by_method = {row.method: row for row in rows}
    assert set(by_method) == {"full", "lora", "qlora", "ia3"}
    assert by_method["qlora"].needed < by_method["lora"].needed < by_method["full"].needed
    assert by_method["ia3"].trained_parameters == 24 * (896 + 128 + 4864)


def test_what_cannot_be_known_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnknownShapes, match=r"config\.json cannot be read"):
        read_shapes(tmp_path)
    with pytest.raises(UnknownShapes, match="model type 'mamba'"):
        read_shapes(folder(tmp_path, {"model_type": "mamba"}))


def test_the_catalogue_is_dated_and_ordered() -> None:
    sizes = [device.memory for device in catalogue()]
    assert sizes == sorted(sizes)
    assert all("catalogue of 2026" in device.source for device in catalogue())
    assert str(catalogue_date()).startswith("2026-")
