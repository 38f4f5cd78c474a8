"""Processes of a measurement: none is left behind, whatever happens."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from time import monotonic
from typing import Any

POLL_S = 0.002
"""Between two looks at whether something is over: less than a hundredth of a run."""


def end_with_parent() -> None:
    """The process that calls this ends on SIGTERM, and gets it when its parent dies (on Linux)."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def end_group(process: subprocess.Popen[Any], timeout: float) -> None:
    """End a process that leads a group of its own, and whoever is left of the group.

    The leader is not waited for until its group is gone: so long nobody else can get its id.
    """
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGTERM)
    deadline = monotonic() + timeout
    flags = os.WEXITED | os.WNOWAIT | os.WNOHANG
    while os.waitid(os.P_PID, process.pid, flags) is None and monotonic() < deadline:
        time.sleep(POLL_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Processes:
    """What a driver started, and ends.

    Each leads a group of its own, in our session: Linux shares processors out between sessions
    first, and with a session for each process some systems do half as much.
    """

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: object, user: str | None = None) -> int:
        """Start a process, as another user if need be; what it prints goes to the driver's log.
        Returns its pid."""
        self._started.append(
            subprocess.Popen(
                [str(argument) for argument in arguments],
                stdin=subprocess.DEVNULL,
                process_group=0,
                preexec_fn=end_with_parent,
                user=user,
            )
        )
        return self._started[-1].pid

    def start_python(self, *arguments: object) -> int:
        """Start this Python, as in ``start_python("-m", "celery")``."""
        return self.start(sys.executable, *arguments)

    def check(self) -> None:
        """Raise `RuntimeError` if one of them is gone."""
        for process in self._started:
            if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
                raise RuntimeError(f"{process.args!r} ended by itself")

    def end(self) -> None:
        """End all, the last one first."""
        while self._started:
            end_group(self._started.pop(), 10)
