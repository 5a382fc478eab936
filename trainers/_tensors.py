"""Tensors of safetensors files, read and written one at a time, without torch: bfloat16 included.

The layout: 8 bytes with the header's length (little endian), the header as JSON, then the tensors' bytes.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arena.engines.weight_files import read_weights

Floats = NDArray[np.float32]

_NUMPY: dict[str, Any] = {"F64": np.float64, "F32": np.float32, "F16": np.float16}
_SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


class NoFloats(ValueError):
    """A tensor is not stored as plain floating point numbers, or cannot be combined. The message names it."""


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies: `start` is its first byte in `file`, `dtype` safetensors' name."""

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int

    def read(self) -> Floats:
        """The values in float32. Raises `NoFloats`."""
        if self.dtype not in _SIZES:
            raise NoFloats(
                f"{self.file.name}: {self.name} is stored as {self.dtype}, not as floating point numbers "
                "(a quantised model): use the one in full precision"
            )
        kind = np.dtype("<u2") if self.dtype == "BF16" else np.dtype(_NUMPY[self.dtype]).newbyteorder("<")
        count = math.prod(self.shape)
        values = np.fromfile(self.file, dtype=kind, count=count, offset=self.start)
        if self.dtype == "BF16":
            values = (values.astype(np.uint32) << 16).view(np.float32)
        return values.astype(np.float32, copy=False).reshape(self.shape)


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """The tensors of a model's or adapter's folder by name. Raises `BrokenWeights`, `NoFloats` (other formats)."""
    weights = read_weights(folder)
    if weights.tensors is None or any(file.suffix != ".safetensors" for file in weights.files):
        raise NoFloats(f"{folder}: only safetensors can be read here; convert the model first")
    found = {}
    for file in weights.files:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            header = json.loads(opened.read(length))
        for name, entry in header.items():
            if name != "__metadata__":
                begin = 8 + length + entry["data_offsets"][0]
                found[name] = StoredTensor(name, file, entry["dtype"], tuple(entry["shape"]), begin)
    return found


def in_dtype(values: Floats, dtype: str) -> NDArray[Any]:
    """float32 values as they are stored under safetensors' `dtype`, rounded to the nearest (ties to even)."""
    if dtype != "BF16":
        return values.astype(np.dtype(_NUMPY[dtype]).newbyteorder("<"), copy=False)
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    # Rounding would turn some NaNs into infinities.
    return np.where(np.isnan(values), np.uint32(0x7FC0), rounded).astype("<u2")


def write_tensors(
    file: Path, tensors: Mapping[str, tuple[str, tuple[int, ...]]], values_of: Callable[[str], Floats]
) -> None:
    """Write a safetensors file of {name: (dtype, shape)}, asking `values_of` for one tensor at a time."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name, (dtype, shape) in tensors.items():
        size = math.prod(shape) * _SIZES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as opened:
        opened.write(struct.pack("<Q", len(text)) + text)
        for name, (dtype, shape) in tensors.items():
            values = values_of(name)
            if values.shape != shape:
                raise NoFloats(f"{name} has the shape {values.shape} instead of {shape}")
            opened.write(in_dtype(values, dtype).tobytes())
