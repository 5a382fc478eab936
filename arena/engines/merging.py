"""Adapters merged into their base on request, in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from pydantic import BaseModel

import arena.engines
from arena.engines.base import EngineRejected, EngineUnavailable
from arena.engines.sources import adapter_folder, resolve
from arena.engines.spec import ModelSpec


class Merged(BaseModel):
    """A merged model's folder, its dtype, and how far a logit moved at most by merging and rounding."""

    folder: Path
    dtype: str
    difference: float
    largest_logit: float


def merge_adapter(spec: ModelSpec, data_dir: Path, folder: Path) -> Merged:
    """Merge a spec's adapter into its base and save the result, with tokenizer and templates, in a new `folder`.

    The merged model's logits are compared with those of the base with its adapter before anything is saved.
    Raises `EngineRejected` where there is nothing to merge or it cannot be done without loss, and
    `EngineUnavailable` where the files cannot be read or written.
    """
    if spec.kind != "local" or spec.adapter is None:
        raise EngineRejected(f"{spec.name} has no adapter: there is nothing to merge")
    if spec.quantisation != "none":
        raise EngineRejected(
            f"{spec.name} runs its base as {spec.quantisation}: an adapter cannot be added to rounded weights without "
            "loss. Merge a model with the same adapter and quantisation none, and quantise the result"
        )
    if folder.exists() and any(folder.iterdir()):
        raise EngineRejected(f"{folder} is not empty: choose a new folder")
    base, adapter = resolve(spec, data_dir), adapter_folder(spec)
    made = folder.with_name(f".making-{folder.name}-{os.getpid()}")
    root = Path(arena.engines.__file__).parents[2]
    path = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    try:
        made.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "arena.engines.local_merge", str(base), str(adapter), str(made)],
            env={**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            last = done.stderr.strip().splitlines()[-1:] or ["no message"]
            raise EngineRejected(f"{spec.name} cannot be merged: {last[0]}")
        told = json.loads(done.stdout.strip().splitlines()[-1])
        if folder.exists():
            folder.rmdir()
        made.replace(folder)
    except OSError as error:
        raise EngineUnavailable(f"{folder} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return Merged(folder=folder, **told)
