"""Adapters of every kind on one base: each answers as peft alone does, whoever shares the batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from arena.engines.base import Sampling
from arena.engines.local_adapters import CannotAttach
from arena.engines.local_decode import Decoder, Sequence
from arena.engines.local_model import LoadedModel, load
from arena.engines.local_sampling import TokenSampler
from arena.engines.protocol import WorkerConfig
from tests.arena.engines.made_models import save_tiny_llama

pytestmark = pytest.mark.model

TOKENS = 10
PROMPT = [1, 300, 4000, 22, 871, 9]
KINDS = ("lora", "ia3", "second_ia3", "dora", "lm_head", "new_tokens")


def _configs() -> dict[str, Any]:
    from peft import IA3Config, LoraConfig

    lora: dict[str, Any] = {"r": 4, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"]}
    lora |= {"task_type": "CAUSAL_LM", "init_lora_weights": False}
    ia3: dict[str, Any] = {"task_type": "CAUSAL_LM", "init_ia3_weights": False}
    return {
        "lora": LoraConfig(**lora),
        "ia3": IA3Config(**ia3),
        "second_ia3": IA3Config(
            **ia3, target_modules=["o_proj", "down_proj"], feedforward_modules=["down_proj"]
        ),
        "dora": LoraConfig(**lora, use_dora=True),
        "lm_head": LoraConfig(**lora, modules_to_save=["lm_head"]),
        "new_tokens": LoraConfig(**lora, trainable_token_indices=[300, 871]),
    }


@pytest.fixture(scope="module")
def base(smollm2_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("base") / "tiny", smollm2_dir, tied=False)


@pytest.fixture(scope="module")
def expected(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Path | None, list[int]]:
    """A folder for each kind of adapter (None: no adapter), and what peft alone answers with it."""
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    root = tmp_path_factory.mktemp("adapters")
    found: dict[Path | None, list[int]] = {}
    for seed, (name, config) in enumerate({"": None, **_configs()}.items()):
        model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        torch.manual_seed(seed)
        if config is not None:
            model = get_peft_model(model, config)
            with torch.no_grad():
                for key, parameter in model.named_parameters():
                    if "modules_to_save" in key or "trainable_tokens" in key:
                        parameter.add_(torch.randn_like(parameter) * 0.1)
            model.save_pretrained(root / name)
        ids = torch.tensor([PROMPT])
        output = model.eval().generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=TOKENS
        )
        found[root / name if name else None] = [int(token) for token in output[0, len(PROMPT) :]]
    assert len({tuple(tokens) for tokens in found.values()}) == len(found)
    return found


@pytest.fixture
def loaded(base: Path) -> LoadedModel:
    return load(WorkerConfig(path=base, device="cpu", dtype="float32"), lambda stage: None)


def decode(loaded: LoadedModel, folders: list[Path | None]) -> list[list[int]]:
    decoder = Decoder(loaded)
    sequences = [
        Sequence(
            id=number,
            ids=list(PROMPT),
            sampler=TokenSampler(Sampling(temperature=0), 0),
            max_tokens=TOKENS,
            adapter=loaded.adapters.attach(folder) if folder else None,
        )
        for number, folder in enumerate(folders)
    ]
    for sequence in sequences:
        decoder.add(sequence)
    while decoder.busy:
        for _ in decoder.step():
            pass
    return [sequence.ids[len(PROMPT) :] for sequence in sequences]


Order = Callable[[list[Path | None]], list[Path | None]]


@pytest.mark.parametrize("order", [list, lambda folders: folders[::-1]], ids=["in order", "reversed"])
def test_all_kinds_together_answer_as_each_does_alone(
    loaded: LoadedModel, expected: dict[Path | None, list[int]], order: Order
) -> None:
    folders = order([*expected, *expected])  # twice: those that cannot be mixed share a batch with themselves
    assert decode(loaded, folders) == [expected[folder] for folder in folders]


def test_adapters_come_and_go_on_a_running_base(
    loaded: LoadedModel, expected: dict[Path | None, list[int]]
) -> None:
    folders = [folder for folder in expected if folder]
    for folder in folders:
        assert decode(loaded, [folder, None]) == [expected[folder], expected[None]]
        loaded.adapters.detach(folder, used={loaded.adapters.attach(folder)})  # in use: it stays
        assert decode(loaded, [folder]) == [expected[folder]]
        loaded.adapters.detach(folder, used=set())
        assert decode(loaded, [None]) == [expected[None]]
    assert decode(loaded, folders[::-1]) == [expected[folder] for folder in folders[::-1]]


def test_vectors_for_another_model_are_refused_and_nothing_stays(
    loaded: LoadedModel, smollm2_dir: Path, expected: dict[Path | None, list[int]], tmp_path: Path
) -> None:
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    larger = save_tiny_llama(tmp_path / "larger", smollm2_dir, hidden=96)
    for name in ("ia3", "lora", "dora"):
        model: Any = get_peft_model(AutoModelForCausalLM.from_pretrained(larger), _configs()[name])
        model.save_pretrained(tmp_path / name)
        with pytest.raises(CannotAttach, match=r"does not fit this model \(was it trained on .*larger"):
            loaded.adapters.attach(tmp_path / name)
    assert decode(loaded, [None]) == [expected[None]]
