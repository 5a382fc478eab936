"""Files of weights, read by their headers alone: what they hold, how large they are, and whether they are whole.

Needs neither torch nor the memory of the weights. The layout of safetensors is 8 bytes with the header's length
(little endian), the header as JSON, then the tensors.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INDEX = "model.safetensors.index.json"
_BIN_INDEX = "pytorch_model.bin.index.json"
_LFS = b"version https://git-lfs"
_MAX_HEADER = 100_000_000


class BrokenWeights(Exception):
    """Files of weights are missing or damaged; the message names them and what to do."""


@dataclass(frozen=True)
class Tensor:
    """One tensor as a header tells of it; `dtype` is safetensors' (`BF16`) or ggml's (`Q4_1`) name."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class WeightFiles:
    """All tensors of one model. `parameters` counts the weights as trained: those of packed 4-bit tensors are
    unpacked, scales and tables are left out. It and `tensors` are None for formats without a header (`.bin`).
    `quantisation` is how the files are quantised, None where they are not."""

    files: tuple[Path, ...]
    bytes: int
    tensors: tuple[Tensor, ...] | None
    parameters: int | None
    quantisation: str | None
    metadata: Mapping[str, Any]


def read_weights(path: Path) -> WeightFiles:
    """The weights in a model's or an adapter's folder, or of a GGUF file.

    Raises:
        BrokenWeights: there are none; shards of an index are missing (named); a file is cut off, is a Git LFS pointer,
            or cannot be read.
    """
    if path.suffix == ".gguf" or path.is_file():
        return _read_gguf(path)
    files = _safetensors_of(path)
    if not files:
        return _unread(path)
    tensors = tuple(tensor for file in files for tensor in _read_header(file))
    quantisation = quantisation_of_config(_json(path / "config.json"))
    return WeightFiles(
        files=tuple(files),
        bytes=sum(file.stat().st_size for file in files),
        tensors=tensors,
        parameters=_parameters(tensors, _bits(_json(path / "config.json"))),
        quantisation=quantisation,
        metadata={},
    )


def quantisation_of_config(config: Mapping[str, Any]) -> str | None:
    """How a checkpoint says that it is quantised (`config.json`'s quantization_config), None where it is not."""
    settings = config.get("quantization_config")
    if not isinstance(settings, Mapping):
        return None
    method = str(settings.get("quant_method", "unknown method"))
    if method == "bitsandbytes":
        four = settings.get("load_in_4bit") or settings.get("_load_in_4bit")
        return str(settings.get("bnb_4bit_quant_type", "4-bit")) if four else "int8"
    bits = _bits(config)
    return f"{method} {bits}-bit" if bits else method


def _safetensors_of(folder: Path) -> list[Path]:
    """The files that belong together: those of the index, else all; the index's missing ones are an error."""
    index = folder / INDEX
    if index.is_file():
        names = sorted(set(_weight_map(index).values()))
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise BrokenWeights(
                f"{folder}: {len(missing)} of {len(names)} shards are missing: {', '.join(missing[:8])}"
                + (" ..." if len(missing) > 8 else "")
                + ". Download the model again"
            )
        return [folder / name for name in names]
    adapter = folder / "adapter_model.safetensors"
    if adapter.is_file() and not (folder / "config.json").is_file():
        return [adapter]
    whole = folder / "model.safetensors"
    if whole.is_file():
        return [whole]
    shards = sorted(file for file in folder.glob("*.safetensors") if file.name != adapter.name)
    numbered = [file.name for file in shards if "-of-" in file.name]
    if numbered:
        raise BrokenWeights(
            f"{folder}: {INDEX} is missing beside {', '.join(numbered[:4])}: download the model again"
        )
    return shards


def _weight_map(index: Path) -> dict[str, str]:
    found = _json(index).get("weight_map")
    if not isinstance(found, dict) or not found:
        raise BrokenWeights(f"{index}: it holds no weight_map: download it again")
    return found


