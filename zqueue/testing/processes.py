"""The processes of a test: started, watched and ended."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..net.processes import children_of, started_at
from .waiting import DEADLINE_S, LOOK_EVERY_S, T, Unmet, wait_until

STOP_S = 20.0
LOG_CHARS_MAX = 6_000


class Process:
    """A process that a test started. Its output goes to files, so that no pipe fills up."""

    def __init__(
        self, name: str, folder: Path, arguments: Sequence[str | Path], **options: Any
    ) -> None:
        self.name = name
        self._out = folder / f"{name}.out"
        self._err = folder / f"{name}.err"
        options.setdefault("stdin", subprocess.DEVNULL)
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.popen = subprocess.Popen(arguments, stdout=out, stderr=err, **options)
        self._family: dict[int, str] = {}

    def __repr__(self) -> str:
        code = self.popen.poll()
        return f"<Process {self.name} {self.pid}: {'running' if code is None else code}>"

    @property
    def pid(self) -> int:
        """Its number."""
        return self.popen.pid

    @property
    def out(self) -> str:
        """What it has written to its output so far."""
        return self._out.read_text(errors="replace")

    @property
    def err(self) -> str:
        """What it has written to its error output so far: the log."""
        return self._err.read_text(errors="replace")

    def children(self) -> list[int]:
        """Pids of its living children. They are remembered, and `end` ends them, too."""
        found = children_of(self.pid)
        self.remember(found)
        return found

    def remember(self, pids: Sequence[int]) -> None:
        """Let `end` end these as well."""
        for pid in pids:
            self._family.setdefault(pid, started_at(pid))

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.popen.send_signal(number)

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.popen.poll() is None

    def wait(self, timeout: float = DEADLINE_S) -> int:
        """Wait for its end, and return its exit code. Raises `Unmet` after ``timeout`` s."""
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Unmet(f"{self.name} still runs after {timeout:g} s") from None

    def wait_until(
        self, condition: Callable[[], T | None], *, every: float = LOOK_EVERY_S, what: object
    ) -> T:
        """As the function `wait_until`; raises `Unmet` at once if this process ends before."""

        def look() -> T | None:
            if not self.is_running():
                code = self.popen.returncode
                raise Unmet(f"{self.name} ended with code {code}: {self.err.rstrip()}")
            return condition()

        return wait_until(look, every=every, what=what)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.children()
        self.popen.kill()
        self.popen.wait()

    def stop(self, timeout: float = STOP_S) -> int:
        """SIGTERM, so that it drains; SIGKILL after ``timeout`` s. Returns its exit code."""
        self.children()
        self.popen.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.popen.wait(timeout)
        self.end()
        return self.popen.wait()

    def end(self) -> None:
        """SIGKILL for it and for the children that were seen."""
        self.kill()
        for pid, since in self._family.items():
            if since and started_at(pid) == since:  # A pid may be another's by now.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


_PROGRAM = """\
import ctypes, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path[:] = {path!r}
from zqueue.cli import main
sys.exit(main())
"""
"""It ends with the process that tests, imports what that one can, and takes SIGINT also where that
one ignores it: in the background of a shell."""


class Processes:
    """The processes of a test. Everything they write goes to ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.all: list[Process] = []
        self._numbers = itertools.count(1)

    def start(self, name: str, *arguments: str | Path, **options: Any) -> Process:
        """Start a program. ``options`` go to `subprocess.Popen`."""
        process = Process(f"{next(self._numbers)}-{name}", self.folder, arguments, **options)
        self.all.append(process)
        return process

    def zqueue(self, *arguments: str, **options: Any) -> Process:
        """Start ``zqueue …``. It can import what this process can."""
        program = _PROGRAM.format(path=sys.path)
        return self.start(arguments[0], sys.executable, "-c", program, *arguments, **options)

    def python(self, program: str, *arguments: str, **options: Any) -> Process:
        """Start a Python program given as text."""
        return self.start("program", sys.executable, "-c", program, *arguments, **options)

    def end(self) -> None:
        """End all of them, the last first."""
        for process in reversed(self.all):
            process.end()

    def shown(self) -> Iterator[tuple[str, str]]:
        """For each: a title, and the end of what it wrote to its error output."""
        for process in self.all:
            yield f"stderr of {process!r}", process.err[-LOG_CHARS_MAX:]
