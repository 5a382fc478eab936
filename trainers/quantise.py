"""Post-training quantisation with a report of what it costs: size, held-out loss, speed, before and after."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict

import trainers
from arena.engines.local_static_int8 import INPUT_SCALES
from arena.engines.spec import Quantisation
from arena.roster import Contestant, enter
from results.ids import new_id
from results.store import Store
from trainers.datasets import UnknownDataset, find_dataset
from trainers.plan import CannotPlan, TrainingPlan, make_plan
from trainers.recipes import make_recipe

Kind = Literal["dynamic", "static", "int8", "nf4"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SERVED: dict[Kind, Quantisation] = {
    "dynamic": "torchao-int8",
    "static": "torchao-int8",
    "int8": "int8",
    "nf4": "nf4",
}
"""How the arena serves each kind: from the base's own weights, rounded when they are loaded; static int8 from a folder
of its own, which holds the scales of the inputs beside the weights."""


class CannotQuantise(ValueError):
    """This model cannot be quantised so, or not be measured. The message says why and what to do."""


class Figures(BaseModel):
    """Bytes of weights with their scales, mean loss of `tokens` held-out tokens in nats, and tokens a second read in
    prompts and written one after the other."""

    bytes: int
    loss: float
    tokens: int
    read_tokens_per_second: float
    written_tokens_per_second: float


class Request(BaseModel):
    """What the measuring process is asked."""

    plan: TrainingPlan
    data_dir: Path
    kind: Kind
    rows: int
    calibration_rows: int


class QuantisationReport(BaseModel):
    """Before (float32) and after; `model` is the new roster version, `scales` the file of the inputs' scales (static
    alone)."""

    model_config = ConfigDict(frozen=True)

    base: str
    kind: Kind
    dataset: str
    before: Figures
    after: Figures
    model: str
    scales: Path | None = None


def quantise(
    store: Store,
    base: Contestant,
    kind: Kind,
    dataset: str,
    *,
    name: str | None = None,
    rows: int = 64,
    calibration_rows: int = 32,
) -> QuantisationReport:
    """Quantise a roster model, measure it on the dataset's held-out rows, and put it on the roster as `name` (the
    base's name with the kind, by default). `static` takes the ranges of its inputs from `calibration_rows` training
    rows, and its scales lie beside the weights in a folder of its own.

    Raises:
        CannotPlan: the model is an endpoint, quantised already, or there is no such dataset.
        CannotQuantise: it has an adapter, the dataset holds neither chats nor text, or the work failed.
    """
    if base.spec.adapter is not None:
        raise CannotQuantise(f"{base.version.label} has an adapter: merge it first (`arena models merge`)")
    try:
        rows_of = find_dataset(store, dataset)
    except UnknownDataset as error:
        raise CannotPlan(f"dataset: {error.args[0]}") from None
    objective = {"chat": "sft", "text": "pretrain"}.get(rows_of.kind)
    if objective is None:
        raise CannotQuantise(
            f"{rows_of.label} holds {rows_of.kind} rows; loss is measured on chat or text rows"
        )
    if rows_of.held_out_count == 0:
        raise CannotQuantise(f"{rows_of.label} has no held-out rows: add it again with --held-out")
    named = name or f"{base.spec.name}-{kind}"
    recipe = make_recipe(
        {
            "name": named,
            "base": base.version.label,
            "dataset": rows_of.label,
            "method": "full",
            "objective": objective,
        }
    )
    plan = make_plan(store, store.data_dir, recipe)
    request = Request(
        plan=plan, data_dir=store.data_dir.resolve(), kind=kind, rows=rows, calibration_rows=calibration_rows
    )
    told = _measured(request)
    changes: dict[str, Any] = {
        "name": named,
        "quantisation": SERVED[kind],
        "parent": base.version.label,
        "note": {"dynamic": "dynamic int8", "static": f"static int8, calibrated on {rows_of.label}"}.get(
            kind, kind
        ),
    }
    scales = None
    if kind == "static":
        # Its last part is what the base is called: a prompt format may follow from that.
        place = store.data_dir.resolve() / "quantised" / f"{named}-{new_id().hex[-8:]}"
        folder = _with_scales(plan.base.path, place / plan.base.model_id.rpartition("/")[2], told["scales"])
        scales = folder / INPUT_SCALES
        changes |= {"source": str(folder), "revision": None}
    entered = enter(store, base.spec.model_copy(update=changes), store.data_dir, owner="trainer")
    return QuantisationReport(
        base=base.version.label, kind=kind, dataset=rows_of.label, before=told["before"], after=told["after"],
        model=entered.version.label, scales=scales,
    )  # fmt: skip


def _with_scales(base: Path, folder: Path, scales: dict[str, float]) -> Path:
    """A model folder with the base's files and the scales beside them, which appears when it is complete. Weights take
    no more room where the disk can link them."""
    part = folder.with_name(f".making-{folder.name}")
    part.mkdir(parents=True)
    for file in base.iterdir():
        if file.is_file():
            try:
                (part / file.name).hardlink_to(file.resolve())
            except OSError:  # another disk, or one without links
                shutil.copy(file, part / file.name)
    (part / INPUT_SCALES).write_text(json.dumps(scales, indent=1), encoding="utf-8")
    part.replace(folder)
    return folder


def _measured(request: Request) -> dict[str, Any]:
    root = Path(trainers.__file__).parents[1]
    path = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "request.json"
        file.write_text(request.model_dump_json(), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "trainers.methods.quantising", str(file)],
            env={**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        last = done.stderr.strip().split("\n")[-1] or f"its process ended with {done.returncode}"
        raise CannotQuantise(f"{request.plan.base.label} cannot be quantised to {request.kind}: {last}")
    told: dict[str, Any] = json.loads(done.stdout.strip().split("\n")[-1])
    return told
