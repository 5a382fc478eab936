"""What a training process tells while it works, and how it is told to stop."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import TrainerCallback

from arena.engines.memory import in_words
from trainers.methods._loading import CannotTrain
from trainers.methods._processes import any_of, leads, together

COMPLETE = ".complete"
"""A file in each checkpoint that was written to its end."""

CANCEL = "cancel"
"""A file in a job's folder that asks it to stop at the next step."""

# Costs nothing while another process owns the store. Where this one does (`--detach`, or its starter is gone), DuckDB's
# idle threads call malloc_trim after each write, and the next step gets its memory from the system anew: 0.15 s of CPU.
# Curves are drawn from the metrics, which are written at every step.
_TELL_EVERY = 5.0


class Watcher(TrainerCallback):  # type: ignore[misc]  # transformers is not followed
    """Writes `metrics.jsonl`, tells progress, marks checkpoints complete, and stops when asked or when it must.

    `tell` gets the progress of the job as plain values, at most every five seconds.
    """

    def __init__(self, folder: Path, tell: Callable[[dict[str, Any]], None], checkpoint_bytes: int) -> None:
        self._folder, self._tell, self._checkpoint_bytes = folder, tell, checkpoint_bytes
        self._metrics = folder / "metrics.jsonl"
        self._process = psutil.Process()
        self._began = self._told = self._seconds_before = 0.0
        self._first_step = self._first_tokens = self._before = self._counted = 0
        self._latest: dict[str, Any] = {}
        self._held_out: list[float] = []
        self._train_losses: list[float] = []
        self.cancelled = False
        self.warnings: list[str] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock; steps done before a resume do not count for the speed."""
        self._began = time.monotonic()
        self._first_step = state.global_step
        if state.global_step:
            self._before, self._seconds_before = self._spent_by(state.global_step)
        self._first_tokens = self.tokens(state)
        self._held_out = [entry["eval_loss"] for entry in state.log_history if "eval_loss" in entry]
        self._check_disk()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Tell how far it is; stop, with a checkpoint, where that was asked for."""
        if any_of((self._folder / CANCEL).exists()):
            self.cancelled = True
            control.should_save = control.should_training_stop = True
        if leads() and (time.monotonic() - self._told >= _TELL_EVERY or self.cancelled):
            self._told = time.monotonic()
            self._tell(self._progress(state))

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Keep what was measured. Raises `CannotTrain` where the loss is no number any more."""
        values = {key: _plain(value) for key, value in (logs or {}).items()}
        loss = values.get("loss")
        if isinstance(loss, float):
            if not math.isfinite(loss):
                raise CannotTrain(
                    f"the loss is {loss} at step {state.global_step}: lower optimiser.learning_rate, or use float32",
                    "diverged",
                )
            self._train_losses.append(loss)
        if isinstance(values.get("eval_loss"), float):
            self._watch_overfitting(values["eval_loss"])
        keep = {
            key: value
            for key, value in values.items()
            if key in ("loss", "learning_rate", "eval_loss", "reward")
        }
        self._latest.update(keep)
        if isinstance(values.get("num_tokens"), int | float) and "loss" in values:
            self._counted = int(values["num_tokens"])
        if not leads():
            return
        line = {
            "step": state.global_step,
            "time": time.time(),
            **values,
            "tokens": self.tokens(state),
            "seconds": self.seconds(),
            **self._speed(state),
            **self._memory(),
        }
        with self._metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Mark the checkpoint as whole, and stop in time where another would fill the disk."""
        together()  # each process writes a part of it
        if not leads():
            return
        checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if checkpoint.is_dir():
            (checkpoint / COMPLETE).touch()
        if state.global_step < state.max_steps:
            self._check_disk()

    def _check_disk(self) -> None:
        free = shutil.disk_usage(self._folder).free
        if free < 2 * self._checkpoint_bytes:
            raise CannotTrain(
                f"only {in_words(free)} of disk are left, and a checkpoint takes "
                f"{in_words(self._checkpoint_bytes)}: make room and resume, or lower checkpoints_kept",
                "disk_full",
            )

    def tokens(self, state: Any) -> int:
        """Tokens that passed through the model in all steps: transformers' count, which a checkpoint keeps, or else
        the trainer's own, which begins anew with each process."""
        return int(state.num_input_tokens_seen or 0) or self._before + self._counted

    def seconds(self) -> float:
        """Seconds of training, those before a resume included (but not steps that were lost and done again)."""
        return self._seconds_before + time.monotonic() - self._began

    def _spent_by(self, step: int) -> tuple[int, float]:
        """Tokens and seconds up to a step, as an earlier process noted them."""
        try:
            lines = self._metrics.read_text(encoding="utf-8").split("\n")
        except FileNotFoundError:
            return 0, 0.0
        rows = [json.loads(line) for line in lines if line.endswith("}")]
        done = [row for row in rows if row["step"] <= step]
        return (
            max((row.get("tokens", 0) for row in done), default=0),
            max((row.get("seconds", 0.0) for row in done), default=0.0),
        )

    def _watch_overfitting(self, held_out: float) -> None:
        self._held_out.append(held_out)
        recent = self._held_out[-3:]
        if len(recent) == 3 and recent[0] < recent[1] < recent[2] and min(self._held_out) <= recent[0]:
            text = (
                f"held-out loss rises ({recent[0]:.3f}, {recent[1]:.3f}, {recent[2]:.3f}) while training goes on: the "
                "model learns its rows by heart; fewer epochs, or set evaluation.patience"
            )
            if text not in self.warnings:
                self.warnings = [*self.warnings, text][-3:]

    def _progress(self, state: Any) -> dict[str, Any]:
        done = state.global_step - self._first_step
        elapsed = time.monotonic() - self._began
        left = (state.max_steps - state.global_step) * elapsed / done if done else None
        return {
            "phase": "training",
            "step": state.global_step,
            "steps": state.max_steps,
            "epoch": _plain(state.epoch),
            "seconds_left": left,
            "warnings": self.warnings,
            **self._latest,
            **self._speed(state),
            **self._memory(),
        }

    def _speed(self, state: Any) -> dict[str, Any]:
        elapsed = time.monotonic() - self._began
        seen = self.tokens(state) - self._first_tokens
        return {"tokens_per_second": seen / elapsed} if self._began and elapsed > 0 and seen else {}

    def _memory(self) -> dict[str, int]:
        figures = {"memory": self._process.memory_info().rss}
        if torch.cuda.is_available():
            figures["gpu_memory"] = torch.cuda.max_memory_allocated()
        return figures


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint of a job's folder; broken ones (the process died while it wrote) are removed."""
    found: list[tuple[int, Path]] = []
    for checkpoint in (folder / "checkpoints").glob("checkpoint-*"):
        if (checkpoint / COMPLETE).exists():
            found.append((int(checkpoint.name.rpartition("-")[2]), checkpoint))
        else:
            shutil.rmtree(checkpoint, ignore_errors=True)
    return max(found)[1] if found else None


def _plain(value: Any) -> Any:
    if isinstance(value, bool | int | str) or value is None:
        return value
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)
