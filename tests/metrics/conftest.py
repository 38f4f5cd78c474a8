"""Brokers to watch: their machine alone, and whole processes."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from email.message import Message
from typing import Any, NamedTuple

import pytest

from tests.broker.conftest import Talk
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
from zqueue.metrics.broker_watch import Watch
from zqueue.metrics.series import Step
from zqueue.stats.histogram import Histogram
from zqueue.stats.meter import TaskMeter
from zqueue.wire.codec import pack
from zqueue.wire.messages import FAILED, Deliver, Goodbye, Report
from zqueue.wire.unpacking import unpack

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

    def report(self, name: bytes = b"w", **reported: Any) -> None:
        """The worker tells of itself."""
        self.talk.say(name, Report(), pack(reported))

    def pass_s(self, seconds: float = 1.0) -> Json:
        """Time goes by, the watch is fed, and gives this."""
        self.talk.now += seconds
        broker = self.talk.broker
        (groups,) = broker.teller.answer("dead-groups", [])
        told = {**broker.teller.stats(), "dead_groups": unpack(groups)["groups"]}
        self.watch.feed(told, self.talk.now)
        return self.look()

    def fail(self, error: str = "ValueError") -> None:
        """A task of a queue of its own fails for good, in a worker that leaves then."""
        talk = self.talk
        talk.broker.set_wall(1.7e9, talk.now)
        talk.worker(b"failing", queues="d", credit=1)
        self._sequence += 1
        talk.publish(b"p", self._sequence, ["x"], "d")
        (message,) = [heard[1] for heard in talk.hear() if isinstance(heard[1], Deliver)]
        talk.settle(b"failing", message.lease, [[0, 0, 1, FAILED]], pack([[error, "no", "where"]]))
        talk.say(b"failing", Goodbye())

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
    headers: Message
    text: str


def get(url: str, **headers: str) -> Got:
    """Ask with GET."""
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return Got(answer.status, answer.headers, answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return Got(error.code, error.headers, error.read().decode())


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
