"""Models made on the spot: small random Llamas, and folders that hold headers alone."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any


def save_tiny_llama(
    folder: Path, tokenizer_from: Path, seed: int = 0, hidden: int = 64, tied: bool = True
) -> Path:
    """Save a random two-layer Llama (a few MB) with the tokenizer of the model in `tokenizer_from`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=49152,
        max_position_embeddings=512,
        tie_word_embeddings=tied,
        bos_token_id=1,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    for file in tokenizer_from.iterdir():
        if "token" in file.name or file.suffix == ".jinja":
            shutil.copy(file, folder)
    return folder


def save_headers(folder: Path, config: dict[str, Any], shapes: dict[str, list[int]]) -> Path:
    """A model folder whose weights are headers alone: what an estimate reads."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    entries = {
        name: {"dtype": "BF16", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()
    }
    header = json.dumps(entries).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    return folder


def small_model() -> tuple[dict[str, Any], dict[str, list[int]]]:
    """A config and shapes for `save_headers`: a model of 6 MB."""
    config = {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 49152}
    return config, {"model.embed_tokens.weight": [49152, 64], "model.layers.0.mlp.up_proj.weight": [128, 64]}
