"""What the handlers of all systems do, in their worker processes. Only the standard library.

What workers have to tell (that they are there, how late a task was, how many tasks they have run)
they leave in files of the driver's folder: it costs every system the same, and never goes through
the system that is measured. The monotonic clock is one for all processes.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
from pathlib import Path
from time import monotonic_ns

FOLDER = "PEERS_FOLDER"

NAP_S = 0.01


def folder() -> Path:
    """The folder of this driver and its workers."""
    return Path(os.environ[FOLDER])


class _Worker(threading.local):
    """What one thread of a worker process has opened."""

    latencies: int | None = None
    executed: memoryview | None = None


_worker = _Worker()


def _forget() -> None:
    global _worker
    _worker = _Worker()


os.register_at_fork(after_in_child=_forget)


def mark_ready() -> None:
    """This worker process runs tasks."""
    _mark("ready").touch()


def hello() -> None:
    """The body of a task by which workers show themselves. Long enough for all to get one."""
    time.sleep(0.02)
    mark_ready()


def note_latency(due_ns: int, call_ns: int = 0) -> None:
    """The handler of a task that was to be sent at ``due_ns``, and was at ``call_ns``, has started,
    now."""
    now_ns = monotonic_ns()
    if _worker.latencies is None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        _worker.latencies = os.open(_mark("latencies"), flags, 0o600)
    os.write(_worker.latencies, b"%d %d\n" % (now_ns - due_ns, now_ns - call_ns))


def executed_slot() -> memoryview:
    """Where this thread counts the tasks that it has run: ``slot[0] += 1``."""
    if _worker.executed is None:
        path = _mark("executed")
        path.write_bytes(bytes(8))
        with path.open("r+b") as file:
            _worker.executed = memoryview(mmap.mmap(file.fileno(), 8)).cast("q")
    return _worker.executed


def executed() -> None:
    """One task was run."""
    executed_slot()[0] += 1


def noop(body: object) -> None:
    """The handler of W1, where the system does not say itself what was done."""
    executed()


def nap() -> None:
    """A task that waits, as for a database."""
    time.sleep(NAP_S)
    executed()


def words(text: str) -> int:
    """The work of W3."""
    return len(text.split())


def _mark(kind: str) -> Path:
    return folder() / f"{kind}-{os.getpid()}-{threading.get_native_id()}"
