"""The processes of a benchmark: started, told what to do, and gone afterwards.

Each is in a process group of its own, so Ctrl-C in a terminal reaches only the process that
measures, which ends the others; and the system ends them if that one is killed. (Not in a session
of its own: Linux shares processors out between sessions, and raw pyzmq across several of them did
half as much.)
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any

from ..errors import TimedOut, ZQueueError
from ..net.processes import start_python
from . import watch

STOP_TIMEOUT_S = 20.0
LOOK_EVERY_S = 0.002

Process = subprocess.Popen[bytes]


def start_zqueue(role: str, *arguments: str) -> Process:
    """Start ``zqueue …`` as it comes: no configuration file, nothing from the environment."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ZQUEUE_")}
    command = ("-l", "error", "--config", os.devnull, *arguments)
    module, function = "zqueue.cli", "main"
    orders = watch.orders()
    if orders is not None:
        clean.update(orders)
        module, function, command = watch.__name__, "main", (role, module, function, *command)
    return start_python(module, function, *command, env=clean, process_group=0)


def stop(process: Process) -> None:
    """End a process, in good order if it can be had."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def all_stopped() -> Iterator[list[Process]]:
    """A list of processes that are stopped in the end, the last one first."""
    started: list[Process] = []
    try:
        yield started
    finally:
        for process in reversed(started):
            stop(process)


def wait_until(
    condition: Callable[[], Any], what: str, *, timeout_s: float, processes: Sequence[Process] = ()
) -> float:
    """Look again and again until something is so. Returns the instant when it was.

    Raises `TimedOut`, or `ZQueueError` if one of the processes ends meanwhile.
    """
    pause = threading.Event()
    deadline = monotonic() + timeout_s
    while not condition():
        for process in processes:
            if process.poll() is not None:
                raise ZQueueError(f"a process ended with code {process.returncode}; no {what}")
        if monotonic() > deadline:
            raise TimedOut(f"no {what} within {timeout_s:g} s")
        pause.wait(LOOK_EVERY_S)
    return monotonic()


def free_port() -> int:
    """A TCP port of the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def free_url() -> str:
    """An address on that interface that nobody uses now."""
    return f"tcp://127.0.0.1:{free_port()}"


class Line:
    """One end of a conversation between two processes, in lines of JSON."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._read = b""

    def tell(self, **what: Any) -> None:
        """Say something."""
        self._end.sendall(json.dumps(what).encode() + b"\n")

    def has_heard(self) -> bool:
        """Whether there is something to hear now."""
        return b"\n" in self._read or bool(select.select([self._end], [], [], 0)[0])

    def hear(self, timeout_s: float | None = None) -> dict[str, Any]:
        """What is said next. Raises `ZQueueError` if there is nobody any more, or nothing is
        said in time."""
        self._end.settimeout(timeout_s)
        while b"\n" not in self._read:
            try:
                data = self._end.recv(1 << 16)
            except TimeoutError:
                raise TimedOut(f"a process said nothing for {timeout_s:g} s") from None
            if not data:
                raise ZQueueError("a process ended")
            self._read += data
        line, _, self._read = self._read.partition(b"\n")
        heard: dict[str, Any] = json.loads(line)
        return heard

    def close(self) -> None:
        """Leave."""
        self._end.close()

    @classmethod
    def inherited(cls, fd: str) -> Line:
        """The end that a process was started with."""
        return cls(socket.socket(fileno=int(fd)))


class Helper:
    """A process of ours that is told what to do."""

    def __init__(self, module: str, function: str, *arguments: str) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = start_python(
                module, function, str(theirs.fileno()), *arguments,
                pass_fds=(theirs.fileno(),), process_group=0,
            )  # fmt: skip
        self.line = Line(ours)

    def end(self) -> None:
        """End it; it has nothing to save."""
        self.line.close()
        self.process.kill()
        self.process.wait()
