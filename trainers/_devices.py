"""Devices to train on: this machine's, and a dated catalogue of others; how fast each is, and who says so."""

from __future__ import annotations

import datetime
import time
from functools import cache
from importlib.resources import files

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict

from results.store.ledger import capacity

CPU_UTILISATION = 0.47
"""Share of a plain matrix product's speed that training reaches on a CPU: LoRA on SmolLM2-135M, 2 rows of 128 tokens,
one thread, by CPU time (docs/evidence/training-overhead.txt). A first job here replaces it by its own speed."""
GPU_UTILISATION = 0.35
"""Share of the data sheet's bfloat16 figure that training reaches on a GPU, as usually reported (MFU 0.3-0.4)."""


class Device(BaseModel):
    """`memory` in bytes; `speed` in floating point operations a second that training can expect; `source` says
    where the speed comes from."""

    model_config = ConfigDict(frozen=True)

    name: str
    memory: int
    gpu: bool
    here: bool = False
    speed: float | None = None
    source: str = ""
    cloud: tuple[str, ...] = ()


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    gib: float
    tflops: float
    cloud: tuple[str, ...] = ()


class _Catalogue(BaseModel):
    model_config = ConfigDict(extra="forbid")

    date: datetime.date
    devices: list[_Entry]


@cache
def _read() -> _Catalogue:
    return _Catalogue.model_validate(
        yaml.safe_load(files("trainers").joinpath("catalogue.yaml").read_text(encoding="utf-8"))
    )


def catalogue_date() -> datetime.date:
    """When the catalogue was written down: what clouds offer, and at what price, changes."""
    return _read().date


@cache
def catalogue() -> tuple[Device, ...]:
    """Common GPUs by memory, from trainers/catalogue.yaml."""
    read = _read()
    return tuple(
        Device(
            name=each.name,
            memory=int(each.gib * 2**30),
            gpu=True,
            speed=each.tflops * 1e12 * GPU_UTILISATION,
            source=f"data sheet x {GPU_UTILISATION:g} (catalogue of {read.date})",
            cloud=each.cloud,
        )
        for each in sorted(read.devices, key=lambda entry: (entry.gib, entry.tflops))
    )


def this_machine() -> tuple[Device, ...]:
    """The device that training takes here (a GPU where there is one), first; then the CPU."""
    room = capacity()
    cpu = Device(
        name=f"this machine's CPU ({room.cores} cores)",
        memory=room.ram,
        gpu=False,
        here=True,
        speed=_products_per_second() * CPU_UTILISATION,
        source=f"a matrix product timed here x {CPU_UTILISATION:g}",
    )
    if not room.gpu:
        return (cpu,)
    return (Device(name="this machine's GPU", memory=room.gpu, gpu=True, here=True), cpu)


@cache
def _products_per_second(size: int = 768, rounds: int = 5) -> float:
    """Floating point operations a second of a float32 matrix product (the best of a few, a tenth of a second)."""
    numbers = np.random.default_rng(0).random((size, size), dtype=np.float32)
    best = float("inf")
    for _ in range(rounds):
        begun = time.perf_counter()
        numbers @ numbers
        best = min(best, time.perf_counter() - begun)
    return float(2 * size**3 / best)
