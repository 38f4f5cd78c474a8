"""What is replaced while it works: nothing is lost, and no well-behaved task runs twice."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter

import pytest

from tests.system.harness import wait_until

pytestmark = pytest.mark.system

LONG_S = 60.0

CALLER = """
import zqueue
with zqueue.App().producer as producer:
    futures = [producer.submit("default", [n, 0.2], task="dream") for n in range(300)]
    producer.flush()
    print("confirmed", flush=True)
    assert [future.result(60) for future in futures] == [*range(300)]
"""

FROZEN_S = 1.0
"""How long a caller cannot read: as where memory is swapped, or a machine is moved."""


class Calls:
    """Submits tasks without end from a thread of its own, and keeps the history of each."""

    def __init__(self, app):
        self._producer = app.producer
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self.futures = []
        self.error = None

    def _send(self):
        try:
            while not self._stop.is_set():
                number = len(self.futures)
                task = ("quick", "dream")[number % 2]
                body = [number] if task == "quick" else [number, 0.01]
                self.futures.append(
                    self._producer.submit("default", body, task=task, timeout=LONG_S)
                )
                self._stop.wait(0.001)
        except BaseException as error:
            self.error = error

    def __enter__(self):
        self._thread.start()
        self.wait_for(100)
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(LONG_S)
        assert not self._thread.is_alive()

    def wait_for(self, more):
        """So many more are done."""
        done = self.done()
        wait_until(lambda: self.error or self.done() >= done + more, what=f"{more} more results")
        assert self.error is None, repr(self.error)

    def done(self):
        return sum(future.done() for future in list(self.futures))

    def check(self, record):
        """Each ran once, and its result came, and was its own."""
        assert [future.result(LONG_S) for future in self.futures] == [*range(len(self.futures))]
        ran = Counter(entry["id"] for entry in record.entries())
        assert ran == Counter(range(len(self.futures)))


@pytest.fixture
def broker(start_broker):
    """With patience: a peer that is slow on a busy machine is not taken for lost."""
    return start_broker(quick=False)


@pytest.fixture
def calls(broker, produce):
    class App:
        producer = produce(broker)

    return Calls(App)


def test_workers_are_reloaded_one_after_the_other(broker, workers, record, calls):
    pool = workers(broker, "cancels.py", 2)
    with calls:
        for _ in range(2):
            old = set(pool.pids)
            pool.process.send(signal.SIGHUP)
            wait_until(lambda: len(pool.pids) == 2 and not old & set(pool.pids), what="new ones")  # noqa: B023
            calls.wait_for(100)
    calls.check(record)
    counters = broker.wait_idle(30)["counters"]
    assert (counters["workers_lost"], counters["failed"], counters["stale"]) == (0, 0, 0)


def test_workers_that_have_run_enough_are_replaced(broker, workers, record, calls):
    pool = workers(broker, "cancels.py", 2, "--max-tasks", "150")
    first = set(pool.pids)
    with calls:
        wait_until(lambda: len(pool.pids) == 2 and not first & set(pool.pids), what="new ones")
        calls.wait_for(200)
    calls.check(record)
    counters = broker.wait_idle(30)["counters"]
    assert (counters["workers_lost"], counters["failed"], counters["stale"]) == (0, 0, 0)


def test_the_supervisor_is_replaced(broker, workers, record, calls):
    """As in an upgrade: the new pool starts, the old one drains."""
    pool = workers(broker, "cancels.py", 2)
    with calls:
        for _ in range(2):
            new = workers(broker, "cancels.py", 2)
            pool.process.send(signal.SIGTERM)
            assert pool.process.wait() == 0
            pool = new
            calls.wait_for(100)
    calls.check(record)


def test_the_broker_is_replaced_and_its_clients_go_on(broker, workers, record, calls):
    """It drains: takes nothing new, and ends when all that it had is done. What came meanwhile
    waits with its producer."""
    workers(broker, "cancels.py", 2)
    with calls:
        for _ in range(2):
            broker.process.send(signal.SIGTERM)
            assert broker.process.wait() == 0
            broker.start()
            calls.wait_for(100)
    calls.check(record)


def test_a_caller_that_is_frozen_as_the_broker_ends_has_its_results(broker, workers, processes):
    """It is not taken for lost yet: the broker waits until it has read them."""
    pool = workers(broker, "cancels.py", 1)
    caller = processes.python(CALLER, env={**os.environ, "ZQUEUE_URL": broker.url})
    caller.wait_until(lambda: "confirmed" in caller.out, what="that all is confirmed")
    caller.send(signal.SIGSTOP)
    broker.process.send(signal.SIGTERM)
    wait_until(lambda: "said goodbye" in pool.process.err, what="that all is done")
    thaw = threading.Timer(FROZEN_S, caller.send, [signal.SIGCONT])
    thaw.start()
    assert broker.process.wait() == 0
    thaw.join()
    assert caller.wait(LONG_S) == 0, caller.err
