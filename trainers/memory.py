"""What a training needs of a machine, estimated before it begins: parameters, memory, tokens, time, and where it fits.

Nothing here loads weights or torch: shapes come from headers or config.json. Memory is that of the peak (the backward
pass of the longest batch, or the optimiser's step).
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from arena.engines.memory import GPU_HOST_OVERHEAD, GPU_OVERHEAD, in_words
from arena.engines.memory import estimate as inference_estimate
from results.store import Store
from results.store.ledger import capacity
from trainers._devices import Device, catalogue, catalogue_date, this_machine
from trainers._needs import SAMPLED, DataSize, Need, flops_per_token, need_of
from trainers._shapes import ModelShapes, UnknownShapes, read_shapes
from trainers._sizes import data_size, measured_speed
from trainers._trained import trained_parameters
from trainers.plan import TrainingPlan
from trainers.recipes import METHODS, OBJECTIVES_OF, BadRecipe, Recipe, make_recipe

__all__ = [
    "DataSize",
    "DeviceFit",
    "MethodRow",
    "Need",
    "TrainingEstimate",
    "TrainingMemory",
    "UnknownShapes",
    "estimate",
    "estimate_plan",
    "estimate_training",
    "methods_table",
]

OVERHEAD = 900 * 2**20
"""Bytes of a training process before its model: interpreter, torch, transformers, trl, peft, datasets."""


class TrainingMemory(BaseModel):
    """Bytes: of the machine's memory, and of a GPU's (0 where training runs on the CPU)."""

    model_config = ConfigDict(frozen=True)

    ram: int
    gpu: int = 0


class DeviceFit(BaseModel):
    """Whether a device has room, what would lie on it (bytes), and how long it would take (None: not known)."""

    model_config = ConfigDict(frozen=True)

    name: str
    here: bool
    gpu: bool
    memory: int
    needed: int
    fits: bool
    seconds: float | None
    speed_from: str
    cloud: tuple[str, ...] = ()


class TrainingEstimate(BaseModel):
    """`need` is on the device that training takes here, `ram` and `gpu` the totals to be reserved (bytes, all
    processes); `tokens` are those that pass through the model in training; `catalogue_date` is that of the devices
    elsewhere; `measured` tells that the time follows from earlier trainings here; `advice` says what to change where
    nothing here fits."""

    model_config = ConfigDict(frozen=True)

    method: str
    objective: str
    parameters: int
    trained_parameters: int
    device: str
    need: Need
    ram: int
    gpu: int
    steps: int | None
    tokens: int | None
    tokens_from: str
    seconds: float | None
    speed_from: str
    measured: bool
    fits_here: bool
    devices: tuple[DeviceFit, ...]
    catalogue_date: datetime.date
    advice: tuple[str, ...]


class MethodRow(BaseModel):
    """One method for the same data: a row of the table of methods."""

    model_config = ConfigDict(frozen=True)

    method: str
    trained_parameters: int
    needed: int
    seconds: float | None
    fits_here: bool


def estimate(plan: TrainingPlan) -> TrainingMemory:
    """Memory of a plan at its peak, to be reserved before it runs. Raises `EngineUnavailable` for broken files."""
    gpu = capacity().gpu > 0
    try:
        beside = tuple(map(read_shapes, _beside(plan)))
        _, ram, used = _totals(plan.recipe, read_shapes(plan.base.path), DataSize(), gpu=gpu, beside=beside)
    except UnknownShapes:
        # Pickled weights tell no shapes: the 16 bytes a parameter that full fine-tuning takes at most.
        most = inference_estimate(plan.base.path).weights * 4
        return TrainingMemory(ram=GPU_HOST_OVERHEAD, gpu=most) if gpu else TrainingMemory(ram=most + OVERHEAD)
    return TrainingMemory(ram=ram, gpu=used)


def estimate_training(
    recipe: Recipe,
    path: Path,
    *,
    data: DataSize | None = None,
    beside: Sequence[Path] = (),
    devices: Sequence[Device] | None = None,
    tokens_per_second: tuple[float, str] | None = None,
) -> TrainingEstimate:
    """What the recipe needs on the model folder `path` (config.json alone suffices for common families).

    `data` tells rows and tokens (without it time stays unknown and rows count as `max_length` long), `beside` are
    models that are loaded as well (a teacher, a reward model), `tokens_per_second` a measured speed here with its
    source. Raises `UnknownShapes`.
    """
    shapes, size = read_shapes(path), data or DataSize()
    others = tuple(read_shapes(each) for each in beside)
    here = tuple(devices) if devices is not None else this_machine()
    target = here[0]
    need, ram, gpu = _totals(recipe, shapes, size, gpu=target.gpu, beside=others)
    steps, tokens = _work(recipe, size)
    fits = tuple(
        _fit(recipe, shapes, size, others, device, tokens, tokens_per_second)
        for device in (*here, *catalogue())
    )
    return TrainingEstimate(
        method=recipe.method,
        objective=recipe.objective,
        parameters=shapes.parameters,
        trained_parameters=trained_parameters(recipe, shapes, size.classes),
        device=target.name,
        need=need,
        ram=ram,
        gpu=gpu,
        steps=steps,
        tokens=tokens,
        tokens_from=size.source,
        seconds=fits[0].seconds,
        speed_from=fits[0].speed_from,
        measured=tokens is not None and tokens_per_second is not None,
        fits_here=fits[0].fits,
        devices=fits,
        catalogue_date=catalogue_date(),
        advice=() if fits[0].fits else _advice(recipe, shapes, size, others, target),
    )


def estimate_plan(store: Store, plan: TrainingPlan) -> tuple[TrainingEstimate, list[MethodRow]]:
    """All that is to be told of a plan before it starts: its own estimate with tokens counted in its rows and the speed
    of earlier trainings here, and the methods side by side. Raises `UnknownShapes`, `InvalidInput`, `MissingRows`."""
    size, beside = data_size(plan, store.data_dir), _beside(plan)
    measured, devices = measured_speed(store, plan), this_machine()
    found = estimate_training(
        plan.recipe, plan.base.path, data=size, beside=beside, devices=devices, tokens_per_second=measured
    )
    methods = methods_table(
        plan.recipe, plan.base.path, data=size, beside=beside, devices=devices, tokens_per_second=measured
    )
    return found, methods


def methods_table(
    recipe: Recipe,
    path: Path,
    *,
    data: DataSize | None = None,
    beside: Sequence[Path] = (),
    devices: Sequence[Device] | None = None,
    tokens_per_second: tuple[float, str] | None = None,
) -> list[MethodRow]:
    """The recipe's objective by each method that can do it, side by side. A measured speed is that of the recipe's own
    method; the others' times keep their proportion to it. Raises `UnknownShapes`."""
    own = estimate_training(recipe, path, data=data, beside=beside, devices=devices)
    measured = 1.0
    if tokens_per_second is not None and own.tokens is not None and own.seconds:
        measured = own.tokens / tokens_per_second[0] / own.seconds
    rows = []
    for method in METHODS:
        if recipe.objective not in OBJECTIVES_OF[method] or (
            method == "tool_tokens" and not recipe.tool_tokens.tokens
        ):
            continue
        other = recipe.model_copy(
            update={"method": method, "frozen_layers": (), "qat": "none"} if method != recipe.method else {}
        )
        found = estimate_training(other, path, data=data, beside=beside, devices=devices)
        rows.append(
            MethodRow(
                method=method,
                trained_parameters=found.trained_parameters,
                needed=found.devices[0].needed,
                seconds=None if found.seconds is None else found.seconds * measured,
                fits_here=found.fits_here,
            )
        )
    return rows


