"""What this machine has to give: memory, GPU memory, cores. Limits of a container count as the machine's."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from results.records import Record

SHARE = 0.9
"""Of all memory; the rest is for the system and for what is open beside us."""
_NVIDIA_SMI_TIMEOUT = 10.0


class Capacity(Record):
    """Bytes of memory and of GPU memory (all GPUs together), and cores, that may be reserved in all."""

    ram: int
    gpu: int
    cores: int


@cache
def capacity() -> Capacity:
    """What may be reserved on this machine. The first time takes a second where there is an NVIDIA driver."""
    import psutil

    ram = min([psutil.virtual_memory().total, *_container_limits()])
    return Capacity(ram=int(ram * SHARE), gpu=int(_gpu_memory() * SHARE), cores=_cores())


def free_memory() -> int:
    """Bytes of memory that programs could still get, whoever uses the rest."""
    import psutil

    free = [psutil.virtual_memory().available]
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        (
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        ),
    ):
        most, now = _number(limit), _number(used)
        if most is not None and now is not None:
            free.append(max(0, most - now))
    return min(free)


def process_start(pid: int) -> float | None:
    """When a running process began (seconds since 1970); None where there is none. With the id it names a
    process for good: ids are used again."""
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.create_time()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None


def _container_limits() -> list[int]:
    found = (
        _number("/sys/fs/cgroup/memory.max"),
        _number("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    )
    return [limit for limit in found if limit is not None]


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):  # no such limit here, or it says "max"
        return None


def _gpu_memory() -> int:
    """Bytes of all NVIDIA GPUs, as their own tool tells them: torch would take seconds and a context."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return 0
    command = [tool, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(
            command, capture_output=True, text=True, timeout=_NVIDIA_SMI_TIMEOUT, check=True
        )
        return sum(int(line) for line in told.stdout.split()) * 2**20
    except (OSError, subprocess.SubprocessError, ValueError):  # a driver that does not answer lends nothing
        return 0
