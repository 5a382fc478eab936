"""Memory estimates against what real models take: footprints that workers reported, and a running worker."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import psutil
import pytest

from arena.engines.base import EngineUnavailable, GenerationRequest, Sampling
from arena.engines.local import LocalEngine
from arena.engines.memory import estimate
from arena.engines.pool import EnginePool
from arena.engines.spec import ModelSpec, Quantisation
from prompt_formats.conversation import Conversation
from tests.arena.engines.made_models import save_headers

MIB = 2**20
GIB = 2**30


@pytest.mark.model
@pytest.mark.parametrize(
    ("quantisation", "dtype_bytes", "footprint"),
    # MiB that a loaded SmolLM2-135M reported (`get_memory_footprint`).
    [
        ("none", 4, 513),
        ("int8", 4, 209),
        ("nf4", 4, 158),
        ("none", 2, 256),
        ("int8", 2, 155),
        ("nf4", 2, 104),
    ],
)
def test_weights_are_what_a_loaded_model_reported(
    smollm2_dir: Path, quantisation: Quantisation, dtype_bytes: int, footprint: int
) -> None:
    found = estimate(smollm2_dir, quantisation=quantisation, dtype_bytes=dtype_bytes)
    assert found.weights / MIB == pytest.approx(footprint, rel=0.05)


@pytest.mark.model
async def test_a_worker_stays_within_its_estimate(engine_pool: EnginePool, smollm2_spec: ModelSpec) -> None:
    engine = engine_pool.get(smollm2_spec)
    assert isinstance(engine, LocalEngine)
    request = GenerationRequest(
        conversation=Conversation().add("user", "word " * 300), sampling=Sampling(temperature=0, max_tokens=4)
    )
    await engine.generate([request] * 6)
    expected = estimate(engine.worker.config.path, dtype_bytes=4)
    used = psutil.Process(engine.worker.pid).memory_info().rss
    assert 0.4 * expected.ram < used < expected.ram


def llama_3_8b() -> tuple[dict[str, Any], dict[str, list[int]]]:
    hidden, inner, kv = 4096, 14336, 1024
    config = {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "num_hidden_layers": 32,
        "vocab_size": 128256,
        "max_position_embeddings": 8192,
    }
    shapes = {"model.embed_tokens.weight": [128256, hidden], "lm_head.weight": [128256, hidden]}
    shapes["model.norm.weight"] = [hidden]
    for layer in range(32):
        at = f"model.layers.{layer}."
        shapes |= {
            f"{at}self_attn.q_proj.weight": [hidden, hidden],
            f"{at}self_attn.k_proj.weight": [kv, hidden],
            f"{at}self_attn.v_proj.weight": [kv, hidden],
            f"{at}self_attn.o_proj.weight": [hidden, hidden],
            f"{at}mlp.gate_proj.weight": [inner, hidden],
            f"{at}mlp.up_proj.weight": [inner, hidden],
            f"{at}mlp.down_proj.weight": [hidden, inner],
            f"{at}input_layernorm.weight": [hidden],
            f"{at}post_attention_layernorm.weight": [hidden],
        }
    return config, shapes


def test_a_large_model_is_estimated_from_its_headers(tmp_path: Path) -> None:
    folder = save_headers(tmp_path / "llama", *llama_3_8b())
    plain = estimate(folder, dtype_bytes=2)
    assert plain.weights == 8_030_261_248 * 2
    assert plain.cache == int(2 * 32 * 1024 * 2 * 16384 * 1.3)
    assert 18 * GIB < plain.ram < 20 * GIB
    small = estimate(folder, dtype_bytes=2, quantisation="nf4", context_length=2048)
    assert 5 * GIB < small.weights < 6 * GIB
    assert small.cache_tokens == 16384
    on_gpu = estimate(folder, dtype_bytes=2, gpu=True)
    assert on_gpu.gpu_memory > on_gpu.weights > on_gpu.ram


def test_a_gguf_file_is_estimated_as_it_will_be_dequantised(tmp_path: Path) -> None:
    import numpy as np
    from gguf import GGUFWriter

    writer = GGUFWriter(tmp_path / "tiny.gguf", "llama")
    writer.add_embedding_length(64)
    writer.add_block_count(2)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_feed_forward_length(128)
    writer.add_context_length(512)
    writer.add_tensor("token_embd.weight", np.zeros((1000, 64), dtype=np.float16))
    writer.add_tensor("blk.0.attn_q.weight", np.zeros((64, 64), dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = estimate(tmp_path / "tiny.gguf", dtype_bytes=4)
    assert found.weights == (64_000 + 4096) * 4
    assert found.cache == int(2 * 2 * (2 * 16) * 4 * 16384 * 1.3)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "holds no"),
        (b"\x00", "cut off"),
        (struct.pack("<Q", 10**9), "cut off"),
        (struct.pack("<Q", 2) + b"[", ""),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path: Path, content: bytes | None, says: str) -> None:
    (tmp_path / "config.json").write_text("{}")
    if content is not None:
        (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(EngineUnavailable, match=f"cannot be read: .*{says}"):
        estimate(tmp_path)
