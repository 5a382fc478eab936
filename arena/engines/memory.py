"""How much memory a model will take, from its files' headers alone: nothing is loaded, no torch is needed."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arena.engines.base import EngineUnavailable
from arena.engines.spec import Quantisation

OVERHEAD = 512 * 2**20
"""Bytes of a worker process without its model: interpreter, torch, transformers, tokenizer (measured 500 MiB)."""
GPU_HOST_OVERHEAD = 2 * 2**30
"""The same in a process that computes on a GPU: CUDA's libraries map more."""
GPU_OVERHEAD = 600 * 2**20
"""Bytes of GPU memory that a CUDA context takes before the first tensor."""
CACHE_GROWTH = 1.3
"""A cache grows by a quarter at a time, one layer after the other."""
PLANNED_TOKENS = 16384
"""Tokens of prompts and answers, of all rows together, for which memory is set aside."""
MOST_ROWS = 32
"""Answers made at once by one worker."""
READ_TOGETHER = 2048
"""Tokens in one forward pass at most, on a CPU; activations are set aside for them."""
QUANTISED_BITS = {"int8": 8.0, "nf4": 4.127, "torchao-int8": 8.0, "ct2-int8": 8.0}
"""Bits of one weight of a linear layer. NF4 with double quantisation is 4.127 (Dettmers et al. 2023, 4 + 0.127)."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes. `weights` and `cache` lie where the model computes (`gpu` says whether that is a GPU), `working` is
    what activations need there, `host` what the process takes of the machine's memory beside them."""

    weights: int
    cache: int
    working: int
    host: int
    cache_tokens: int
    gpu: bool = False

    @property
    def ram(self) -> int:
        """What the worker takes of the machine's memory."""
        return self.host + (0 if self.gpu else self.weights + self.cache + self.working)

    @property
    def gpu_memory(self) -> int:
        """What the worker takes of the GPU's memory."""
        return self.weights + self.cache + self.working + GPU_OVERHEAD if self.gpu else 0


def estimate(
    path: Path,
    *,
    quantisation: Quantisation = "none",
    dtype_bytes: int = 4,
    context_length: int | None = None,
    cache_tokens: int | None = None,
    gpu: bool = False,
) -> MemoryEstimate:
    """What a worker on the model folder or GGUF file at `path` will take.

    `dtype_bytes` is the size of one number that is not quantised. The cache is planned for `cache_tokens`, by default
    `PLANNED_TOKENS` or what full rows can hold. Raises `EngineUnavailable` where the files cannot be read.
    """
    try:
        shapes = _gguf(path) if path.suffix == ".gguf" else _folder(path)
    except KeyError as error:
        raise EngineUnavailable(
            f"the weights in {path} cannot be sized: the model's config names no {error}"
        ) from error
    except (OSError, ValueError, TypeError, struct.error) as error:
        raise EngineUnavailable(f"the weights in {path} cannot be read: {error}") from error
    context = min(length for length in (context_length, shapes.context, PLANNED_TOKENS) if length)
    planned = cache_tokens or min(PLANNED_TOKENS, MOST_ROWS * context)
    # transformers dequantises GGUF files to the computing dtype.
    linear = QUANTISED_BITS[quantisation] / 8 if quantisation != "none" else dtype_bytes
    rest = 1 if quantisation == "ct2-int8" else dtype_bytes  # CTranslate2 quantises embeddings as well
    weights = shapes.linear * linear + shapes.rest * rest
    each = 2 * shapes.layers * shapes.kv_width * dtype_bytes
    together = min(READ_TOGETHER, max(256, planned))
    # In each layer: hidden states, their normalised copy, queries, attention, residual; gate, up and product.
    activations = together * (8 * shapes.hidden + 4 * shapes.intermediate) * dtype_bytes
    # Logits in float32 with their softmax, at 128 positions.
    logits = 128 * shapes.vocabulary * 4 * 3
    return MemoryEstimate(
        weights=int(weights),
        cache=int(each * planned * CACHE_GROWTH),
        working=int(activations + logits),
        host=GPU_HOST_OVERHEAD if gpu else OVERHEAD,
        cache_tokens=planned,
        gpu=gpu,
    )


