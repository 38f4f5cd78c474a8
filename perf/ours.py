"""zqueue, at least once: a broker, a pool, and this process as the producer."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, monotonic_ns
from typing import Any

import handlers
import zmq
from bodies import body
from raw import free_port, pace

from zqueue.ask import ask
from zqueue.errors import BrokerLost
from zqueue.net.processes import start_python

HERE = Path(__file__).parent
CLI = ("zqueue.cli", "main", "-l", "warning")


class Ours:
    """The producer's side."""

    def __init__(self, url: str, processes: int) -> None:
        self.url = url
        self._wait_for(lambda state: len(state["workers"]) >= processes)
        handlers.app.url = url
        self.send_many(20_000)
        self.latency(50, 0.002)

    def send(self, tasks: int) -> float:
        """Tasks/s with `send` one by one, until the last one is acknowledged by a worker."""
        send = handlers.noop.send
        began = monotonic()
        for i in range(tasks):
            send(body(i))
        return tasks / (self._finish() - began)

    def send_many(self, tasks: int) -> float:
        """Tasks/s with `send_many`, until the last one is acknowledged by a worker."""
        began = monotonic()
        handlers.noop.send_many(body(i) for i in range(tasks))
        return tasks / (self._finish() - began)

    def latency(self, tasks: int, every_s: float) -> list[int]:
        """Nanoseconds from before `send` to the start of the handler, at a steady rate."""
        handlers.collect.submit().result(10)
        pace(tasks, every_s, lambda: handlers.probe.send(monotonic_ns()))
        handlers.app.flush()
        return handlers.collect.submit().result(10)

    def _finish(self) -> float:
        handlers.app.flush(60)
        return self._wait_for(lambda state: not any(
            queue["ready"] + queue["leased"] for queue in state["queues"].values()))  # fmt: skip

    def _wait_for(self, condition: Any) -> float:
        deadline = monotonic() + 60
        while monotonic() < deadline:
            with contextlib.suppress(BrokerLost):
                if condition(ask(self.url, timeout=0.5)):
                    return monotonic()
            zmq.Poller().poll(2)
        raise TimeoutError("the benchmark's work did not end within a minute")


@contextmanager
def running(processes: int, *broker_options: str) -> Iterator[Ours]:
    """A broker and a pool, gone afterwards."""
    url = f"tcp://127.0.0.1:{free_port()}"
    started: list[subprocess.Popen[bytes]] = []
    try:
        started.append(start_python(*CLI, "broker", "--bind", url, *broker_options))
        started.append(
            start_python(
                *CLI, "worker", str(HERE / "handlers.py"), "-p", str(processes), "--url", url
            )
        )
        yield Ours(url, processes)
    finally:
        with contextlib.suppress(Exception):
            handlers.app.close(5)
        for process in reversed(started):
            process.terminate()
            process.wait(20)