def _beside(plan: TrainingPlan) -> tuple[Path, ...]:
    """Models that are loaded as well: a teacher, a reward model. An adapter, whose folder tells no shapes, counts as
    large as the base."""
    paths = [path for path in (plan.teacher, plan.reward_model) if path is not None]
    return tuple(path if (path / "config.json").is_file() else plan.base.path for path in paths)


def _totals(
    recipe: Recipe, shapes: ModelShapes, size: DataSize, *, gpu: bool, beside: Sequence[ModelShapes]
) -> tuple[Need, int, int]:
    """(the need of one process on its device, bytes of memory, bytes of GPU memory, both of all processes)."""
    need = need_of(recipe, shapes, size, gpu=gpu, beside=beside)
    if gpu:
        return need, GPU_HOST_OVERHEAD * recipe.processes, (need.total + GPU_OVERHEAD) * recipe.processes
    return need, (need.total + OVERHEAD) * recipe.processes, 0


def _work(recipe: Recipe, size: DataSize) -> tuple[int | None, int | None]:
    """(steps, tokens seen) of the whole training."""
    optimiser = recipe.optimiser
    at_once = optimiser.batch_size * optimiser.gradient_accumulation * recipe.processes
    rows = None if size.rows is None else size.rows * recipe.data_share
    sampled = recipe.objective in SAMPLED
    if rows is not None and sampled:
        rows *= recipe.reinforcement.answers
    if rows is not None and optimiser.packing and size.mean_tokens:
        rows = rows * size.mean_tokens / optimiser.max_length
    steps = optimiser.max_steps
    if steps is None and rows is not None:
        # As transformers counts them: whole batches in an epoch, whole accumulations of these.
        batches = math.ceil(rows / (optimiser.batch_size * recipe.processes))
        steps = max(1, math.ceil(math.ceil(batches / optimiser.gradient_accumulation) * optimiser.epochs))
    if steps is None or size.mean_tokens is None:
        return steps, None
    each = optimiser.max_length if optimiser.packing else min(size.mean_tokens, optimiser.max_length)
    each += recipe.reinforcement.max_answer_tokens if sampled else 0
    seen = steps * at_once if optimiser.max_steps or rows is None else rows * optimiser.epochs
    return steps, round(seen * each)


