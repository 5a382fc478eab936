"""Where the weights of a spec lie, and the hash of what they hold."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from filelock import FileLock

from arena.engines import embedded
from arena.engines.base import EngineUnavailable
from arena.engines.spec import ModelSpec

EMBEDDED = "embedded:"
SHAPING = {".safetensors", ".bin", ".pt", ".gguf", ".json", ".jinja", ".model", ".txt"}
IGNORED = {embedded.MANIFEST, "trainer_state.json", "README.txt"}
WRITTEN_BY_LIBRARIES = {"transformers_version", "_name_or_path", "_model_name_or_path"}


def resolve(spec: ModelSpec, data_dir: Path) -> Path:
    """The folder (or GGUF file) of a local spec's weights; a hub model is fetched when it is not here yet.

    Raises `EngineUnavailable` where there is none, naming what to do.
    """
    source = spec.source
    if source.startswith(EMBEDDED):
        found = embedded.find(data_dir) if source == EMBEDDED + embedded.NAME else None
        if found is None:
            raise EngineUnavailable(
                f"{spec.name}: the embedded model '{source.removeprefix(EMBEDDED)}' is not prepared: "
                f"run `arena models prepare` (there is {embedded.NAME})"
            )
        return found
    path = Path(source).expanduser()
    if path.exists():
        return path.resolve()
    if source.startswith((".", "/", "~")) or source.count("/") != 1:
        raise EngineUnavailable(f"{spec.name}: there is no model folder {path}: correct its `source`")
    return _from_hub(spec)


def adapter_folder(spec: ModelSpec) -> Path | None:
    """The folder of a spec's adapter (`embedded:NAME` is one that comes with Palaestra), if it has one. Raises
    `EngineUnavailable` where it is no adapter folder."""
    if spec.adapter is None:
        return None
    if spec.adapter.startswith(EMBEDDED):
        folder = embedded.ADAPTERS / spec.adapter.removeprefix(EMBEDDED)
    else:
        folder = Path(spec.adapter).expanduser()
    if not (folder / "adapter_config.json").is_file():
        raise EngineUnavailable(
            f"{spec.name}: {folder} is no adapter folder (it has no adapter_config.json): correct its `adapter`"
        )
    return folder.resolve()


def model_id(spec: ModelSpec) -> str:
    """The id by which a model's family is known: a hub id as it stands, the last part of a folder's path, or
    the embedded model's name."""
    if spec.source.startswith(EMBEDDED):
        return spec.source.removeprefix(EMBEDDED)
    path = Path(spec.source).expanduser()
    return path.name if path.exists() or path.is_absolute() else spec.source


def weights_digest(spec: ModelSpec, data_dir: Path) -> str:
    """SHA-256 over everything in the weights (and the adapter) that shapes answers; '' for an endpoint.

    Files are hashed once: their hashes are kept in `data_dir/cache`, keyed by path, size and time of change.
    """
    if spec.kind == "openai":
        return ""
    paths = [resolve(spec, data_dir)]
    adapter = adapter_folder(spec)
    if adapter is not None:
        paths.append(adapter)
    known = _KnownHashes(data_dir / "cache" / "file-hashes.json")
    parts = [[(path.name, known.of(path)) for path in _shaping_files(folder)] for folder in paths]
    known.save()
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _from_hub(spec: ModelSpec) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    patterns = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "README.md", "LICEN[CS]E*"]
    try:
        # A model that is here is used as it is: the arena must start without a network.
        return Path(
            snapshot_download(
                spec.source, revision=spec.revision, allow_patterns=patterns, local_files_only=True
            )
        )
    except LocalEntryNotFoundError:
        pass
    try:
        return Path(snapshot_download(spec.source, revision=spec.revision, allow_patterns=patterns))
    except Exception as error:  # the hub's client raises its own, its transport's and the system's errors
        reason = " ".join(str(error).split())[:300]
        raise EngineUnavailable(
            f"{spec.name}: '{spec.source}' is no folder here and could not be fetched from the model hub "
            f"({type(error).__name__}: {reason}). Check the name and the network, or download the model and "
            "set `source` to its folder"
        ) from error


def _shaping_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(
        file
        for file in path.iterdir()
        if file.is_file() and file.suffix in SHAPING and file.name not in IGNORED
    )


class _KnownHashes:
    """Hashes of files by path, size and time of change, kept between runs."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._added: dict[str, str] = {}
        self._known = self._read()

    def of(self, file: Path) -> str:
        stat = file.stat()
        key = f"{file}|{stat.st_size}|{stat.st_mtime_ns}"
        if key not in self._known:
            self._known[key] = self._added[key] = _content_hash(file)
        return self._known[key]

    def save(self) -> None:
        if not self._added:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self._path.with_suffix(".lock")):
            partial = self._path.with_suffix(f".{os.getpid()}")
            partial.write_text(json.dumps({**self._read(), **self._added}, indent=1, ensure_ascii=False))
            partial.replace(self._path)

    def _read(self) -> dict[str, str]:
        try:
            return dict(json.loads(self._path.read_text()))
        except (OSError, ValueError):  # none yet, or damaged: the hashes are computed again
            return {}


def _content_hash(file: Path) -> str:
    if file.name in ("config.json", "generation_config.json"):
        # The library that saved a config writes its version into it, which shapes no answer.
        content = json.loads(file.read_bytes())
        kept = {key: value for key, value in content.items() if key not in WRITTEN_BY_LIBRARIES}
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
