"""Merging an adapter into its base: same answers, everything beside the weights comes along, refusals say why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from arena.engines.base import EngineRejected
from arena.engines.merging import merge_adapter
from arena.engines.spec import ModelSpec
from tests.arena.engines.made_models import save_tiny_llama

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def spec(smollm2_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    root = tmp_path_factory.mktemp("merging")
    base = save_tiny_llama(root / "base", smollm2_dir)
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    torch.manual_seed(1)
    config = LoraConfig(
        target_modules=["q_proj", "down_proj"], init_lora_weights=False, task_type="CAUSAL_LM"
    )
    get_peft_model(model, config).save_pretrained(root / "adapter")
    (root / "adapter" / "chat_template.jinja").write_text("질문: {{ messages[0]['content'] }}\n답:")
    return ModelSpec(name="tuned", source=str(base), adapter=str(root / "adapter"))


def logits(folder: Path, adapter: str | None = None) -> Any:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    with torch.inference_mode():
        return model.eval()(input_ids=torch.tensor([[1, 300, 4000, 22]])).logits


def test_a_merged_model_answers_as_the_base_with_its_adapter(spec: ModelSpec, tmp_path: Path) -> None:
    merged = merge_adapter(spec, tmp_path, tmp_path / "merged")
    assert merged.difference < 1e-3
    base = Path(spec.source)
    expected = logits(base, spec.adapter)
    assert torch.allclose(logits(merged.folder), expected, atol=1e-4)
    assert not torch.allclose(logits(base), expected, atol=1e-2)
    names = {file.name for file in merged.folder.iterdir()}
    assert {"config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja"} <= names
    assert "adapter_config.json" not in names
    assert (merged.folder / "chat_template.jinja").read_text().startswith("질문")
    with pytest.raises(EngineRejected, match="not empty"):
        merge_adapter(spec, tmp_path, merged.folder)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"quantisation": "nf4"}, "runs its base as nf4: an adapter cannot be added to rounded weights"),
        ({"adapter": None}, "has no adapter"),
    ],
)
def test_what_cannot_be_merged_is_refused(
    spec: ModelSpec, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    with pytest.raises(EngineRejected, match=says):
        merge_adapter(spec.model_copy(update=change), tmp_path, tmp_path / "merged")
    assert list(tmp_path.iterdir()) == []


def test_a_base_that_is_stored_quantised_is_refused_and_nothing_is_left(
    spec: ModelSpec, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    quantised: Any = AutoModelForCausalLM.from_pretrained(
        spec.source, quantization_config=BitsAndBytesConfig(load_in_8bit=True), device_map={"": "cpu"}
    )
    quantised.save_pretrained(tmp_path / "base")
    assert "quantization_config" in json.loads((tmp_path / "base" / "config.json").read_text())
    with pytest.raises(EngineRejected, match="stored quantised"):
        merge_adapter(
            spec.model_copy(update={"source": str(tmp_path / "base")}), tmp_path, tmp_path / "merged"
        )
    assert [path.name for path in tmp_path.iterdir()] == ["base"]
