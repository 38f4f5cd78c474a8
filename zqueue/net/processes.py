"""Processes of our own: starting them from a clean interpreter, and what one of them needs."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Container
from pathlib import Path
from typing import Any

from ..errors import ConfigError

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

_PROGRAM = """\
import sys
sys.path[:] = {path!r}
from {module} import {function}
sys.exit({function}())
"""


def start_python(
    module: str, function: str, *arguments: str, **options: Any
) -> subprocess.Popen[bytes]:
    """Start ``module.function()`` in a new interpreter with this one's module path.

    ``arguments`` are its ``sys.argv[1:]``, ``options`` go to `subprocess.Popen`. Whatever lies
    in the working directory cannot get in the way, and the process gets SIGTERM if this one
    dies (on Linux).
    """
    program = _PROGRAM.format(path=sys.path, module=module, function=function)
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.DEVNULL,
        preexec_fn=_end_with_parent,
        **options,
    )


def forbid_core_dumps() -> None:
    """This process has a secret in its memory, which is to be in no file. (1 byte and not 0: the
    kernel does not hold a program that core dumps are piped to against 0.)"""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    least = 1 if hard == resource.RLIM_INFINITY else min(1, hard)
    resource.setrlimit(resource.RLIMIT_CORE, (least, hard))


def _end_with_parent() -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def exit_code(process: subprocess.Popen[bytes]) -> int | None:
    """How a child has ended, as `Popen.returncode` has it; None while it runs.

    It stays a zombie until it is waited for, so its number, and that of its process group, are
    given to nobody else meanwhile.
    """
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    try:
        found = os.waitid(os.P_PID, process.pid, options)
    except ChildProcessError:
        return process.poll()
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def adopt_orphans() -> None:
    """Become the parent of descendants that lose theirs (on Linux), to `reap_orphans`.

    Else they are left to the system's first process, which in a container may well be us, or one
    that reaps nobody.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def reap_orphans(children: Container[int]) -> None:
    """Collect what is left of adopted processes that have ended. Our own children stay as they are:
    one that has ended must be waited for before those behind it are found."""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or found.si_pid in children:
            return
        os.waitpid(found.si_pid, 0)


def rss_bytes(pid: int | str = "self") -> int:
    """Resident memory of a process now; 0 where the system does not say."""
    try:
        with open(f"/proc/{pid}/statm") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


# --- the system's view of any process ---


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    state, *_ = _stat(pid)
    return state not in ("", "Z", "X")


def children_of(pid: int) -> list[int]:
    """Pids of the processes whose parent this is."""
    everybody = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [other for other in everybody if _stat(other)[1:2] == [str(pid)]]


def started_at(pid: int) -> str:
    """When a process started, which tells it from a later one of that pid; empty: there is none."""
    fields = _stat(pid)
    return fields[19] if len(fields) > 1 else ""


def _stat(pid: int) -> list[str]:
    """The fields behind its name: state, parent …"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return [""]


def raise_file_limit(wanted: int, option: str) -> None:
    """Room for so many descriptors, which ``option`` asks for. Raises `ConfigError` if there cannot
    be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise ConfigError(
                f"{wanted} open files are needed and {hard} allowed: raise the limit "
                f"(ulimit -n {wanted}) or lower {option}"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
