"""What a training left, taken elsewhere: a merged folder that stands alone, or a GGUF file."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from arena.engines.merging import merge_adapter
from results.store.jobs import StoredJob
from trainers.artifacts import MANIFEST
from trainers.export_gguf import CannotExport, GgufExport, GgufType, OnTensor, export_gguf
from trainers.jobs import plan_of
from trainers.lineage import trained_spec

__all__ = ["CannotExport", "FolderExport", "artifact_of", "export_folder", "export_job_gguf"]

_TOLD = ("README.md", "recipe.yaml", MANIFEST)


class FolderExport(BaseModel):
    """A model folder that needs nothing else. Where an adapter was merged into it, how far a logit moved at most by
    merging and rounding (None: the weights were trained as they are)."""

    model_config = ConfigDict(frozen=True)

    folder: Path
    merged: bool
    difference: float | None = None
    largest_logit: float | None = None


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
    if plan.recipe.objective in ("classify", "reward"):
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
