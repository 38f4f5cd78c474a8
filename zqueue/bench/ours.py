"""zqueue, at least once: a broker, a pool, and this process as the producer."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic, monotonic_ns
from typing import Any

from ..ask import Asker, ask
from ..errors import BrokerLost, ZQueueError
from . import handlers, pauses, watch
from .bodies import body
from .pacing import Latencies, pace
from .processes import Process, all_stopped, free_url, start_zqueue, wait_until
from .usage import Stopwatch

START_TIMEOUT_S = 30.0
WORK_TIMEOUT_S = 60.0
WARM_UP_TASKS = 20_000
APP = "zqueue.bench.handlers:app"


class Ours:
    """The producer's side."""

    def __init__(self, asker: Asker, workers: int, processes: list[Process]) -> None:
        self.url = asker.url
        self._processes = processes
        self._asker = asker
        self._wait_for(lambda state: len(state["workers"]) >= workers, "workers", START_TIMEOUT_S)
        handlers.app.url = self.url
        state = self._asker.ask()
        self.roles = {
            "producer": [os.getpid()],
            "broker": [state["pid"]],
            "worker": [worker["pid"] for worker in state["workers"]],
        }
        self.send_many(WARM_UP_TASKS if watch.orders() is None else 100)
        self.latency(50, 0.002)

    def send(self, tasks: int, make: Callable[[int], Any] = body) -> dict[str, float]:
        """Send one by one. The figures until the last task is acknowledged by a worker."""
        send = handlers.noop.send
        before = self._look()
        stopwatch = Stopwatch(self.roles)
        for i in range(tasks):
            send(make(i))
        return self._end(stopwatch, tasks, before)

    def send_many(
        self, tasks: int, batch: int = 0, make: Callable[[int], Any] = body
    ) -> dict[str, float]:
        """Send with `send_many`: so many in a call, or (0) all in one. The figures until the last
        task is acknowledged by a worker."""
        send_many = handlers.noop.send_many
        step = batch or tasks
        before = self._look()
        stopwatch = Stopwatch(self.roles)
        for start in range(0, tasks, step):
            send_many(make(i) for i in range(start, min(start + step, tasks)))
        return self._end(stopwatch, tasks, before)

    def latency(self, tasks: int, every_s: float) -> Latencies:
        """From the instant a task was due, and from the call, to the start of the handler."""
        handlers.collect.submit().result(WORK_TIMEOUT_S)
        send = handlers.probe.send
        pace(tasks, every_s, lambda due_ns: send(due_ns, monotonic_ns()))
        handlers.app.flush(WORK_TIMEOUT_S)
        # It lies behind them in the queue; with several workers there would be several lists.
        return Latencies(*handlers.collect.submit().result(WORK_TIMEOUT_S))

    def drain(self, tasks: int) -> dict[str, float]:
        """Let a backlog gather while the workers are stopped, then see how long they take."""
        workers = self.roles["worker"]
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        try:
            handlers.noop.send_many(body(i) for i in range(tasks))
            handlers.app.flush(WORK_TIMEOUT_S)
            before = self._look()
            stopwatch = Stopwatch(self.roles)
        finally:
            for pid in workers:
                os.kill(pid, signal.SIGCONT)
        sample = self._end(stopwatch, tasks, before)
        return {**sample, "seconds": tasks / sample["rate"]}

    def broker_pauses(self) -> dict[str, Any]:
        """The broker's collections since it began to serve: see `core.pauses.PauseStats`."""
        found: dict[str, Any] = self._asker.ask()["gc_pause_ms"]["broker"]
        return found

    def census(self) -> dict[str, Any]:
        """See `handlers.census`; of one worker."""
        return handlers.census.submit().result(WORK_TIMEOUT_S)

    def _look(self) -> tuple[dict[str, Any], float]:
        return self.broker_pauses(), monotonic()

    def _end(
        self, stopwatch: Stopwatch, tasks: int, before: tuple[dict[str, Any], float]
    ) -> dict[str, float]:
        """The figures, once nothing is ready or leased."""
        handlers.app.flush(WORK_TIMEOUT_S)
        end = self._wait_for(_is_idle, "end of the work", WORK_TIMEOUT_S)
        sample = stopwatch.sample(tasks, end)
        after, now = self._look()
        return {**sample, **pauses.figures_between(before[0], after, now - before[1], "broker")}

    def _wait_for(self, condition: Callable[[Any], bool], what: str, timeout_s: float) -> float:
        def holds() -> bool:
            with suppress(BrokerLost):
                return condition(self._asker.ask(timeout=0.5))
            return False

        return wait_until(holds, what, timeout_s=timeout_s, processes=self._processes)


def _is_idle(state: dict[str, Any]) -> bool:
    return not any(queue["ready"] + queue["leased"] for queue in state["queues"].values())


@contextmanager
def running(workers: int = 1, *broker_options: str) -> Iterator[Ours]:
    """A broker and a pool, gone afterwards. One at a time: the app is one."""
    url = free_url()
    # One connection for all questions: making one takes longer than asking.
    with all_stopped() as started, Asker(url) as asker:
        started.append(start_broker(url, *broker_options))
        started.append(
            start_zqueue(
                "supervisor", "worker", watch.WATCHED_APP if watch.orders() else APP,
                "-p", str(workers), "--url", url, "--drain-timeout", "5",
            )
        )  # fmt: skip
        try:
            yield Ours(asker, workers, started)
        finally:
            with suppress(ZQueueError):
                handlers.app.close(1)


def start_broker(url: str, *options: str) -> Process:
    """A broker that ends at once when it is told to."""
    return start_zqueue("broker", "broker", "--bind", url, "--drain-timeout", "0.2", *options)


@contextmanager
def broker(*options: str) -> Iterator[str]:
    """A broker without workers, gone afterwards; its address."""
    url = free_url()

    def answers() -> bool:
        with suppress(BrokerLost):
            ask(url, timeout=0.2)
            return True
        return False

    with all_stopped() as started:
        started.append(start_broker(url, *options))
        wait_until(answers, "broker", timeout_s=START_TIMEOUT_S, processes=started)
        yield url