def _fit(
    recipe: Recipe,
    shapes: ModelShapes,
    size: DataSize,
    beside: Sequence[ModelShapes],
    device: Device,
    tokens: int | None,
    measured: tuple[float, str] | None,
) -> DeviceFit:
    _, ram, gpu = _totals(recipe, shapes, size, gpu=device.gpu, beside=beside)
    needed = gpu if device.gpu else ram
    seconds, source = None, device.source
    if tokens is not None and device.here and measured is not None:
        seconds, source = tokens / measured[0], measured[1]
    elif tokens is not None and device.speed:
        seconds = tokens * flops_per_token(recipe, shapes, size) / device.speed
    return DeviceFit(
        name=device.name, here=device.here, gpu=device.gpu, memory=device.memory, needed=needed,
        fits=needed <= device.memory, seconds=seconds, speed_from=source if seconds is not None else "",
        cloud=device.cloud,
    )  # fmt: skip


def _advice(
    recipe: Recipe, shapes: ModelShapes, size: DataSize, beside: Sequence[ModelShapes], device: Device
) -> tuple[str, ...]:
    """Changes that lower what is needed (`KEY=VALUE ...: what it needs then`); those that make it fit first."""
    optimiser = recipe.optimiser
    changes: list[tuple[str, ...]] = []
    if optimiser.batch_size > 1 and recipe.objective not in ("kto", "rloo", "grpo"):
        steps = optimiser.batch_size * optimiser.gradient_accumulation
        changes.append(("optimiser.batch_size=1", f"optimiser.gradient_accumulation={steps}"))
    if not optimiser.gradient_checkpointing:
        changes.append(("optimiser.gradient_checkpointing=true",))
    if optimiser.max_length > 256:
        changes.append((f"optimiser.max_length={optimiser.max_length // 2}",))
    if recipe.method == "full":
        changes.append(("optimiser.kind=adafactor",))
    smaller = {"full": ("lora", "qlora"), "lora": ("qlora",)}.get(recipe.method, ())
    changes += [(f"method={method}",) for method in smaller]
    changes.append(tuple(word for change in changes for word in change if word != "method=lora"))
    _, ram, gpu = _totals(recipe, shapes, size, gpu=device.gpu, beside=beside)
    now = gpu if device.gpu else ram
    told: list[tuple[bool, int, str]] = []
    for change in dict.fromkeys(changes):
        try:
            other = make_recipe(
                recipe.model_dump(
                    mode="json",
                    exclude={"frozen_layers", "qat"}
                    if any(word.startswith("method=") for word in change)
                    else None,
                ),
                change,
            )
        except BadRecipe:
            continue
        _, ram, gpu = _totals(other, shapes, size, gpu=device.gpu, beside=beside)
        needed = gpu if device.gpu else ram
        if needed >= now:
            continue
        fits = needed <= device.memory
        told.append((fits, needed, f"{' '.join(change)}: {in_words(needed)}{' (fits)' if fits else ''}"))
    return tuple(text for _, _, text in sorted(told, key=lambda each: (not each[0], each[1])))
