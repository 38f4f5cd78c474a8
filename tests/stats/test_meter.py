"""Meters: what is taken in one place adds up in another, once."""

from __future__ import annotations

import pytest

from zqueue.stats.histogram import Histogram
from zqueue.stats.meter import TaskMeter


def test_what_is_taken_is_forgotten() -> None:
    meter = TaskMeter()
    assert not meter
    meter.done, meter.failed = 3, 1
    meter.record(0.5, 2.0, 4)
    assert meter
    done, failed, run, total = meter.take(100)
    assert (done, failed) == (3, 1)
    assert Histogram.from_wire(run).percentile(50) == pytest.approx(0.5, rel=0.011)
    assert Histogram.from_wire(total).count == 4
    assert not meter
    assert meter.take(100)[:2] == [0, 0]


def test_all_that_is_taken_adds_up() -> None:
    worker, whole, broker = TaskMeter(), TaskMeter(), TaskMeter()
    for step in range(1, 50):
        for meter in (worker, whole):
            meter.done += step
            meter.failed += 1
            meter.record(step / 1000, step / 100, step)
        if step % 7 == 0:
            broker.add(TaskMeter.from_wire(worker.take(500)))
    broker.add(TaskMeter.from_wire(worker.take(500)))
    assert broker.to_wire() == whole.to_wire()


def test_is_made_coarse_to_fit() -> None:
    meter = TaskMeter()
    for step in range(2000):
        meter.record(1e-6 * 1.011**step, 1e-6, 1)
    _, _, run, _ = meter.take(60)
    assert isinstance(run, list)
    assert len(run) <= 60
    assert Histogram.from_wire(run).count == 2000


def test_to_wire_forgets_nothing() -> None:
    meter = TaskMeter()
    meter.done = 2
    assert meter.to_wire() == meter.to_wire()


@pytest.mark.parametrize(
    "wire",
    [
        None, 7, {}, [], [1, 2, 3],
        [-1, 0, [5, 0, 0, 0], [5, 0, 0, 0]],
        [1.5, 0, [5, 0, 0, 0], [5, 0, 0, 0]],
        [True, 0, [5, 0, 0, 0], [5, 0, 0, 0]],
        [1 << 53, 0, [5, 0, 0, 0], [5, 0, 0, 0]],
        [1, 1, "run", [5, 0, 0, 0]],
        [1, 1, [5, 0, 0, 0], [9, 0, 0, 0]],
    ],
)  # fmt: skip
def test_anything_else_is_refused(wire: object) -> None:
    with pytest.raises(ValueError, match=r"not|histogram|schema|number|sum"):
        TaskMeter.from_wire(wire)
