"""Answers that are programs: run with the item's tests in a process of its own.

Not safe against hostile code. What the operating system lets an ordinary user do to shield itself is done: limits on
time, memory, files and processes, an empty environment and folder, no network (a namespace of its own, where the
kernel allows that to users), and the user `nobody` where this process is root. None of it keeps a program that means
harm from reading what its user may read. So it is off until `--allow-code` is given; use a virtual machine or a
container for models that you do not trust.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from evaluators.suites.scorers.base import Answer, Case, Fields, Options, Scored, Scorer

_BLOCK = re.compile(r"```(?:python|py)?[^\S\n]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)

# Runs in the child, before the program: limits, then the namespace, then the user.
_GUARD = """
import ctypes, os, resource, sys
seconds, memory = int(sys.argv[1]), int(sys.argv[2]) << 20
for kind, limit in ((resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, 1 << 20),
                    (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, 64)):
    resource.setrlimit(kind, (limit, limit))
isolated = False
if sys.platform == "linux":
    libc = ctypes.CDLL(None, use_errno=True)
    root = os.getuid() == 0
    isolated = libc.unshare(0x40000000 if root else 0x50000000) == 0  # CLONE_NEWNET, with CLONE_NEWUSER for users
    if root:
        library = {path: os.open(path, os.O_RDONLY) for path in sys.path if os.path.isdir(path)}
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
        if not os.access(os.__file__, os.R_OK):
            # Python lies in root's home, whose door is shut to others: its library is reached through open folders
            # (a process that changed its user may see its own only when it says so).
            libc.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE
            def reached(path):
                fits = [each for each in library if path == each or path.startswith(each + "/")]
                each = max(fits, key=len, default=None)
                return path if each is None else f"/proc/self/fd/{library[each]}{path[len(each):]}"
            sys.path[:] = map(reached, library)
            sys.path_importer_cache.clear()
            for module in list(sys.modules.values()):
                if hasattr(module, "__path__"):
                    module.__path__ = [reached(path) for path in module.__path__]
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
os.write(3, b"isolated" if isolated else b"open")
os.close(3)
source = sys.stdin.read()
sys.argv = ["answer.py"]
exec(compile(source, "answer.py", "exec"), {"__name__": "__main__"})
print("\\n" + "PASSED-" + os.environ["MARK"], flush=True)
"""


class Outcome(NamedTuple):
    """How a program ended. `isolated`: it had no network."""

    passed: bool
    reason: str
    isolated: bool


class CodeFields(Fields):
    """`tests`: Python that raises unless the program is right; `prompt_code`: what the answer continues, if it does;
    `entry_point`: a function that must be defined."""

    tests: str = Field(min_length=1)
    prompt_code: str = ""
    entry_point: str | None = None


class CodeOptions(Options):
    """Limits: seconds of CPU (twice as many by the clock) and memory in MiB."""

    seconds: int = Field(default=10, ge=1, le=600)
    memory: int = Field(default=1024, ge=64)


def program_of(text: str) -> str:
    """The program in an answer: its last code block, else all of it."""
    blocks = _BLOCK.findall(text)
    return str(blocks[-1]) if blocks else text


def run_program(source: str, *, seconds: int = 10, memory: int = 1024) -> Outcome:
    """Run a Python program within limits. It passes where it reaches its end; leaving early by exit(0) does not
    count."""
    # The program cannot know the mark before it runs to its end, or print it by accident.
    mark = os.urandom(16).hex()
    reader, writer = os.pipe()
    with tempfile.TemporaryDirectory(prefix="answer-") as folder:
        Path(folder).chmod(0o777)
        try:
            with subprocess.Popen(
                [
                    sys.executable,
                    "-I",
                    "-S",
                    "-c",
                    f"import os\nos.dup2({writer}, 3)\n{_GUARD}",
                    str(seconds),
                    str(memory),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=folder,
                env={"MARK": mark, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"},
                pass_fds=[writer],
                start_new_session=True,
            ) as process:
                os.close(writer)
                try:
                    out, errors = process.communicate(source.encode(), timeout=2 * seconds)
                except subprocess.TimeoutExpired:
                    _end(process)
                    process.communicate()
                    return Outcome(False, f"not done within {2 * seconds} seconds", _isolated(reader))
                finally:
                    _end(process)
        finally:
            isolated = _isolated(reader)
            os.close(reader)
    if process.returncode == 0 and out.rstrip().endswith(f"PASSED-{mark}".encode()):
        return Outcome(True, "", isolated)
    last = errors.decode(errors="replace").strip().rsplit("\n", 1)[-1][:300]
    return Outcome(False, last or _ending(process.returncode, seconds), isolated)


def _ending(code: int, seconds: int) -> str:
    if code == -signal.SIGKILL:  # what the kernel sends when the CPU time is used up
        return f"stopped: its {seconds} s of CPU time are used up"
    return "it ended itself" if code == 0 else f"ended with {code}"


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _isolated(reader: int) -> bool:
    os.set_blocking(reader, False)
    try:
        return os.read(reader, 16) == b"isolated"
    except (BlockingIOError, OSError):
        return False


def code(answer: Answer, case: Case) -> Scored:
    """1 where the answer's program passes the item's tests."""
    if not case.allow_code:
        raise ValueError(
            "scorer code: this suite runs programs that a model wrote. That is off: read docs/suites.md, then give "
            "--allow-code"
        )
    fields, options = case.fields, case.options
    check = f"\nassert callable({fields.entry_point})" if fields.entry_point else ""
    source = "\n".join((fields.prompt_code, program_of(answer.text))) + f"{check}\n{fields.tests}\n"
    outcome = run_program(source, seconds=options.seconds, memory=options.memory)
    return Scored(
        {"passed": float(outcome.passed)}, {"reason": outcome.reason, "no_network": outcome.isolated}
    )


SCORERS = (Scorer("code", CodeFields, CodeOptions, ("passed",), code),)
