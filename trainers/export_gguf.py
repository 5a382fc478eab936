"""A model folder as one GGUF file, for the architectures that are verified by loading the file again.

Written with the `gguf` package, tensor by tensor; conventions are those of llama.cpp's converter: Llama's queries and
keys are permuted, Gemma's norms hold 1 + weight.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict

import trainers
from trainers._tensors import Floats, NoFloats, StoredTensor, stored_tensors

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType, GGUFWriter

GgufType = Literal["f32", "f16", "bf16", "q8_0"]
GGUF_TYPES: tuple[GgufType, ...] = get_args(GgufType)
ARCHITECTURES = {
    "llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3",
    "gemma2": "gemma2", "gemma3_text": "gemma3",
}  # fmt: skip
"""Model types that can be written, and GGUF's names for them."""

_GPT2 = {"ByteLevel"}
# llama.cpp knows how text is cut before BPE by name; these are the patterns of those names.
_PRE = {
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
    "\\s+(?!\\S)|\\s+": "qwen2",
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+": "llama-bpe",
}

OnTensor = Callable[[int, int], None]


class CannotExport(ValueError):
    """This model cannot be written as asked. The message names the architecture or part, and what can be done."""


class GgufExport(BaseModel):
    """A written file: its size in bytes, and how far a logit moved at most (with the largest logit) between the folder
    and the file loaded again."""

    model_config = ConfigDict(frozen=True)

    file: Path
    type: GgufType
    bytes: int
    difference: float
    largest_logit: float


def export_gguf(
    folder: Path, file: Path, kind: GgufType = "f16", *, on_tensor: OnTensor = lambda done, of: None
) -> GgufExport:
    """Write the model in `folder` to `file`, load it again, and compare logits and token ids; only then does `file`
    appear. Raises `CannotExport`, `NoFloats`, FileExistsError."""
    if file.exists():
        raise FileExistsError(f"{file} is there already: choose another name")
    config = json.loads((folder / "config.json").read_bytes())
    tokenizer = _tokenizer(folder)
    _check(config)
    part = file.with_name(f".making-{os.getpid()}-{file.name}")
    try:
        _write(folder, part, kind, config, tokenizer, on_tensor)
        told = _verified(folder, part, kind)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    return GgufExport(file=file, type=kind, bytes=file.stat().st_size, **told)


def _check(config: dict[str, Any]) -> None:
    model_type = config.get("model_type")
    if model_type not in ARCHITECTURES:
        raise CannotExport(
            f"architecture {model_type} is not written as GGUF: only those are that are verified by loading the file "
            f"again ({', '.join(ARCHITECTURES)}). Export a folder instead (--to)"
        )
    if config.get("quantization_config"):
        raise CannotExport("the folder is quantised already: export from full precision")
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    scaling = rope.get("rope_type", rope.get("type", "default"))
    if model_type != "gemma3_text" and scaling != "default":
        raise CannotExport(
            f"rope scaling '{scaling}' cannot be verified in a GGUF file: export a folder (--to)"
        )


