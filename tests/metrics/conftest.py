"""Brokers to watch: their machine alone, and whole processes."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from tests.protocol.conftest import Talk
from tests.system.conftest import (  # noqa: F401 - fixtures
    load,
    processes,
    produce,
    pytest_runtest_makereport,
    record,
    run,
    start_broker,
    workers,
)
from tests.system.harness import Process, Processes, free_port, wait_until
from zqueue.core.histogram import Histogram
from zqueue.core.meter import TaskMeter
from zqueue.metrics.series import Step
from zqueue.metrics.watch import Watch
from zqueue.protocol.codec import pack
from zqueue.protocol.messages import Report

Json = dict[str, Any]


def step(now: float, elapsed_s: float = 1.0, *, first: bool = False, afresh: bool = False) -> Step:
    """A look at a broker."""
    return Step(now, elapsed_s, first, afresh)


def histogram(*values: float) -> Histogram:
    """A histogram of these."""
    made = Histogram()
    for value in values:
        made.record(value)
    return made


def meter(done: int, run_s: float, failed: int = 0) -> list[object]:
    """What a worker reports of so many tasks, which were sent twice as long ago as they ran."""
    made = TaskMeter()
    made.done, made.failed = done, failed
    made.record(run_s, 2 * run_s, done + failed)
    return made.take(100)


class Watched:
    """A real broker's machine with a producer, a worker and a watch; time is an argument."""

    def __init__(self) -> None:
        self.talk = Talk()
        self.talk.producer()
        self.watch = Watch("tcp://somewhere:1", self.talk.now)
        self._sequence = 0

    def join(self, name: bytes = b"w", **about: Any) -> None:
        """A worker of queue q, where task t runs."""
        self.talk.worker(name, tasks={"t": "q"}, **about)

    def publish(self, tasks: int, queue: str = "q") -> None:
        """So many tasks come in."""
        self._sequence += 1
        self.talk.publish(b"p", self._sequence, list(range(tasks)), queue)
        self.talk.hear()

    def report(self, name: bytes = b"w", **told: Any) -> None:
        """The worker tells of itself."""
        self.talk.say(name, Report(), pack(told))

    def pass_s(self, seconds: float = 1.0) -> Json:
        """Time goes by, the watch is fed, and gives this."""
        self.talk.now += seconds
        self.watch.feed(self.talk.broker.stats(), self.talk.now)
        return self.look()

    def look(self) -> Json:
        """What the watch gives."""
        return self.watch.snapshot(self.talk.now)


@pytest.fixture
def watched() -> Watched:
    """A broker that was looked at once."""
    made = Watched()
    made.pass_s(0)
    return made


class Got(NamedTuple):
    """What an HTTP server answered."""

    status: int
    headers: dict[str, str]
    text: str


def get(url: str, **headers: str) -> Got:
    """Ask with GET."""
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return Got(answer.status, dict(answer.headers), answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return Got(error.code, dict(error.headers), error.read().decode())


StartSidecar = Callable[..., tuple[str, Process]]


@pytest.fixture
def sidecar(processes: Processes) -> Iterator[StartSidecar]:  # noqa: F811
    """Starts ``zqueue metrics`` for brokers, and waits until it listens: its URL and process."""

    def start(*brokers: str, options: tuple[str, ...] = ()) -> tuple[str, Process]:
        listen = f"127.0.0.1:{free_port()}"
        urls = [part for broker in brokers for part in ("--url", broker)]
        process = processes.zqueue("metrics", "--listen", listen, *urls, *options)

        def listens() -> bool:
            assert process.is_running(), process.err
            return "metrics at" in process.err

        wait_until(listens, what="a sidecar that listens")
        return f"http://{listen}", process

    return start