def _read_header(file: Path) -> list[Tensor]:
    size = file.stat().st_size
    with file.open("rb") as opened:
        start = opened.read(8)
        if (start + opened.read(len(_LFS))).startswith(_LFS):
            raise BrokenWeights(f"{file}: this is a Git LFS pointer, not the weights: run `git lfs pull`")
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 0 < length <= min(size - 8, _MAX_HEADER):
            raise BrokenWeights(
                f"{file}: no safetensors file, or it is cut off ({size} bytes): download it again"
            )
        opened.seek(8)
        try:
            header = json.loads(opened.read(length))
            tensors = [
                Tensor(
                    name,
                    each["dtype"],
                    tuple(each["shape"]),
                    each["data_offsets"][1] - each["data_offsets"][0],
                )
                for name, each in header.items()
                if name != "__metadata__"
            ]
            end = max(
                (each["data_offsets"][1] for name, each in header.items() if name != "__metadata__"),
                default=0,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BrokenWeights(f"{file}: its header cannot be read ({error}): download it again") from error
    if 8 + length + end > size:
        raise BrokenWeights(
            f"{file}: it is cut off: {size} of {8 + length + end} bytes are there. Download it again"
        )
    return tensors


def _unread(folder: Path) -> WeightFiles:
    """Weights in pickle files: their size is known, what they hold is not."""
    index = folder / _BIN_INDEX
    names = sorted(set(_weight_map(index).values())) if index.is_file() else []
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise BrokenWeights(
            f"{folder}: shards are missing: {', '.join(missing[:8])}. Download the model again"
        )
    files = [folder / name for name in names] or sorted(
        file for pattern in ("pytorch_model*.bin", "adapter_model.bin") for file in folder.glob(pattern)
    )
    if not files:
        raise BrokenWeights(f"{folder}: there are no weights (*.safetensors) in it")
    return WeightFiles(
        files=tuple(files),
        bytes=sum(file.stat().st_size for file in files),
        tensors=None,
        parameters=None,
        quantisation=quantisation_of_config(_json(folder / "config.json")),
        metadata={},
    )


_NOT_WEIGHTS = (
    ".scales", ".qzeros", ".g_idx", ".weight_scale", ".weight_shape", ".weight_zero_point", ".SCB",
    ".weight_format", ".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", ".input_scale",
)  # fmt: skip


def _parameters(tensors: tuple[Tensor, ...], bits: int | None) -> int:
    names = {tensor.name for tensor in tensors}
    return sum(_weights_in(tensor, names, bits) for tensor in tensors)


def _weights_in(tensor: Tensor, names: set[str], bits: int | None) -> int:
    if tensor.name.endswith(_NOT_WEIGHTS) or ".quant_state." in tensor.name:
        return 0
    if tensor.name.endswith((".qweight", ".weight_packed")) and bits:
        return tensor.elements * 32 // bits
    if tensor.dtype == "U8" and f"{tensor.name}.absmax" in names:
        return tensor.elements * 2
    return tensor.elements


def _bits(config: Mapping[str, Any]) -> int | None:
    settings = config.get("quantization_config")
    if not isinstance(settings, Mapping):
        return None
    bits = settings.get("bits") or settings.get("w_bit")
    if bits is None:
        groups = settings.get("config_groups")
        first: Mapping[str, Any] = next(iter(groups.values()), {}) if isinstance(groups, Mapping) else {}
        bits = (first.get("weights") or {}).get("num_bits")
    return bits if isinstance(bits, int) and bits > 0 else None


def _read_gguf(path: Path) -> WeightFiles:
    from gguf import GGUFReader, LlamaFileType

    try:
        with path.open("rb") as opened:
            start = opened.read(len(_LFS))
        if start == _LFS:
            raise BrokenWeights(f"{path}: this is a Git LFS pointer, not the weights: run `git lfs pull`")
        if start[:4] != b"GGUF":
            raise BrokenWeights(f"{path}: this is no GGUF file")
        reader = GGUFReader(str(path))
        tensors = tuple(
            Tensor(str(each.name), each.tensor_type.name, tuple(map(int, each.shape)), int(each.n_bytes))
            for each in reader.tensors
        )
        # Long lists (the vocabulary) are of no use here and slow to read.
        metadata = {
            key: field.contents()
            for key, field in reader.fields.items()
            if not key.startswith(("tokenizer.", "GGUF.")) and len(field.data) < 100
        }
    except OSError as error:
        raise BrokenWeights(f"{path}: {error.strerror or error}") from error
    except (ValueError, IndexError, KeyError) as error:
        # What the reader raises for a file that ends too early, or holds what is no GGUF.
        raise BrokenWeights(
            f"{path}: it cannot be read, it may be cut off ({error}): download it again"
        ) from error
    kind = metadata.get("general.file_type")
    names = {each.value: each.name.removeprefix("MOSTLY_") for each in LlamaFileType}
    quantisation = names.get(kind) if isinstance(kind, int) else None
    whole = {"ALL_F32", "F16", "BF16"}
    return WeightFiles(
        files=(path,),
        bytes=path.stat().st_size,
        tensors=tensors,
        parameters=sum(tensor.elements for tensor in tensors if tensor.name != "rope_freqs.weight"),
        quantisation=None if quantisation in whole else f"GGUF {quantisation or 'of an unknown type'}",
        metadata=metadata,
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BrokenWeights(f"{path}: it cannot be read ({error}): download it again") from error
    if not isinstance(found, dict):
        raise BrokenWeights(f"{path}: it holds no JSON object: download it again")
    return found
