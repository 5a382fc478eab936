"""What a training left, taken elsewhere: a merged folder that stands alone, a GGUF file, or the adapter by itself."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from arena.engines.merging import merge_adapter
from results.store.jobs import StoredJob
from trainers._tensors import stored_tensors, write_tensors
from trainers.artifacts import MANIFEST
from trainers.export_gguf import CannotExport, GgufExport, GgufType, OnTensor, export_gguf
from trainers.jobs import plan_of
from trainers.lineage import trained_spec
from trainers.plan import RATES_ONLY

__all__ = [
    "AdapterExport",
    "CannotExport",
    "FolderExport",
    "artifact_of",
    "export_adapter",
    "export_folder",
    "export_job_gguf",
]

_TOLD = ("README.md", "recipe.yaml", MANIFEST)
_ADAPTER = ("adapter_config.json", "adapter_model.safetensors")

AdapterType = Literal["f32", "bf16", "f16"]


class FolderExport(BaseModel):
    """A model folder that needs nothing else. Where an adapter was merged into it, how far a logit moved at most by
    merging and rounding (None: the weights were trained as they are)."""

    model_config = ConfigDict(frozen=True)

    folder: Path
    merged: bool
    difference: float | None = None
    largest_logit: float | None = None


class AdapterExport(BaseModel):
    """An adapter's folder that tells nothing of the machine that it was trained on."""

    model_config = ConfigDict(frozen=True)

    folder: Path
    bytes: int


def artifact_of(job: StoredJob) -> Path:
    """The folder of a finished training. Raises `CannotExport`."""
    artifact = job.result.get("artifact")
    if artifact is None or not Path(artifact).is_dir():
        raise CannotExport(f"{job.name} is {job.state} and has left no artifact yet")
    return Path(artifact)


def export_folder(job: StoredJob, data_dir: Path, to: Path) -> FolderExport:
    """Write what `job` left as a folder in Hugging Face's layout: an adapter is merged into its base, and offered only
    where the logits of both agree. An adapter of qlora is merged into the base's full precision.

    Raises:
        CannotExport: nothing was left, the folder is not empty, or it is an adapter of a classifier.
        EngineRejected: the merged model would not be the same.
    """
    plan, artifact = plan_of(job), artifact_of(job)
    if to.exists() and any(to.iterdir()):
        raise CannotExport(f"{to} is not empty: choose a new folder")
    if job.result["artifact_kind"] == "weights":
        part = to.with_name(f".making-{to.name}")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(
            artifact, part, ignore=shutil.ignore_patterns("tensorboard", "*.log", "metrics.jsonl")
        )
        if to.exists():
            to.rmdir()
        part.replace(to)
        return FolderExport(folder=to, merged=False)
    if plan.recipe.objective in RATES_ONLY:
        raise CannotExport(
            f"{job.name} is an adapter that {'classifies' if plan.recipe.objective == 'classify' else 'rates'}; it is "
            "not merged into a model of text. Take the adapter as a zip (--out)"
        )
    spec = trained_spec(plan, job.result).model_copy(update={"quantisation": "none"})
    merged = merge_adapter(spec, data_dir, to)
    for name in _TOLD:
        if (artifact / name).is_file():
            shutil.copy(artifact / name, to / name)
    return FolderExport(
        folder=merged.folder, merged=True, difference=merged.difference, largest_logit=merged.largest_logit
    )


def export_adapter(job: StoredJob, to: Path, kind: AdapterType = "bf16") -> AdapterExport:
    """Write the adapter that `job` left by itself: its weights rounded to `kind`, its configuration, card, recipe and
    manifest, without paths, tokenizer (the base's) and logs.

    Raises:
        CannotExport: nothing was left, it left whole weights, or the folder is not empty.
        NoFloats: its weights are not stored as safetensors of plain numbers.
    """
    artifact, plan = artifact_of(job), plan_of(job)
    if job.result["artifact_kind"] != "adapter":
        raise CannotExport(f"{job.name} left whole weights, not an adapter: take them with --to")
    if to.exists() and any(to.iterdir()):
        raise CannotExport(f"{to} is not empty: choose a new folder")
    part = to.with_name(f".making-{to.name}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    config = json.loads((artifact / _ADAPTER[0]).read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = plan.base.model_id
    (part / _ADAPTER[0]).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    tensors = stored_tensors(artifact)
    shapes = {name: (kind.upper(), tensor.shape) for name, tensor in tensors.items()}
    write_tensors(part / _ADAPTER[1], shapes, lambda name: tensors[name].read())
    for name in _TOLD[:2]:
        shutil.copy(artifact / name, part / name)
    told = _without_paths(json.loads((artifact / MANIFEST).read_text(encoding="utf-8")))
    (part / MANIFEST).write_text(json.dumps(told, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    if to.exists():
        to.rmdir()
    part.replace(to)
    return AdapterExport(folder=to, bytes=sum(file.stat().st_size for file in to.iterdir()))


def _without_paths(value: Any) -> Any:
    """A manifest's values without those that are absolute paths."""
    if isinstance(value, dict):
        found = {key: _without_paths(each) for key, each in value.items()}
        return {key: each for key, each in found.items() if each is not ...}
    if isinstance(value, list):
        return [each for each in map(_without_paths, value) if each is not ...]
    return ... if isinstance(value, str) and Path(value).is_absolute() else value


def export_job_gguf(
    job: StoredJob,
    data_dir: Path,
    file: Path,
    kind: GgufType = "f16",
    *,
    on_tensor: OnTensor = lambda done, of: None,
) -> GgufExport:
    """Write what `job` left as a GGUF file (see `export_gguf`); an adapter is merged first. Raises as both do."""
    artifact = artifact_of(job)
    if job.result["artifact_kind"] == "weights":
        return export_gguf(artifact, file, kind, on_tensor=on_tensor)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".making-") as folder:
        merged = export_folder(job, data_dir, Path(folder) / job.name)
        return export_gguf(merged.folder, file, kind, on_tensor=on_tensor)
