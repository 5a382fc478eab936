"""Every method and objective: changes exactly what it should, starts at the known loss, saves and reloads equal."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from arena.engines.spec import ModelSpec
from arena.roster import enter
from prompt_formats.registry import built_in
from results.store import Store
from trainers.lineage import trained_spec
from trainers.methods._loading import CannotTrain, load_model, load_tokenizer, trainable
from trainers.methods.training import train
from trainers.plan import TrainingPlan

Plan = Callable[..., TrainingPlan]

LAYERS, HIDDEN, INNER, KV = 2, 32, 64, 16
SIZES = {"q_proj": (HIDDEN, HIDDEN), "k_proj": (HIDDEN, KV), "v_proj": (HIDDEN, KV), "o_proj": (HIDDEN, HIDDEN),
         "gate_proj": (HIDDEN, INNER), "up_proj": (HIDDEN, INNER), "down_proj": (INNER, HIDDEN)}  # fmt: skip


def run(plan: TrainingPlan, folder: Path) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    told: list[dict[str, Any]] = []
    result = train(plan, folder.parent / "data", folder, told.append)
    assert {"encoding", "saving"} <= {each["phase"] for each in told}
    assert (folder / "artifact" / "README.md").exists()
    return result


def lora_size(rank: int) -> int:
    return LAYERS * sum(rank * (d_in + d_out) for d_in, d_out in SIZES.values())


def test_lora_trains_its_formula_and_reloads_with_equal_logits(
    plan_for: Plan, tmp_path: Path, tiny_model: Path
) -> None:
    from peft import PeftModel

    result = run(plan_for(lora={"rank": 4}), tmp_path / "job")
    assert result["trained_parameters"] == lora_size(4)
    assert result["artifact_kind"] == "adapter"
    assert result["held_out_after"]["loss"] < result["held_out_before"]["loss"]
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    before = {name: value.clone() for name, value in base.state_dict().items()}
    ids = torch.tensor([[5, 6, 7, 8]])
    plain = base(ids).logits
    tuned = PeftModel.from_pretrained(base, result["artifact"])
    with_adapter = tuned(ids).logits
    assert not torch.allclose(plain, with_adapter)
    merged = tuned.merge_and_unload()
    assert torch.allclose(merged(ids).logits, with_adapter, atol=1e-5)
    assert all(torch.equal(before[name], value) for name, value in before.items())
    assert (Path(result["artifact"]) / "tensorboard").is_dir()


def test_ia3_trains_its_formula(plan_for: Plan, tmp_path: Path) -> None:
    result = run(plan_for(method="ia3"), tmp_path / "job")
    # keys, values and the inner activations are scaled (arXiv 2205.05638)
    assert result["trained_parameters"] == LAYERS * (KV + KV + INNER)


def test_full_fine_tuning_leaves_frozen_layers_alone(
    plan_for: Plan, tmp_path: Path, tiny_model: Path
) -> None:
    result = run(plan_for(method="full", frozen_layers=[0]), tmp_path / "job")
    assert result["artifact_kind"] == "weights"
    old = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).state_dict()
    new = AutoModelForCausalLM.from_pretrained(result["artifact"], dtype=torch.float32).state_dict()
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert not any(".layers.0." in name for name in changed)
    assert {name for name in old if ".layers.1." in name} <= changed
    assert result["trained_parameters"] < result["parameters"]


@pytest.mark.parametrize("dora", [False, True])
def test_lora_on_chosen_layers_and_modules(plan_for: Plan, dora: bool, tmp_path: Path) -> None:
    plan = plan_for(lora={"rank": 2, "targets": ["q_proj"], "layers": [1], "dora": dora})
    model = load_model(plan, load_tokenizer(plan.base.path))
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    assert all(".layers.1." in name and "q_proj" in name for name in names)
    assert trainable(model)[0] == 2 * (HIDDEN + HIDDEN) + (HIDDEN if dora else 0)


def test_qlora_trains_through_4_bit_weights_after_an_evaluation(plan_for: Plan, tmp_path: Path) -> None:
    """The gradient equals that of a twin with dequantised weights, also after a forward in eval mode."""
    import bitsandbytes as bnb

    plan = plan_for(method="qlora", lora={"rank": 4})
    tokenizer = load_tokenizer(plan.base.path)
    torch.manual_seed(0)
    model = load_model(plan, tokenizer)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    twin = AutoModelForCausalLM.from_pretrained(plan.base.path, dtype=torch.float32)
    for name, module in model.named_modules():
        if isinstance(module, bnb.nn.Linear4bit) and name.endswith("base_layer"):
            path = name.removeprefix("base_model.model.").removesuffix(".base_layer")
            weight = bnb.functional.dequantize_4bit(module.weight.data, module.weight.quant_state)
            twin.get_submodule(path).weight.data.copy_(weight.float())
    from peft import get_peft_model

    other = get_peft_model(twin, model.peft_config["default"])
    other.load_state_dict({k: v for k, v in model.state_dict().items() if "lora_" in k}, strict=False)
    ids = torch.tensor([[5, 6, 7, 8, 9, 10]])
    model.eval()
    with torch.no_grad():
        model(ids)
    gradients = []
    for each in (model, other):
        each.train()
        each(input_ids=ids, labels=ids).loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for n, p in each.named_parameters() if "lora_" in n]))
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.99
    result = run(plan, tmp_path / "job")
    assert result["trained_parameters"] == lora_size(4)
    saved = load_file(Path(result["artifact"]) / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.float32}


def test_tool_tokens_train_new_rows_alone(plan_for: Plan, tmp_path: Path, tiny_model: Path) -> None:
    plan = plan_for(method="tool_tokens", tool_tokens={"tokens": ["<날씨>", "<search>"]})
    result = run(plan, tmp_path / "job")
    old = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    new = AutoModelForCausalLM.from_pretrained(result["artifact"], dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(result["artifact"])
    assert tokenizer.tokenize("오늘 <날씨>")[-1] == "<날씨>"
    size = old.get_input_embeddings().weight.shape[0]
    assert torch.equal(new.get_input_embeddings().weight[:size], old.get_input_embeddings().weight)
    assert result["trained_parameters"] == 2 * HIDDEN
    with pytest.raises(CannotTrain, match="has <날씨>, <search> already"):
        load_model(plan, tokenizer)


@pytest.mark.parametrize("method", ["head", "lora"])
def test_classifiers_learn_labels(plan_for: Plan, method: str, tmp_path: Path) -> None:
    plan = plan_for("labelled", objective="classify", method=method, optimiser={"max_steps": 6})
    result = run(plan, tmp_path / "job")
    assert result["labels"] == ["배송", "환불"]
    assert 0 <= result["held_out_after"]["accuracy"] <= 1
    if method == "head":
        assert result["trained_parameters"] == 2 * HIDDEN
        model = AutoModelForSequenceClassification.from_pretrained(result["artifact"])
        assert model.config.id2label == {0: "배송", 1: "환불"}


@pytest.mark.parametrize(
    ("objective", "kind", "start", "method"),
    [
        ("dpo", "preference", math.log(2), "lora"),
        ("kto", "kto", 0.5, "lora"),
        ("reward", "preference", None, "lora"),
        ("reward", "preference", None, "qlora"),
    ],
)
def test_preferences_start_at_their_known_loss(
    plan_for: Plan, objective: str, kind: str, start: float | None, method: str, tmp_path: Path
) -> None:
    result = run(plan_for(kind, objective=objective, method=method, lora={"rank": 4}), tmp_path / "job")
    measured = result["held_out_before"]["loss"]
    if start is None:
        assert measured == pytest.approx(math.log(2), abs=0.15)
    else:
        assert measured == pytest.approx(start, abs=1e-4)
    assert result["held_out_after"]["loss"] < measured
    assert result["tokens"] > 0


@pytest.mark.parametrize("objective", ["rloo", "grpo"])
def test_reinforcement_runs_with_a_rule(plan_for: Plan, objective: str, tmp_path: Path) -> None:
    plan = plan_for(
        "prompts",
        objective=objective,
        reinforcement={"rule": "short", "answers": 2, "max_answer_tokens": 8},
        optimiser={"max_steps": 2},
    )
    result = run(plan, tmp_path / "job")
    assert result["steps"] == 2
    assert result["held_out_after"] == {}


def test_weights_keep_the_format_that_their_base_had_by_its_name(
    plan_for: Plan, store: Store, tiny_model: Path, tmp_path: Path
) -> None:
    base = tmp_path / "vicuna-7b-v1.5"
    shutil.copytree(tiny_model, base, ignore=shutil.ignore_patterns("chat_template.jinja"))
    enter(store, ModelSpec(name="mine", source=str(base)), store.data_dir)
    plan = plan_for(base="mine", method="full", optimiser={"max_steps": 1})
    result = run(plan, tmp_path / "job")
    assert (result["prompt_format"], result["prompt_format_from"]) == ("vicuna-v1.1", "registry")
    assert trained_spec(plan, result).prompt_format == "vicuna-v1.1"
    template = (Path(result["artifact"]) / "prompt_template.jinja").read_text(encoding="utf-8")
    assert template == built_in()["vicuna-v1.1"].template


def test_a_full_disk_is_told_before_the_first_step(
    plan_for: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1_000))
    with pytest.raises(CannotTrain, match=r"disk are left.*make room and resume") as caught:
        run(plan_for(), tmp_path / "job")
    assert caught.value.kind == "disk_full"


def test_pretraining_packs_plain_text(plan_for: Plan, tmp_path: Path) -> None:
    result = run(
        plan_for("text", objective="pretrain", optimiser={"packing": True, "max_length": 64}),
        tmp_path / "job",
    )
    assert result["train_loss"] < result["first_loss"]


def test_distillation_mixes_hard_and_soft_targets(plan_for: Plan, tiny_model: Path, tmp_path: Path) -> None:
    """A teacher equal to the student adds no soft loss, so the loss is alpha of the plain one."""
    mixed = plan_for(objective="distill", distillation={"teacher": "tiny", "alpha": 0.25, "temperature": 2})
    plain = plan_for(objective="sft")
    loss = {}
    for name, plan in (("mixed", mixed), ("plain", plain)):
        loss[name] = run(plan, tmp_path / name)["held_out_before"]["loss"]
    assert loss["mixed"] == pytest.approx(0.25 * loss["plain"], rel=1e-3)


def test_soft_loss_is_the_divergence() -> None:
    from trainers.methods._distill import soft_loss

    torch.manual_seed(0)
    student, teacher = torch.randn(2, 5, 7), torch.randn(2, 5, 7)
    labels = torch.tensor([[-100, 1, 2, -100, 3], [-100, -100, 4, 5, 6]])
    p, q = torch.softmax(teacher / 3, -1), torch.softmax(student / 3, -1)
    kl = (p * (p / q).log()).sum(-1)[:, :-1][labels[:, 1:] != -100].mean() * 9
    assert soft_loss(student, teacher, labels, 3.0) == pytest.approx(float(kl), rel=1e-5)
