"""A broker with little to do stays on one processor, and leaves it for work."""

from __future__ import annotations

import os
import threading

import pytest

from tests.system.harness import wait_until

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is only one processor"),
]


def processors_of(pid: int) -> int:
    """How many its threads may use: the most of any."""
    threads = os.listdir(f"/proc/{pid}/task")
    return max(len(os.sched_getaffinity(int(thread))) for thread in threads)


def test_settles_works_on_several_and_settles_again(start_broker, workers, produce):
    broker = start_broker()
    given = len(os.sched_getaffinity(0))
    wait_until(lambda: processors_of(broker.pid) == 1, what="a quiet broker on one processor")
    workers(broker, "jobs.py", 1)
    producer, end = produce(broker), threading.Event()

    def work() -> None:
        while not end.is_set():
            producer.send_many("nobody", [None] * 100)
            producer.flush()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        wait_until(lambda: processors_of(broker.pid) == given, what="a busy broker on all of them")
    finally:
        end.set()
        thread.join()
    wait_until(lambda: processors_of(broker.pid) == 1, what="a quiet broker on one, again")


def test_roams_if_it_is_told(start_broker):
    broker = start_broker("--roam")
    before = broker.info()["uptime_s"]
    wait_until(lambda: broker.info()["uptime_s"] > before + 2.5, what="time to settle")
    assert processors_of(broker.pid) == len(os.sched_getaffinity(0))
