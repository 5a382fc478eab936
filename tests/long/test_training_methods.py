"""Every method with every objective that fits it, on SmolLM2-135M: the loss falls, exactly the right tensors change,
what was saved gives equal logits again, and it answers in the arena. Sampling many answers is too slow there on two
cores: the grid of RLOO and GRPO runs on a small model made on the spot, and one training of each on SmolLM2 with a
reward model.

ARENA_EVIDENCE=docs/evidence writes the table there.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BitsAndBytesConfig,
)

from arena.engines.base import Generation, GenerationRequest, Sampling
from arena.engines.pool import EnginePool
from arena.engines.spec import ModelSpec
from arena.roster import current, enter
from prompt_formats import Conversation
from results.ids import new_id
from results.store import Store, open_store
from tests.long.method_cases import (
    CASES,
    MODEL,
    RATED,
    RATES,
    ROWS,
    SAMPLED,
    STARTS,
    Case,
    is_trained,
    trained_by_formula,
)
from tests.trainers.tiny_models import save_tiny
from trainers.datasets import add_dataset
from trainers.jobs import enqueue, follow, job_folder, metrics
from trainers.lineage import trained_spec
from trainers.methods import training
from trainers.methods._loading import keep_differentiable
from trainers.methods._qat import prepare
from trainers.plan import TrainingPlan, make_plan
from trainers.recipes import make_recipe

pytestmark = [pytest.mark.long, pytest.mark.model, pytest.mark.timeout(1_800)]


@dataclass
class Seen:
    """A model as training had it: digests of its tensors before and after, which were trained, logits at the end."""

    before: dict[str, str] = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)
    trained: set[str] = field(default_factory=set)
    logits: torch.Tensor | None = None


@dataclass
class Workplace:
    """Where all cases train, answer and are written down."""

    store: Store
    pool: EnginePool
    lines: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def place(
    model_data_dir: Path, smollm2_spec: ModelSpec, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workplace]:
    data = tmp_path_factory.mktemp("training") / "data"
    data.mkdir()
    (data / "models").symlink_to(model_data_dir / "models")
    small = save_tiny(data.parent / "small", hidden=64)
    pool = EnginePool(data, dtype="float32")
    with open_store(data) as store:
        enter(store, smollm2_spec.model_copy(update={"licence": "apache-2.0"}), data)
        enter(store, ModelSpec(name="small", source=str(small), licence="apache-2.0"), data)
        for name, rows in ROWS.items():
            file = data.parent / f"{name}.jsonl"
            file.write_text(
                "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
            )
            add_dataset(store, file, name, licence="cc0-1.0", held_out_share=0.25)
        for base in current(store):  # so that adapters on them find their weights loaded
            for quantisation in ("none", "nf4"):
                pool.get(base.spec.model_copy(update={"quantisation": quantisation}))
        place = Workplace(store, pool)
        yield place
        asyncio.run(pool.close())
    _write_down(place.lines)
    shutil.rmtree(data, ignore_errors=True)


@pytest.fixture(scope="module")
def teacher(place: Workplace) -> None:
    """SmolLM2 after a short training of all weights, as a model of the roster."""
    plan = _plan(place, Case("sft", "full", {"name": "teacher"}))
    result, _ = _train(place, plan)
    enter(place.store, trained_spec(plan, result), place.store.data_dir, owner="trainer")


@pytest.fixture(scope="module")
def rewarder(place: Workplace) -> None:
    """A reward model that likes "Yes"."""
    plan = _plan(place, Case("reward", "lora", {"name": "rewarder", "optimiser": {"max_steps": 10}}))
    result, _ = _train(place, plan)
    assert result["held_out_after"]["accuracy"] == 1.0


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_learns_changes_what_it_should_and_answers(
    case: Case, place: Workplace, request: pytest.FixtureRequest
) -> None:
    if case.objective == "distill":
        request.getfixturevalue("teacher")
    if "reward_model" in case.more.get("reinforcement", {}):
        request.getfixturevalue("rewarder")
    began = time.monotonic()
    plan = _plan(place, case)
    result, seen = _train(place, plan)
    trained = time.monotonic() - began

    start, end = _progress(place, case, result)
    assert end > start if case.objective in SAMPLED else end < start
    if case.objective in STARTS:
        expected, near = STARTS[case.objective]
        assert result["held_out_before"]["loss"] == pytest.approx(expected, abs=near)
    changed = {name for name in seen.before if seen.before[name] != seen.after[name]}
    assert changed == seen.trained == {name for name in seen.before if is_trained(case, name)}
    assert result["trained_parameters"] == trained_by_formula(case, plan, result)
    if case.method in ("full", "head", "tool_tokens"):
        _saved_as_it_should(case, plan, result)

    tokenizer = AutoTokenizer.from_pretrained(result["artifact"])
    model = _reloaded(case, plan, result)
    assert seen.logits is not None
    difference = float((_probe(model, tokenizer) - seen.logits).abs().max())
    assert difference <= 1e-4 * float(seen.logits.abs().max())
    if case.method == "full" and "qat" not in case.more:
        assert difference == 0
    answer = _answer(case, place, plan, result, model, tokenizer)
    place.lines.append(
        f"{case.name:24}{case.model:9}{len(changed):>6}/{len(seen.before):<6}{result['trained_parameters']:>13,}"
        f"{start:>10.4f}{end:>10.4f}{difference:>10.1e}{trained:>7.0f}  {answer}"
    )
    shutil.rmtree(Path(result["artifact"]).parent)


def test_two_processes_train_as_one_with_twice_the_batch(place: Workplace) -> None:
    """torchrun with gloo: both see the same rows in the same order, so the first steps cost the same."""
    values = {
        "base": "small",
        "dataset": "chat",
        "method": "full",
        "evaluation": {"every_steps": 4, "rows": 8},
    }
    optimiser = {"max_steps": 8, "gradient_accumulation": 1, "learning_rate": 1e-3, "warmup_share": 0}
    found = {}
    for processes in (1, 2):
        recipe = make_recipe(
            {
                **values, "name": f"torchrun-{processes}", "processes": processes, "checkpoint_every": 4,
                "optimiser": {**optimiser, "batch_size": 4 // processes},
            }
        )  # fmt: skip
        job = list(follow(place.store, enqueue(place.store, recipe).id, every=0.5))[-1]
        assert job.state == "done", job.error
        losses = [row["loss"] for row in metrics(place.store.data_dir, job.id) if "loss" in row]
        folder = Path(job.result["artifact"])
        found[processes] = (losses, job.result["tokens"], load_file(folder / "model.safetensors"))
        assert len(losses) == 8
    (one, tokens, weights), (two, of_both, other) = found[1], found[2]
    assert one == pytest.approx(two, abs=0.02)
    assert of_both == pytest.approx(tokens, rel=0.2)
    far = max(float((weights[name] - other[name]).abs().max()) for name in weights)
    place.lines.append(
        f"torchrun, 2 processes (gloo), small model: loss {two[0]:.4f} -> {two[-1]:.4f}; one process with twice the "
        f"batch {one[0]:.4f} -> {one[-1]:.4f}; weights differ by {far:.1e} at most"
    )


def _plan(place: Workplace, case: Case) -> TrainingPlan:
    optimiser = {
        "max_steps": 6, "batch_size": 2, "gradient_accumulation": 1, "learning_rate": RATES[case.method],
        "schedule": "constant", "warmup_share": 0, "max_length": 96,
    }  # fmt: skip
    recipe = {
        "name": case.name, "base": case.model, "dataset": case.dataset, "objective": case.objective,
        "method": case.method, "lora": {"rank": 8}, "evaluation": {"every_steps": 0, "rows": 4},
        "checkpoint_every": 1_000, **case.more, "optimiser": optimiser | case.more.get("optimiser", {}),
    }  # fmt: skip
    return make_plan(place.store, place.store.data_dir, make_recipe(recipe))


def _train(place: Workplace, plan: TrainingPlan) -> tuple[dict[str, Any], Seen]:
    """Train in a folder of the queue's, and look at the model's tensors before the first step and after the last."""
    folder = job_folder(place.store.data_dir, new_id())
    folder.mkdir(parents=True)
    seen = Seen()
    load, save, arguments = training.load_model, training._save, training.common_arguments

    def loading(*given: Any) -> Any:
        model = load(*given)
        seen.before = _digests(model)
        seen.trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        return model

    def saving(plan: TrainingPlan, trainer: Any, tokenizer: Any, out: Path) -> None:
        model = trainer.accelerator.unwrap_model(trainer.model)
        seen.after = _digests(model)
        seen.logits = _probe(model, tokenizer)
        save(plan, trainer, tokenizer, out)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "load_model", loading)
        patch.setattr(training, "_save", saving)
        # Checkpoints of all weights with their moments take longer than these few steps; other tests look at them.
        patch.setattr(
            training, "common_arguments", lambda *a, **k: {**arguments(*a, **k), "save_strategy": "no"}
        )
        result = training.train(plan, place.store.data_dir, folder, lambda told: None)
    return result, seen


def _digests(model: Any) -> dict[str, str]:
    found = {}
    for name, parameter in model.named_parameters():
        raw = parameter.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        found[name] = hashlib.blake2b(raw, digest_size=16).hexdigest()
    return found


def _probe(model: Any, tokenizer: Any) -> torch.Tensor:
    ids = torch.tensor([tokenizer("What colour is box 7? 7번 상자 색은?")["input_ids"]])
    training_mode = model.training
    model.eval()
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=ids).logits.clone()
    model.train(training_mode)
    return logits


def _progress(place: Workplace, case: Case, result: dict[str, Any]) -> tuple[float, float]:
    """Held-out loss before and after; of sampled answers the mean reward of the first and of the last quarter."""
    if case.objective not in SAMPLED:
        return result["held_out_before"]["loss"], result["held_out_after"]["loss"]
    rows = metrics(place.store.data_dir, UUID(Path(result["artifact"]).parent.name))
    rewards = [row["reward"] for row in rows if "reward" in row]
    quarter = max(2, len(rewards) // 4)
    return sum(rewards[:quarter]) / quarter, sum(rewards[-quarter:]) / quarter


def _saved_as_it_should(case: Case, plan: TrainingPlan, result: dict[str, Any]) -> None:
    """The weights on disk beside those of the base: all of them moved, or none but the new ones."""
    old = load_file(plan.base.path / "model.safetensors")
    new = load_file(Path(result["artifact"]) / "model.safetensors")
    embeddings = "model.embed_tokens.weight"
    if case.method == "tool_tokens":
        size = old[embeddings].shape[0]
        new[embeddings] = new[embeddings][:size]
    same = {name for name in old if name in new and torch.equal(old[name].float(), new[name].float())}
    assert same == (set() if case.method == "full" else set(old) & set(new))
    assert set(new) >= set(old) - {"lm_head.weight"}


def _reloaded(case: Case, plan: TrainingPlan, result: dict[str, Any]) -> Any:
    kind: Any = AutoModelForSequenceClassification if case.objective in RATED else AutoModelForCausalLM
    options: dict[str, Any] = {"dtype": torch.float32}
    if case.objective in RATED:
        options["num_labels"] = len(result["labels"]) or 1
    if result["artifact_kind"] == "weights":
        model = kind.from_pretrained(result["artifact"], **options).eval()
        if plan.recipe.qat == "int8":
            prepare(model)
        return model
    if case.method == "qlora":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
        )  # fmt: skip
    from peft import PeftModel

    base = kind.from_pretrained(plan.base.path, **options)
    keep_differentiable(base)
    return PeftModel.from_pretrained(base, result["artifact"]).eval()


def _answer(
    case: Case, place: Workplace, plan: TrainingPlan, result: dict[str, Any], model: Any, tokenizer: Any
) -> str:
    """What it says in the arena (as transformers says it, where nothing is quantised); what a head tells of a text."""
    if case.objective in RATED:
        asked = ROWS["labelled"][0]["text"] if case.objective == "classify" else "Yes"
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([tokenizer(asked)["input_ids"]])).logits[0]
        if case.objective == "reward":
            return f"accuracy {result['held_out_after']['accuracy']:.2f}"
        assert result["labels"][int(logits.argmax())] == "refund"
        return f"refund; accuracy {result['held_out_after']['accuracy']:.2f}"
    spec = trained_spec(plan, result)
    entered = enter(place.store, spec, place.store.data_dir, owner="trainer")
    request = GenerationRequest(
        conversation=Conversation().add("user", ROWS[case.dataset][1].get("prompt", "7번 상자 색은?")),
        sampling=Sampling(temperature=0, max_tokens=10),
    )

    async def ask() -> Generation:
        try:
            return (await place.pool.get(entered.spec).generate([request]))[0]
        finally:
            await place.pool.unload(entered.spec)

    told = asyncio.run(ask())
    assert told.completion_tokens
    if plan.recipe.qat == "none" and case.method != "qlora":
        ids = torch.tensor([tokenizer(told.rendered_prompt, add_special_tokens=False)["input_ids"]])
        model.config.use_cache = True
        with torch.no_grad():
            written = model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=10, do_sample=False
            )
        expected = tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True)
        # A character that is not whole yet is not shown.
        assert told.text.strip("\ufffd \n") == expected.strip("\ufffd \n")
    if case.method == "tool_tokens":
        assert "<add>" in told.text
    return json.dumps(told.text, ensure_ascii=False)


COLUMNS = (
    f"{'training':24}{'model':9}{'tensors':>13}{'trained':>13}{'start':>10}{'end':>10}{'logits':>10}{'s':>7}"
)
HEAD = """{count} of {all} trainings, each as it ran last. smollm2 is SmolLM2-135M-Instruct in float32, small a random
Llama of two layers of 64 made on the spot; 6 steps of 2 rows (others: tests/long/method_cases.py).

tensors  how many of all the training changed, by digests before and after: exactly those that the method trains
trained  their parameters, equal to the method's formula
start    held-out loss before and after; rloo and grpo: mean reward of the first and of the last quarter of the steps
         (small: the share of Hangul; smollm2: a reward model, trained just before, that likes "Yes")
logits   the largest difference after saving and loading again
s        seconds of training, with loading, both evaluations and saving
answer   of the arena's engine, equal to transformers' own greedy text where nothing is quantised

"""


def _write_down(lines: list[str]) -> None:
    """Into the evidence, where lines of trainings that did not run this time stay."""
    folder = os.environ.get("ARENA_EVIDENCE")
    if not folder or not lines:
        return
    file = Path(folder) / ("training-methods-small.txt" if MODEL == "small" else "training-methods.txt")
    before = file.read_text(encoding="utf-8").split("\n") if file.exists() else []
    found = {line.split()[0]: line for line in [*before, *lines] if line.strip()}
    order = [*(case.name for case in CASES), "torchrun,"]
    told = [found[name] for name in order if name in found]
    text = HEAD.format(count=len(told), all=len(CASES) + 1) + "\n".join([f"{COLUMNS}  answer", *told]) + "\n"
    file.write_text(text, encoding="utf-8")
