"""Loading weights: device, dtype, quantisation, tokenizer. Runs in worker processes only."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import inspect
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GgufConfig,
    TorchAoConfig,
)

from arena.engines.local_adapters import Adapters
from arena.engines.local_static_int8 import INPUT_SCALES, input_scales, make_static
from arena.engines.memory import CACHE_GROWTH, PLANNED_TOKENS
from arena.engines.protocol import WorkerConfig

BF16_FLAGS = {"amx_bf16", "avx512_bf16"}
CACHE_SHARE = 0.4
"""Of the memory that is free after loading; other models and the rest of the machine need some too."""
CAN_BE_JOINED = {"full_attention", "sliding_attention", "chunked_attention"}


class CannotLoad(Exception):
    """The model cannot be loaded; the message is for people."""


@dataclass(frozen=True)
class LoadedModel:
    """A causal language model in memory, with what decoding needs to know of it.

    `stop_ids` end an answer. `joinable` says whether rows of different lengths can share a batch (attention
    caches can be padded, recurrent states cannot). `cache_tokens` is how many tokens of all rows together
    memory is set aside for, `token_bytes` what the keys and values of one take.
    `decoder` makes another loop than ours from this model (CTranslate2).
    """

    model: Any
    adapters: Adapters
    tokenizer: Any
    device: torch.device
    dtype: torch.dtype
    dtype_reason: str
    context_length: int
    stop_ids: frozenset[int]
    joinable: bool
    trims_logits: bool
    memory: int
    cache_tokens: int
    token_bytes: int
    decoder: Any = None


def load(config: WorkerConfig, progress: Callable[[str], None]) -> LoadedModel:
    """Load what `config` names. `progress` is called with what is being done, in words.

    Raises `CannotLoad` where files are missing or cannot be used. Code that comes with a model is never run.
    """
    folder, gguf = (
        (config.path.parent, config.path.name) if config.path.suffix == ".gguf" else (config.path, None)
    )
    if gguf is None and not (folder / "config.json").is_file():
        raise CannotLoad(f"{folder} is no model folder: it has no config.json")
    device = choose_device(config.device)
    dtype, reason = choose_dtype(config, device)
    progress("reading the tokenizer")
    shared: dict[str, Any] = {"trust_remote_code": False, **({"gguf_file": gguf} if gguf else {})}
    tokenizer = AutoTokenizer.from_pretrained(folder, **shared)
    progress("loading the weights")
    model = _model(folder, gguf, config, dtype, device, shared)
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    generation = model.generation_config
    token_bytes = _token_bytes(model.config, dtype)
    _give_back_freed_memory()
    return LoadedModel(
        model=model,
        adapters=Adapters(model),
        tokenizer=tokenizer,
        device=device,
        dtype=dtype,
        dtype_reason=reason,
        context_length=context_length(model.config, config.context_length),
        stop_ids=stop_ids(generation.eos_token_id, tokenizer.eos_token_id),
        joinable=_joinable(model),
        trims_logits="logits_to_keep" in inspect.signature(model.forward).parameters,
        memory=int(model.get_memory_footprint()),
        cache_tokens=_cache_tokens(token_bytes, device),
        token_bytes=token_bytes,
    )


def versions() -> dict[str, str]:
    """The versions of the libraries that shape an answer."""
    names = ("torch", "transformers", "tokenizers", "bitsandbytes", "peft")
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def choose_device(wanted: str) -> torch.device:
    """CUDA, then Apple's MPS, then the CPU, unless one is asked for."""
    if wanted != "auto":
        return torch.device(wanted)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def choose_dtype(config: WorkerConfig, device: torch.device) -> tuple[torch.dtype, str]:
    """The dtype to compute in, and why: bfloat16 where the hardware really has it, else float32."""
    if config.dtype != "auto":
        return getattr(torch, config.dtype), "asked for"
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported():
            return torch.bfloat16, "the GPU computes in bfloat16"
        return torch.float16, "the GPU has no bfloat16"
    if device.type == "mps":
        return torch.float16, "float16 on MPS"
    if config.quantisation == "torchao-int8":
        return torch.float32, "torchao's int8 answers worse, and slowly, in bfloat16 on a CPU"
    flags = BF16_FLAGS & _cpu_flags()
    if not flags:
        return torch.float32, "the CPU has no bfloat16 instructions"
    ratio, error = probe_bf16()
    if error > 0.03 or ratio < 0.8:
        return torch.float32, f"bfloat16 ran at {ratio:.2f} times float32's speed, error {error:.1%}"
    return torch.bfloat16, f"the CPU has {', '.join(sorted(flags))} and a probe agreed"


