"""Watches of one queue, task, worker or supervisor."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.metrics.parts import (
    QueueWatch,
    SupervisorWatch,
    TaskWatch,
    WorkerWatch,
    running_of,
)
from zqueue.stats.histogram import Histogram

from .conftest import histogram, meter, step

START = 1000.0
FIRST = step(START, first=True)


def test_a_queue() -> None:
    queue = QueueWatch("q", FIRST, fine=True)
    assert not queue.is_reported
    counters = {"published": 5, "ingested": 5, "done": 4, "failed": 1, "egressed": 1}
    sizes = Histogram()
    sizes.record_many(20.0, 3)
    reported = {"ready": 4, "oldest_s": 1.5, "plain": True, "batches": sizes.to_wire()}
    queue.feed({**reported, "counters": dict.fromkeys(counters, 0)}, FIRST)
    queue.feed(
        {**reported, "counters": counters, "wait": histogram(0.1).to_wire()}, step(START + 1)
    )
    snapshot = queue.snapshot(START + 1, {"10": histogram(0.5)})
    assert (snapshot["in"]["10"], snapshot["out"]["10"], snapshot["failed"]["10"]) == (10, 6, 1)
    assert (snapshot["history"]["in"][-1], snapshot["history"]["out"][-1]) == (10, 6)
    assert snapshot["wait_ms"]["10"]["count"] == 1
    assert snapshot["run_ms"]["10"]["p50"] == pytest.approx(500, rel=0.011)
    assert snapshot["batch"] == {"count": 3, "p50": 20, "p95": 20, "p99": 20, "max": 20}
    assert (snapshot["ready"], snapshot["oldest_s"], snapshot["plain"]) == (4, 1.5, True)
    assert snapshot["state"] == "running"


@pytest.mark.parametrize(
    ("reported", "state"),
    [({}, "running"), ({"withheld": 1}, "full"), ({"draining": True, "withheld": 1}, "draining"),
     ({"paused": True, "draining": True}, "paused"), ({"paused": "yes"}, "running")],
)  # fmt: skip
def test_states_of_a_queue(reported: dict[str, Any], state: str) -> None:
    queue = QueueWatch("q", FIRST, fine=True)
    queue.feed(reported, FIRST)
    assert queue.snapshot(START, {})["state"] == state


def test_a_task() -> None:
    task = TaskWatch("t", FIRST, fine=True)
    task.feed(meter(0, 0.1), "q", FIRST)
    task.feed(meter(6, 0.1, failed=2), "q", step(START + 1))
    reported = task.snapshot(START + 1, task.run.over(START + 1))
    assert (reported["name"], reported["queue"], reported["done"], reported["failed"]) == (
        "t",
        "q",
        6,
        2,
    )
    assert (reported["rate"]["10"], reported["failed_rate"]["10"]) == (8.0, 2.0)
    assert reported["run_ms"]["10"]["p50"] == pytest.approx(100, rel=0.011)
    assert reported["total_ms"]["10"]["p50"] == pytest.approx(200, rel=0.011)
    assert task.grown is not None
    assert task.grown.count == 8


def test_a_worker() -> None:
    worker = WorkerWatch(FIRST)
    for second in range(11):
        report = {
            "done": 10 * second, "failed": second, "busy_s": 0.25 * second, "cpu_s": 0.5 * second,
            "rss_bytes": 1000, "compiled": True, "running": ["t", 0.5, 3, 10],
            "gc": {"count": 5, "total": 2.5, "max": 1.5},
        }  # fmt: skip
        reported = {"id": "ab", "pid": 7, "host": "h", "queues": ["q"], "report": report}
        worker.feed(reported, step(START + second, first=second == 0))
    snapshot = worker.snapshot(START + 10)
    assert snapshot["rate"]["10"] == 11.0
    assert (snapshot["busy"], snapshot["cpu"]) == (0.25, 0.5)
    assert (snapshot["busy_s"], snapshot["cpu_s"]) == (2.5, 5.0)
    assert snapshot["gc"] == {"count": 5, "total_ms": 2.5, "max_ms": 1.5}
    assert snapshot["running"] == {"task": "t", "for_s": 0.5, "progress": [3, 10]}


def test_a_worker_that_was_away_for_a_while_makes_no_peak() -> None:
    worker = WorkerWatch(FIRST)
    for second, done in ((0, 0), (1, 10), (2, 20), (12, 120), (13, 130)):
        # To the broker, which began anew, each look was a second after the one before.
        worker.feed(
            {"report": {"done": done}}, step(START + second, first=second == 0, afresh=second == 12)
        )
    assert worker.snapshot(START + 13)["rate"] == {"10": 10.0, "60": 10.0, "300": 10.0}


@pytest.mark.parametrize(
    ("running", "expected"),
    [
        (["t", 1.5], {"task": "t", "for_s": 1.5, "progress": None}),
        (["t", 1.5, 0, 0], {"task": "t", "for_s": 1.5, "progress": None}),
        (["t", 1.5, 1, 9], {"task": "t", "for_s": 1.5, "progress": [1, 9]}),
        (None, None), ("t", None), (["t"], None), ([1, 1.5], None),
    ],
)  # fmt: skip
def test_what_a_worker_runs(running: object, expected: object) -> None:
    assert running_of({"running": running}) == expected


def test_a_supervisor() -> None:
    supervisor = SupervisorWatch()
    for second in range(3):
        report = {"processes": 4, "restarts": 1, "rss_bytes": 5, "cpu_s": 0.01 * second}
        supervisor.feed({"pid": 3, "host": "h", "report": report}, step(START + second))
    assert supervisor.snapshot() == {
        "pid": 3, "host": "h", "processes": 4, "restarts": 1, "rss_bytes": 5, "cpu": 0.01
    }  # fmt: skip
