"""The processes of one training, as torchrun starts them: the first one leads, the others train along.

The leader alone claims the job, reserves memory, tells how it goes and saves. Where there is one process, it leads.
Torch is imported where it is needed: a process claims its job before it takes the seconds for that.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Literal

_LOOK_EVERY = 0.2

Word = Literal["go", "stop"]


def leads() -> bool:
    """Whether this process is the first of its training."""
    return int(os.environ.get("RANK", "0")) == 0


def any_of(flag: bool) -> bool:
    """Whether the flag is set in any process; all must ask at the same step."""
    import torch
    from torch import distributed

    if not several():
        return flag
    told = torch.tensor([int(flag)], device="cuda" if distributed.get_backend() == "nccl" else "cpu")
    distributed.all_reduce(told)
    return bool(told)


def several() -> bool:
    """Whether this training has several processes (told once its trainer has been made)."""
    from torch import distributed

    return bool(distributed.is_available() and distributed.is_initialized())


def together() -> None:
    """Wait until all processes are here."""
    from torch import distributed

    if several():
        distributed.barrier()


def agree(value: float) -> bool:
    """Whether all processes have the very same number."""
    from torch import distributed

    if not several():
        return True
    told: list[float | None] = [None] * distributed.get_world_size()
    distributed.all_gather_object(told, value)
    return len(set(told)) == 1


def give_word(folder: Path, word: Word) -> None:
    """What the leader tells the others through the job's folder: to begin, or that there is nothing to do."""
    mark = _mark(folder)
    if mark is not None:
        part = mark.with_suffix(".part")
        part.write_text(word)
        part.replace(mark)


def take_back_word(folder: Path) -> None:
    """The leader has ended a training that had begun: nobody need wait for it."""
    mark = _mark(folder)
    if mark is not None and mark.exists() and mark.read_text() == "go":
        mark.unlink()


def word_of_leader(folder: Path) -> Word:
    """Wait for the leader's word. torchrun ends this process where the leader dies before."""
    mark = _mark(folder)
    while mark is not None and not mark.exists():
        time.sleep(_LOOK_EVERY)
    if mark is None or mark.read_text() == "go":
        return "go"
    mark.unlink()
    return "stop"


def let_leader_end(folder: Path, seconds: float = 30.0) -> None:
    """After a failure here: torchrun would end the leader at once, before it can say what went wrong."""
    mark, until = _mark(folder), time.monotonic() + seconds
    while mark is not None and mark.exists() and time.monotonic() < until:
        time.sleep(_LOOK_EVERY)


def _mark(folder: Path) -> Path | None:
    started = os.environ.get("TORCHELASTIC_RUN_ID")
    return None if started is None else folder / f"processes-{started}"
