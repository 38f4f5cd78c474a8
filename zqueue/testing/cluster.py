"""Brokers and workers as processes, for tests that kill and restart them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from ..client.ask import ask
from ..config import Address
from ..errors import BrokerLost
from ..net.processes import is_running
from .processes import Process, Processes
from .running import Observed, Running

QUICK = ("--heartbeat", "0.1", "--liveness", "1")
"""Broker options under which a silent peer is soon given up."""


class Broker(Observed):
    """A broker process.

    Parameters:
        url: where it listens; with the key that this asks it with, if it is one with keys.
        options: further ones of ``zqueue broker``.
    """

    def __init__(self, processes: Processes, url: str, options: Sequence[str] = ()) -> None:
        self.url = url
        self.process: Process
        self._processes = processes
        self._options = options
        self.start()

    def start(self) -> None:
        """Start it (after `kill`: again), and wait until it answers."""
        self.process = self._processes.zqueue(
            "broker", "--bind", Address.parse(self.url).url, *self._options
        )
        self.process.wait_until(
            self._is_up, what=lambda: f"a broker at {self.url}: {self.process.err}"
        )

    def kill(self) -> None:
        """SIGKILL: the tasks in its memory are lost."""
        self.process.kill()

    def restart(self) -> None:
        """`kill`, and start another at the same address."""
        self.kill()
        self.start()

    @property
    def pid(self) -> int:
        """Its number."""
        return self.process.pid

    def _is_up(self) -> bool:
        try:
            return bool(ask(self.url, timeout=0.1))
        except BrokerLost:
            return False


class Pool:
    """A ``zqueue worker`` process, the supervisor, and the worker processes that it keeps."""

    def __init__(self, process: Process) -> None:
        self.process = process

    @property
    def pids(self) -> list[int]:
        """Pids of its living workers."""
        return [pid for pid in self.process.children() if is_running(pid)]

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to the supervisor and all its workers."""
        for pid in [self.process.pid, *self.pids]:
            os.kill(pid, number)

    def kill_worker(self) -> int:
        """SIGKILL for one worker; the supervisor starts another. Returns its pid."""
        pid = self.pids[0]
        os.kill(pid, signal.SIGKILL)
        return pid


class Cluster(Running):
    """A broker, and workers of an app, as processes; a context manager that leaves none of them.

    Parameters:
        app: what ``zqueue worker`` is to load: a file, or a module's name; without one there are no
            workers.
        workers: how many worker processes.
        broker_options: of ``zqueue broker``; by default `QUICK`.
        worker_options: of ``zqueue worker``.

    When the block fails, or pytest shows what a failed test printed, the processes' logs are shown.
    """

    def __init__(
        self,
        app: str | Path | None = None,
        workers: int = 1,
        *,
        broker_options: Sequence[str] = QUICK,
        worker_options: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.processes = Processes(self.folder)
        self._leaving.callback(self.processes.end)
        with self._left_on_error():
            self.broker = Broker(self.processes, self.url, broker_options)
            self.workers: Pool | None = None
            if app is not None:
                self.workers = self.start_workers(app, workers, *worker_options)

    def start_workers(self, app: str | Path, count: int = 1, *options: str) -> Pool:
        """Start ``zqueue worker APP -p COUNT``, and wait until the broker knows its workers."""
        before = set(self.worker_pids())
        pool = Pool(
            self.processes.zqueue("worker", str(app), "-p", str(count), "--url", self.url, *options)
        )

        def are_there() -> bool:
            return len(set(self.worker_pids()) - before) >= count

        pool.process.wait_until(
            are_there, what=lambda: f"{count} workers of {app}: {pool.process.err}"
        )
        return pool

    def logs(self) -> str:
        """What the processes have written to their error outputs."""
        return "\n".join(f"--- {title}\n{text}" for title, text in self.processes.shown())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        if error is not None:
            error.add_note(self.logs())
        elif "PYTEST_CURRENT_TEST" in os.environ:  # A fixture does not learn that its test failed.
            print(self.logs(), file=sys.stderr)
        super().__exit__(kind, error, traceback)
