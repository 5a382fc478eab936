"""CTranslate2's int8 engine for CPUs: models converted once, batches, tokens as they come. Worker processes only.

Its batches cannot be joined, so a running one is broken off when others wait, and begun again with all of them: the
prompts and what was generated are read again, which is cheap beside waiting. `python -m arena.engines.local_ct2
FOLDER TARGET` converts, in a process of its own.
"""

from __future__ import annotations

import hashlib
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from filelock import FileLock
from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from arena.engines.base import Sampling
from arena.engines.local_adapters import CannotAttach
from arena.engines.local_decode import Sequence, Step
from arena.engines.local_model import CannotLoad, LoadedModel, context_length, stop_ids
from arena.engines.memory import MOST_ROWS, PLANNED_TOKENS
from arena.engines.protocol import WorkerConfig

LEAST_STEPS = 8
"""Tokens that a batch makes before it is broken off for others."""
THREADS = 1
"""CTranslate2 cannot change them while it runs, and the cores are shared with other workers."""


class NoAdapters:
    """CTranslate2 runs no adapters."""

    def attach(self, folder: Path) -> str:
        """Raises `CannotAttach`."""
        raise CannotAttach(f"ct2-int8 runs no adapters: merge {folder} into its base (arena models merge)")

    def group(self, name: str | None) -> None:
        """There is one group."""

    def forget_unused(self, used: set[str]) -> None:
        """There is nothing to forget."""

    def detach(self, folder: Path, used: set[str]) -> None:
        """There is nothing to detach."""


@dataclass(frozen=True)
class Ct2Model:
    """The converted model and what `LoadedModel.model` is asked for."""

    generator: Any
    generation_config: Any
    config: Any


@dataclass
class _Batch:
    """Sequences that are generated together; `events` are (row, token), an error, or None at the end."""

    sequences: list[Sequence]
    made: list[int]
    events: queue.SimpleQueue[tuple[int, int] | Exception | None] = field(default_factory=queue.SimpleQueue)
    break_off: bool = False


class Ct2Decoder:
    """Answers many sequences on a converted model, with the face of `local_decode.Decoder`."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded
        self._waiting: list[Sequence] = []
        self._batch: _Batch | None = None

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._waiting or self._batch)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence."""
        self._waiting.append(sequence)

    def cancel(self, sequence: Sequence) -> None:
        """Generate nothing more for this sequence."""
        sequence.finished = True
        if sequence in self._waiting:
            self._waiting.remove(sequence)

    def step(self) -> Iterator[Step]:
        """The tokens that have come since the last step; waits for a moment where there are none."""
        if self._batch is None:
            self._begin()
        batch = self._batch
        if batch is None:
            return
        batch.break_off = bool(self._waiting) and max(batch.made) >= LEAST_STEPS
        try:
            event = batch.events.get(timeout=0.05)
        except queue.Empty:
            return
        if isinstance(event, Exception):
            raise event
        if event is None:
            self._batch = None
            self._waiting[:0] = [sequence for sequence in batch.sequences if not sequence.finished]
            return
        sequence, token = batch.sequences[event[0]], event[1]
        if sequence.finished:
            return
        sequence.ids.append(token)
        end: Literal["stop", "length"] | None = None
        if token in self._loaded.stop_ids or token in sequence.stop_ids:
            end = "stop"
        elif sequence.generated >= sequence.max_tokens:
            end = "length"
        sequence.finished = end is not None
        yield Step(sequence, token, end)

    def _begin(self) -> None:
        if not self._waiting:
            return
        sampling = _key(self._waiting[0].sampler.sampling)
        chosen = [each for each in self._waiting if _key(each.sampler.sampling) == sampling][:MOST_ROWS]
        self._waiting = [each for each in self._waiting if each not in chosen]
        batch = self._batch = _Batch(chosen, [0] * len(chosen))
        threading.Thread(target=self._generate, args=(batch,), name="ct2 batch", daemon=True).start()

    def _generate(self, batch: _Batch) -> None:
        sequences = batch.sequences
        rooms = [each.max_tokens - each.generated for each in sequences]
        ends = sorted({*self._loaded.stop_ids, *(end for each in sequences for end in each.stop_ids)})

        def told(result: Any) -> bool:
            row = int(result.batch_id)
            batch.made[row] += 1
            batch.events.put((row, int(result.token_id)))
            return batch.break_off or sequences[row].finished or batch.made[row] >= rooms[row]

        temperature, top_p, top_k, penalty = _key(sequences[0].sampler.sampling)
        try:
            self._loaded.model.generator.generate_batch(
                [self._loaded.tokenizer.convert_ids_to_tokens(each.ids) for each in sequences],
                max_length=max(rooms),
                max_batch_size=0,
                include_prompt_in_result=False,
                end_token=ends,
                return_end_token=True,
                sampling_temperature=temperature or 1.0,
                sampling_topk=top_k if temperature else 1,
                sampling_topp=top_p,
                repetition_penalty=penalty,
                callback=told,
            )
        except Exception as error:  # noqa: BLE001  # of whatever kind: the thread that answers raises it
            batch.events.put(error)
        else:
            batch.events.put(None)


