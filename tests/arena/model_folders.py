"""Folders of models and adapters with real files, tiny, that are looked at and never loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"


def save_model(folder: Path, seed: int = 0, **card: Any) -> Path:
    """A model of 48 parameters in two shards, with an index, a tokenizer that has a template, and a card."""
    folder.mkdir(parents=True)
    config = {
        "architectures": ["LlamaForCausalLM"], "max_position_embeddings": 2048, "dtype": "bfloat16",
        "transformers_version": "5.0",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    shards = {"embed": (4, 8), "head": (4, 4)}
    names = {name: f"model-{n:05}-of-00002.safetensors" for n, name in enumerate(shards, start=1)}
    for name, shape in shards.items():
        save_file({name: np.full(shape, seed, dtype=np.float16)}, folder / names[name])
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    Tokenizer(WordLevel({"a": 0}, unk_token="a")).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    if card:
        save_card(folder, **card)
    return folder


def save_adapter(folder: Path, base: str | None, **card: Any) -> Path:
    """A LoRA adapter of 8 parameters for `base`."""
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "base_model_name_or_path": base}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file({"lora_A": np.zeros((2, 4), dtype=np.float32)}, folder / "adapter_model.safetensors")
    if card:
        save_card(folder, **card)
    return folder


def save_card(folder: Path, **card: Any) -> None:
    """A model card whose front matter holds `card`."""
    (folder / "README.md").write_text(f"---\n{json.dumps(card, ensure_ascii=False)}\n---\n# 모형\n")


def save_gguf(path: Path, **metadata: str) -> Path:
    """A GGUF file of 64 parameters in Q8_0, with `general.*` metadata."""
    from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType

    writer = GGUFWriter(str(path), "llama")
    writer.add_context_length(4096)
    writer.add_file_type(LlamaFileType.MOSTLY_Q8_0)
    writer.add_chat_template(TEMPLATE)
    for key, value in metadata.items():
        writer.add_string(f"general.{key}", value)
    writer.add_tensor("embed", np.zeros((2, 34), dtype=np.uint8), raw_dtype=GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