def _write(
    folder: Path,
    file: Path,
    kind: GgufType,
    config: dict[str, Any],
    tokenizer: _Vocabulary,
    on_tensor: OnTensor,
) -> None:
    from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, GGMLQuantizationType, GGUFWriter, SpecialVocab
    from gguf.quants import quantize
    from gguf.tensor_mapping import get_tensor_name_map

    name = ARCHITECTURES[config["model_type"]]
    architecture = next(arch for arch in MODEL_ARCH if MODEL_ARCH_NAMES[arch] == name)
    names = get_tensor_name_map(architecture, config["num_hidden_layers"])
    tensors = stored_tensors(folder)
    if config.get("tie_word_embeddings"):
        tensors.pop("lm_head.weight", None)
    writer = GGUFWriter(file, name)
    _describe(writer, folder, config, kind)
    tokenizer.add_to(writer, config["vocab_size"])
    SpecialVocab(folder, load_merges=tokenizer.model == "gpt2").add_to_gguf(writer, quiet=True)
    types = {
        "f32": GGMLQuantizationType.F32, "f16": GGMLQuantizationType.F16,
        "bf16": GGMLQuantizationType.BF16, "q8_0": GGMLQuantizationType.Q8_0,
    }  # fmt: skip

    def stored_as(tensor: StoredTensor) -> GGMLQuantizationType:
        if len(tensor.shape) < 2 or (kind == "q8_0" and tensor.shape[-1] % 32):
            return GGMLQuantizationType.F32
        return types[kind]

    order = []
    for tensor in tensors.values():
        theirs = names.get_name(tensor.name, try_suffixes=(".weight", ".bias"))
        if theirs is None:
            raise CannotExport(f"{tensor.name} has no place in a GGUF file of architecture {name}")
        order.append((theirs, tensor))
    for theirs, tensor in order:
        how = stored_as(tensor)
        shape, dtype = _layout(tensor, how)
        writer.add_tensor_info(theirs, shape, dtype, math.prod(shape) * dtype.itemsize, raw_dtype=how)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for done, (_, tensor) in enumerate(order, start=1):
        writer.write_tensor_data(quantize(_arranged(tensor, config), stored_as(tensor)))
        on_tensor(done, len(order))
    writer.close()