def load(config: WorkerConfig, progress: Callable[[str], None]) -> LoadedModel:
    """Load a model folder as int8, converting it where that has not been done. Raises `CannotLoad`."""
    try:
        import ctranslate2
    except ImportError:
        raise CannotLoad("ct2-int8 needs the `fast-cpu` extra: pip install 'palaestra[fast-cpu]'") from None
    if config.path.suffix == ".gguf":
        raise CannotLoad("CTranslate2 converts model folders: a GGUF file has to become one first")
    progress("reading the tokenizer")
    tokenizer: Any = AutoTokenizer.from_pretrained(config.path)
    about: Any = AutoConfig.from_pretrained(config.path)
    folder = _converted(config, progress)
    progress("loading the weights")
    generator = ctranslate2.Generator(
        str(folder), device="cpu", compute_type="int8", inter_threads=1, intra_threads=THREADS
    )
    try:
        generation = GenerationConfig.from_pretrained(config.path)
    except OSError:  # a model without one
        generation = GenerationConfig.from_model_config(about)
    return LoadedModel(
        model=Ct2Model(generator, generation, about),
        adapters=NoAdapters(),  # type: ignore[arg-type]  # the part of their face that answering uses
        tokenizer=tokenizer,
        device=torch.device("cpu"),
        dtype=torch.int8,
        dtype_reason="asked for",
        context_length=context_length(about, config.context_length),
        stop_ids=stop_ids(generation.eos_token_id, tokenizer.eos_token_id),
        joinable=False,
        trims_logits=False,
        memory=(folder / "model.bin").stat().st_size,
        cache_tokens=PLANNED_TOKENS,
        token_bytes=0,
        decoder=Ct2Decoder,
    )


def refusal(sampling: Sampling, logprobs: int | None) -> str | None:
    """Why CTranslate2 cannot make this answer; None where it can."""
    if sampling.min_p:
        return "ct2-int8 has no min_p: use top_p or top_k, or another quantisation"
    if logprobs is not None:
        return "ct2-int8 tells no logprobs: use another quantisation of this model"
    return None


def _converted(config: WorkerConfig, progress: Callable[[str], None]) -> Path:
    if config.cache is None:
        raise CannotLoad("there is no folder for converted models")
    files = sorted(file for file in config.path.iterdir() if file.suffix in (".safetensors", ".bin", ".json"))
    about = "|".join(f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files)
    folder = config.cache / f"{config.path.name}-{hashlib.sha256(about.encode()).hexdigest()[:16]}"
    config.cache.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if not (folder / "model.bin").is_file():
            progress("converting to int8, once")
            made = folder.with_name(f".making-{folder.name}")
            shutil.rmtree(made, ignore_errors=True)
            command = [sys.executable, "-m", "arena.engines.local_ct2", str(config.path), str(made)]
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
            if done.returncode != 0:
                said = done.stderr.strip().splitlines()[-1:] or ["no message"]
                shutil.rmtree(made, ignore_errors=True)
                raise CannotLoad(f"CTranslate2 cannot convert this model: {said[0]}")
            made.replace(folder)
    return folder


def _key(sampling: Sampling) -> tuple[float, float, int, float]:
    return (
        sampling.temperature or 0.0,
        sampling.top_p or 1.0,
        sampling.top_k or 0,
        sampling.repetition_penalty or 1.0,
    )


def _convert(source: Path, target: Path) -> None:
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(str(source), low_cpu_mem_usage=True).convert(str(target), quantization="int8")


if __name__ == "__main__":
    _convert(Path(sys.argv[1]), Path(sys.argv[2]))