def probe_bf16(seconds: float = 0.15) -> tuple[float, float]:
    """How fast and how exact bfloat16 is here: (speed as a multiple of float32's, largest relative error).

    The shapes are those of one decoded token and of a short prompt in a small model.
    """
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(2048, 1024, generator=generator) / 32
    inputs = [torch.randn(rows, 1024, generator=generator) for rows in (1, 64)]
    spent, outputs = {}, {}
    with torch.inference_mode():
        for dtype in (torch.float32, torch.bfloat16):
            w, xs = weight.to(dtype), [x.to(dtype) for x in inputs]
            outputs[dtype] = [(x @ w.T).float() for x in xs]  # also the warm-up
            rounds, start = 0, time.perf_counter()
            while (elapsed := time.perf_counter() - start) < seconds:
                for x in xs:
                    x @ w.T
                rounds += 1
            spent[dtype] = elapsed / rounds
    pairs = zip(outputs[torch.float32], outputs[torch.bfloat16], strict=True)
    error = max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs)
    return spent[torch.float32] / spent[torch.bfloat16], error


def _model(
    folder: Path,
    gguf: str | None,
    config: WorkerConfig,
    dtype: torch.dtype,
    device: torch.device,
    shared: Any,
) -> Any:
    quantise: Any = None
    scales: dict[str, float] | None = None
    quantisation = config.quantisation
    if gguf and quantisation != "none":
        raise CannotLoad(
            "a GGUF file is quantised already: use quantisation 'none', or convert it to a folder"
        )
    if gguf:
        quantise = GgufConfig(dequantize=True)
    elif quantisation == "nf4":
        quantise = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    elif quantisation == "int8":
        quantise = BitsAndBytesConfig(load_in_8bit=True)
    elif quantisation == "torchao-int8":
        scales = input_scales(folder)
        quantise = _torchao_int8() if scales is None else None
    about = AutoConfig.from_pretrained(folder, **shared)
    if getattr(about, "is_encoder_decoder", False):
        raise CannotLoad("this is an encoder-decoder model; the arena runs decoder-only language models")
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        quantization_config=quantise,
        **_placement(config.devices, device, quantise is not None and gguf is None),
        **shared,
    )
    if config.devices == "one" and model.device.type != device.type:
        model = model.to(device)
    if scales is not None:
        _make_static(model, scales, folder)
    return model


def _placement(devices: str, device: torch.device, quantised: bool) -> dict[str, Any]:
    """How `from_pretrained` is to place the weights: on one device, layers spread over all GPUs, or each layer's
    matrices split among them (which needs the worker to be started by torchrun)."""
    if devices == "spread":
        return {"device_map": "auto"}
    if devices == "split":
        return {"tp_plan": "auto"}
    return {"device_map": {"": device} if quantised else None}


def _torchao_int8() -> Any:
    try:
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig
    except ImportError:
        raise CannotLoad("torchao-int8 needs torchao: pip install torchao") from None
    return TorchAoConfig(Int8DynamicActivationInt8WeightConfig())


def _make_static(model: Any, scales: dict[str, float], folder: Path) -> None:
    try:
        make_static(model, scales)
    except ImportError:
        raise CannotLoad("torchao-int8 needs torchao: pip install torchao") from None
    except KeyError as error:
        raise CannotLoad(f"{folder / INPUT_SCALES} names {error}, which this model does not have") from None


def _give_back_freed_memory() -> None:
    """Loading and quantising free hundreds of MB that the C library would keep for itself."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # a C library other than glibc has no such call
            ctypes.CDLL(None).malloc_trim(0)


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux: there is no such file, and then no x86 flags to be found this way
        return set()
    return {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split()}


def free_memory(device: torch.device) -> int:
    """Bytes that are free where `device` computes."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    return psutil.virtual_memory().available


def _token_bytes(config: Any, dtype: torch.dtype) -> int:
    text = config.get_text_config(decoder=True)
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return int(2 * text.num_hidden_layers * heads * size * dtype.itemsize * CACHE_GROWTH)


def _cache_tokens(token_bytes: int, device: torch.device) -> int:
    """What was planned for, unless the machine has less to give by now."""
    return min(PLANNED_TOKENS, int(free_memory(device) * CACHE_SHARE / token_bytes))


def context_length(config: Any, limit: int | None) -> int:
    """The context in tokens: what the model knows, or fewer. Raises `CannotLoad` where neither is told."""
    text = config.get_text_config(decoder=True)
    known = getattr(text, "max_position_embeddings", None) or getattr(text, "n_positions", None)
    lengths = [length for length in (known, limit) if length]
    if not lengths:
        raise CannotLoad("the model's config names no context length: set context_length")
    return min(lengths)


def stop_ids(*sources: int | list[int] | None) -> frozenset[int]:
    """All ids that end an answer."""
    found: set[int] = set()
    for source in sources:
        if isinstance(source, int):
            found.add(source)
        elif source:
            found.update(source)
    return frozenset(found)


def _joinable(model: Any) -> bool:
    types = getattr(model.config.get_text_config(decoder=True), "layer_types", None) or []
    return not getattr(model, "_is_stateful", False) and set(types) <= CAN_BE_JOINED
