"""What a training leaves: weights or an adapter, with all that is needed to understand, use and repeat it."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shutil
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict

from trainers.contamination import card_lines
from trainers.plan import TrainingPlan
from trainers.recipes import write_recipe

MANIFEST = "training.json"

ArtifactKind = Literal["adapter", "weights"]

_LIBRARIES = (
    "torch",
    "transformers",
    "peft",
    "trl",
    "accelerate",
    "bitsandbytes",
    "datasets",
    "tokenizers",
    "palaestra",
)


class Artifact(BaseModel):
    """A finished training's folder: `adapter` needs its base, `weights` stand alone."""

    model_config = ConfigDict(frozen=True)

    folder: Path
    kind: ArtifactKind


def write_artifact(
    plan: TrainingPlan, job_folder: Path, result: dict[str, Any], save: Callable[[Path], None]
) -> Artifact:
    """Make `job_folder/artifact`, which appears when it is complete. `save` writes weights and tokenizer into it."""
    folder, part = job_folder / "artifact", job_folder / "artifact.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    save(part)
    (part / "recipe.yaml").write_text(write_recipe(plan.recipe), encoding="utf-8")
    for name in ("metrics.jsonl", "training.log"):
        if (job_folder / name).exists():
            shutil.copy(job_folder / name, part / name)
    manifest = {
        "made_at": datetime.now(UTC).isoformat(),
        "job": job_folder.name,
        "plan": plan.model_dump(mode="json"),
        "result": result,
        "environment": environment(),
    }
    (part / MANIFEST).write_text(json.dumps(manifest, ensure_ascii=False, indent=1), encoding="utf-8")
    (part / "README.md").write_text(model_card(plan, result), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    part.replace(folder)
    kind: ArtifactKind = "adapter" if (folder / "adapter_config.json").is_file() else "weights"
    return Artifact(folder=folder, kind=kind)


def environment() -> dict[str, str]:
    """Versions that shape a training."""
    versions = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
    }
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def model_card(plan: TrainingPlan, result: dict[str, Any]) -> str:
    """A model card (README.md with front matter) that says what this was made of and how it did."""
    recipe, data = plan.recipe, plan.dataset
    head: dict[str, Any] = {
        "base_model": plan.base.spec.source,
        "library_name": "transformers" if recipe.method in ("full", "head", "tool_tokens") else "peft",
        "license": recipe.licence or plan.base.spec.licence or "unknown",
        "tags": ["palaestra", recipe.objective, recipe.method],
    }
    before, after = (
        result.get("held_out_before", {}).get("loss"),
        result.get("held_out_after", {}).get("loss"),
    )
    held_out = (
        "" if before is None or after is None else f"Held-out loss {before:.4f} before, {after:.4f} after.\n"
    )
    lines = [
        "---",
        yaml.safe_dump(head, sort_keys=False, allow_unicode=True).strip(),
        "---",
        f"# {recipe.name}",
        "",
        f"{plan.base.label} trained by {recipe.method} for {recipe.objective} on {data.label}.",
        "",
        "## Lineage and licences",
        "",
        f"- Base: {plan.base.label} (digest {plan.base.digest[:16]}), licence {plan.base.spec.licence or 'unknown'}",
        f"- Data: {data.label} (digest {data.digest[:16]}), {data.row_count:,} rows of which {data.held_out_count:,} "
        f"held out, licence {data.licence or 'unknown'}",
        "- The restrictions of both apply to this model.",
        *card_lines(result.get("contamination")),
        "",
        "## Training",
        "",
        f"{result['steps']:,} steps, {result['tokens']:,} tokens, {result['trained_parameters']:,} of "
        f"{result['parameters']:,} parameters trained. {held_out}",
        f"Prompt format: {result['prompt_format']}. The recipe is in recipe.yaml, every figure in metrics.jsonl, "
        f"versions in {MANIFEST}.",
        "",
        "## Limits",
        "",
        "What it learned was measured on the held-out rows alone. Compare it with its parent in the arena, and on a "
        "general suite, before it serves anybody.",
        "",
    ]
    return "\n".join(lines)


def zip_artifact(folder: Path, target: Path) -> Path:
    """All of an artifact as one zip file, which appears when it is complete. Raises OSError."""
    part = target.with_name(target.name + ".part")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as archive:
            for file in sorted(folder.rglob("*")):
                if file.is_file():
                    # Weights do not compress.
                    how = zipfile.ZIP_STORED if file.suffix == ".safetensors" else zipfile.ZIP_DEFLATED
                    archive.write(file, Path(target.stem) / file.relative_to(folder), compress_type=how)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target


def newest_artifact(data_dir: Path, name: str) -> Path | None:
    """The folder of the newest finished training of this name."""
    found: list[tuple[str, Path]] = []
    for manifest in (data_dir / "jobs").glob(f"*/artifact/{MANIFEST}"):
        told = json.loads(manifest.read_text(encoding="utf-8"))
        if told["plan"]["recipe"]["name"] == name:
            found.append((told["made_at"], manifest.parent))
    return max(found)[1] if found else None
