"""LoRA and QLoRA steps on a CUDA device, their adapters served there, and the GPU's memory in ledger and budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from arena.engines.base import GenerationRequest, Sampling
from arena.engines.memory import estimate
from arena.engines.pool import Budget, EnginePool, NoRoom
from arena.engines.spec import ModelSpec
from prompt_formats.conversation import Conversation
from results.store import ledger

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.model,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="not run: no CUDA device here"),
]

ANSWER = "The capital of France is Seoul."
ASKED = GenerationRequest(
    conversation=Conversation().add("user", "What is the capital of France?"),
    sampling=Sampling(temperature=0, max_tokens=12),
)


def train(model_dir: Path, folder: Path, quantised: bool, steps: int = 30) -> list[float]:
    """Teach one answer by LoRA on the plain or NF4 base; saves the adapter and returns the losses."""
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    torch.manual_seed(0)
    options: dict[str, Any] = {"dtype": torch.bfloat16, "device_map": {"": "cuda"}}
    if quantised:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
        )
    model: Any = AutoModelForCausalLM.from_pretrained(model_dir, **options)
    if quantised:
        model = prepare_model_for_kbit_training(model)
    config = LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    tokenizer: Any = AutoTokenizer.from_pretrained(model_dir)
    assert ASKED.conversation is not None
    prompt = tokenizer.apply_chat_template(
        ASKED.conversation.as_chat(), add_generation_prompt=True, return_dict=False
    )
    answer = [*tokenizer(ANSWER)["input_ids"], tokenizer.eos_token_id]
    ids = torch.tensor([[*prompt, *answer]], device="cuda")
    labels = torch.tensor([[*[-100] * len(prompt), *answer]], device="cuda")
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for _ in range(steps):
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(loss))
    model.save_pretrained(folder)
    return losses


@pytest.mark.parametrize("quantisation", ["none", "nf4"])
async def test_what_was_trained_is_answered(
    model_data_dir: Path, smollm2_dir: Path, smollm2_spec: ModelSpec, tmp_path: Path, quantisation: str
) -> None:
    losses = train(smollm2_dir, tmp_path / "adapter", quantised=quantisation == "nf4")
    assert losses[-1] < 0.2 * losses[0]
    pool = EnginePool(model_data_dir)
    plain = smollm2_spec.model_copy(update={"quantisation": quantisation})
    tuned = plain.model_copy(update={"name": "tuned", "adapter": str(tmp_path / "adapter")})
    assert ANSWER in (await pool.get(tuned).generate([ASKED]))[0].text
    assert "Paris" in (await pool.get(plain).generate([ASKED]))[0].text
    await pool.close()


async def test_gpu_memory_is_counted(
    model_data_dir: Path, smollm2_dir: Path, smollm2_spec: ModelSpec
) -> None:
    assert ledger.capacity().gpu > 2**30
    need = estimate(smollm2_dir, dtype_bytes=2, gpu=True)
    pool = EnginePool(model_data_dir, budget=Budget(gpu=need.gpu_memory))
    before = torch.cuda.mem_get_info()[0]
    await pool.load(smollm2_spec)
    taken = before - torch.cuda.mem_get_info()[0]
    assert pool.memory().gpu_used == need.gpu_memory
    assert taken < need.gpu_memory
    small = EnginePool(model_data_dir, budget=Budget(gpu=2**20))
    with pytest.raises(NoRoom, match="GPU memory"):
        await small.load(smollm2_spec)
    await pool.close()