def in_words(amount: int) -> str:
    """Bytes for people: "3.1 GiB", "512 MiB"."""
    return f"{amount / 2**30:.1f} GiB" if amount >= 2**30 else f"{amount / 2**20:.0f} MiB"


@dataclass(frozen=True)
class _Shapes:
    """Numbers of weights (in linear layers that quantisation takes, and all others) and what the cache holds."""

    linear: int
    rest: int
    layers: int
    kv_width: int
    hidden: int
    intermediate: int
    vocabulary: int
    context: int | None


def _folder(folder: Path) -> _Shapes:
    if not (folder / "config.json").is_file():
        raise OSError("there is no config.json")
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except ValueError as error:
        raise ValueError(f"config.json is no JSON ({error})") from error
    text = {**config, **config.get("text_config", {})}
    sizes = list(_tensors(folder))
    linear = sum(count for name, count, matrix in sizes if matrix and _is_linear(name))
    heads = text.get("num_key_value_heads") or text.get("num_attention_heads") or text.get("n_head") or 1
    hidden = int(text.get("n_embd") or text["hidden_size"])
    size = text.get("head_dim") or hidden // (text.get("num_attention_heads") or text.get("n_head") or 1)
    return _Shapes(
        linear=linear,
        rest=sum(count for _, count, _ in sizes) - linear,
        layers=text.get("num_hidden_layers") or text.get("n_layer") or 0,
        kv_width=heads * size,
        hidden=hidden,
        intermediate=text.get("intermediate_size") or text.get("n_inner") or 4 * hidden,
        vocabulary=text.get("vocab_size", 0),
        context=text.get("max_position_embeddings") or text.get("n_positions"),
    )


def _is_linear(name: str) -> bool:
    # As transformers leaves them: embeddings and the head keep their dtype.
    return not any(part in name for part in ("embed", "wte", "wpe", "lm_head", "norm"))


def _tensors(folder: Path) -> Iterable[tuple[str, int, bool]]:
    """Name, number of values, and whether it is a matrix, of every tensor."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        older = sorted(folder.glob("pytorch_model*.bin"))
        if not older:
            raise OSError("it holds no *.safetensors and no pytorch_model*.bin files")
        # Pickled weights tell nothing before they are loaded; they are stored in 16 bits, nearly always.
        for file in older:
            yield "weights", file.stat().st_size // 2, True
        return
    for file in files:
        for name, entry in _safetensors_header(file).items():
            if name != "__metadata__":
                yield name, math.prod(entry["shape"]), len(entry["shape"]) >= 2


def _safetensors_header(file: Path) -> dict[str, Any]:
    with file.open("rb") as opened:
        head = opened.read(8)
        if len(head) < 8:
            raise ValueError(f"{file.name} is cut off: it has no header")
        (size,) = struct.unpack("<Q", head)
        if size > file.stat().st_size:
            raise ValueError(f"{file.name} is cut off, or no safetensors file")
        header: dict[str, Any] = json.loads(opened.read(size))
        return header


def _gguf(path: Path) -> _Shapes:
    from gguf import GGUFReader

    reader = GGUFReader(path)

    def field(key: str, default: int | None = None) -> int:
        found = reader.get_field(f"{architecture}.{key}")
        if found is None:
            if default is None:
                raise ValueError(f"its metadata has no {architecture}.{key}")
            return default
        return int(found.contents())

    told = reader.get_field("general.architecture")
    if told is None:
        raise ValueError("its metadata names no architecture")
    architecture = str(told.contents())
    hidden, heads = field("embedding_length"), field("attention.head_count")
    tensors = [(str(t.name), int(t.n_elements), len(t.shape) >= 2) for t in reader.tensors]
    embedding = next((t for t in reader.tensors if t.name == "token_embd.weight"), None)
    linear = sum(count for name, count, matrix in tensors if matrix and name.startswith("blk."))
    return _Shapes(
        linear=linear,
        rest=sum(count for _, count, _ in tensors) - linear,
        layers=field("block_count"),
        kv_width=field("attention.head_count_kv", heads) * field("attention.key_length", hidden // heads),
        hidden=hidden,
        intermediate=field("feed_forward_length", 4 * hidden),
        vocabulary=int(embedding.shape[-1]) if embedding is not None else 0,
        context=field("context_length", PLANNED_TOKENS),
    )