def _layout(tensor: StoredTensor, how: GGMLQuantizationType) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of a tensor as it is written: bytes, where NumPy has no such numbers."""
    from gguf import GGMLQuantizationType
    from gguf.quants import quant_shape_to_byte_shape

    plain = {GGMLQuantizationType.F32: np.float32, GGMLQuantizationType.F16: np.float16}
    if how in plain:
        return tensor.shape, np.dtype(plain[how])
    return quant_shape_to_byte_shape(tensor.shape, how), np.dtype(np.uint8)


def _arranged(tensor: StoredTensor, config: dict[str, Any]) -> Floats:
    values = tensor.read()
    model_type = config["model_type"]
    if model_type.startswith("gemma") and tensor.name.endswith("norm.weight"):
        return values + np.float32(1)
    if model_type in ("llama", "mistral"):
        heads = config["num_attention_heads"]
        if ".q_proj." in tensor.name:
            return _permuted(values, heads)
        if ".k_proj." in tensor.name:
            return _permuted(values, config.get("num_key_value_heads") or heads)
    return values


def _permuted(values: Floats, heads: int) -> Floats:
    """Rows of each head from two halves to alternating pairs, as llama.cpp rotates them."""
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(values.shape)


def _describe(writer: GGUFWriter, folder: Path, config: dict[str, Any], kind: GgufType) -> None:
    from gguf import LlamaFileType

    heads = config["num_attention_heads"]
    size = config.get("head_dim") or config["hidden_size"] // heads
    rope = config.get("rope_parameters") or {}
    rope = rope.get("full_attention", rope)
    writer.add_name(folder.name)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_rope_dimension_count(size)
    writer.add_rope_freq_base(float(rope.get("rope_theta") or config.get("rope_theta") or 10_000.0))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    if config["model_type"] == "gemma2":
        writer.add_attn_logit_softcapping(config.get("attn_logit_softcapping") or 50.0)
        writer.add_final_logit_softcapping(config.get("final_logit_softcapping") or 30.0)
    if config.get("sliding_window") and config["model_type"].startswith("gemma"):
        writer.add_sliding_window(config["sliding_window"])
    file_types = {
        "f32": LlamaFileType.ALL_F32, "f16": LlamaFileType.MOSTLY_F16,
        "bf16": LlamaFileType.MOSTLY_BF16, "q8_0": LlamaFileType.MOSTLY_Q8_0,
    }  # fmt: skip
    writer.add_file_type(file_types[kind])


class _Vocabulary(BaseModel):
    """Tokens in the order of their ids, as GGUF keeps them: `model` is "gpt2" (byte-level BPE) or "llama"."""

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    scores: list[float] | None
    adds_bos: bool

    def add_to(self, writer: GGUFWriter, size: int) -> None:
        from gguf import TokenType

        missing = range(len(self.tokens), size)
        writer.add_tokenizer_model(self.model)
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list([*self.tokens, *(f"[PAD{number}]" for number in missing)])
        writer.add_token_types([*self.types, *(int(TokenType.UNUSED) for _ in missing)])
        if self.scores is not None:
            writer.add_token_scores([*self.scores, *(-10_000.0 for _ in missing)])
        writer.add_add_bos_token(self.adds_bos)


def _tokenizer(folder: Path) -> _Vocabulary:
    from gguf import TokenType

    try:
        read = json.loads((folder / "tokenizer.json").read_bytes())
    except OSError as error:
        raise CannotExport(f"{folder}: there is no tokenizer.json, which a GGUF file needs") from error
    model = read["model"]
    if model["type"] != "BPE":
        raise CannotExport(f"a tokenizer of type {model['type']} is not written as GGUF, only BPE is")
    fallback = bool(model.get("byte_fallback"))
    tokens = {number: token for token, number in model["vocab"].items()}
    kinds = dict.fromkeys(tokens, int(TokenType.NORMAL))
    if fallback:
        for number, token in tokens.items():
            if len(token) == 6 and token.startswith("<0x"):
                kinds[number] = int(TokenType.BYTE)
    for added in read.get("added_tokens") or ():
        tokens[added["id"]] = added["content"]
        kinds[added["id"]] = int(TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED)
    if sorted(tokens) != list(range(len(tokens))):
        raise CannotExport("the tokenizer's ids have gaps, which a GGUF file cannot hold")
    scores = None
    if fallback:
        # SentencePiece joins the pair with the best score first; a merge's score is its rank.
        joined = [
            "".join(pair) if isinstance(pair, list) else pair.replace(" ", "", 1) for pair in model["merges"]
        ]
        ranks: dict[str, int] = {}
        for rank, token in enumerate(joined):
            ranks.setdefault(token, rank)
        scores = [-float(ranks.get(tokens[number], len(ranks))) for number in sorted(tokens)]
    return _Vocabulary(
        model="llama" if fallback else "gpt2",
        pre="default" if fallback else _pre(read.get("pre_tokenizer")),
        tokens=[tokens[number] for number in sorted(tokens)],
        types=[kinds[number] for number in sorted(tokens)],
        scores=scores,
        adds_bos=_adds_bos(read.get("post_processor")),
    )


def _pre(pre: dict[str, Any] | None) -> str:
    parts = (pre or {}).get("pretokenizers", [pre] if pre else [])
    kinds = [part["type"] for part in parts]
    if kinds == ["ByteLevel"]:
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"]:
        return "smollm"
    if kinds == ["Split", "ByteLevel"]:
        found = _PRE.get(parts[0]["pattern"].get("Regex", ""))
        if found is not None:
            return found
    raise CannotExport(
        f"how this tokenizer cuts text before BPE ({' + '.join(kinds) or 'not at all'}) has no name in llama.cpp that "
        "is known here: export a folder (--to)"
    )


def _adds_bos(processor: dict[str, Any] | None) -> bool:
    parts = (processor or {}).get("processors", [processor] if processor else [])
    return any(
        part["type"] == "TemplateProcessing"
        and "SpecialToken" in (part["single"][0] if part["single"] else {})
        for part in parts
    )


def _verified(folder: Path, file: Path, kind: GgufType) -> dict[str, float]:
    """Logits and ids of the folder and of the file, compared in a process of its own."""
    root = Path(trainers.__file__).parents[1]
    path = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-m", "trainers.methods.gguf_check", str(folder), str(file), kind],
        env={**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        last = done.stderr.strip().split("\n")[-1] or "no message"
        raise CannotExport(f"the GGUF file does not hold what the folder holds, and was not kept: {last}")
    told: dict[str, float] = json.loads(done.stdout.strip().split("\n")[-1])
    return told


__all__ = ["ARCHITECTURES", "GGUF_TYPES", "CannotExport", "GgufExport", "GgufType", "NoFloats", "export_gguf"]
