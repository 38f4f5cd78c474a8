"""A broker with little to do stays on one processor, and leaves it for work."""

from __future__ import annotations

import os

import pytest
import zmq

from tests.system.harness import bare, receive, wait_until

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is only one processor"),
]


def processors_of(pid: int) -> int:
    """How many its threads may use: the most of any."""
    threads = os.listdir(f"/proc/{pid}/task")
    return max(len(os.sched_getaffinity(int(thread))) for thread in threads)


def test_settles_works_on_several_and_settles_again(start_broker, workers):
    broker = start_broker()
    workers(broker, "jobs.py", 1)  # Whose signs of life keep it turning.
    given = len(os.sched_getaffinity(0))
    wait_until(lambda: processors_of(broker.pid) == 1, what="a quiet broker on one processor")
    with bare(zmq.DEALER, broker.url) as dealer:

        def busy() -> bool:
            for _ in range(1000):
                dealer.send(b"garbage")
            while receive(dealer, 0.0) is not None:
                pass
            return processors_of(broker.pid) == given

        wait_until(busy, what="a busy broker on all of them")
    wait_until(lambda: processors_of(broker.pid) == 1, what="a quiet broker on one, again")


def test_roams_if_it_is_told(start_broker, workers):
    broker = start_broker("--roam")
    workers(broker, "jobs.py", 1)
    before = broker.info()["uptime_s"]
    wait_until(lambda: broker.info()["uptime_s"] > before + 2.5, what="time to settle")
    assert processors_of(broker.pid) == len(os.sched_getaffinity(0))
