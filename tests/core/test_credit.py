"""Credit follows how long tasks take."""

from __future__ import annotations

import pytest

from zqueue.core.credit import CREDIT_MAX, GROWTH, TARGET_S, CreditMeter


def settled(task_s: float, slots: int = 1, runs: int = 60) -> CreditMeter:
    """A meter after many equal runs."""
    meter = CreditMeter(slots)
    for _ in range(runs):
        meter.measure(10, 10 * task_s)
    return meter


def test_starts_slowly() -> None:
    meter = CreditMeter()
    values = []
    for _ in range(8):
        meter.measure(1, 1e-9)
        values.append(meter.credit)
    assert values == [4, 16, 64, 256, 1024, 4096, 16_384, 32_768]
    assert GROWTH == 4
    assert values[-1] == CREDIT_MAX


@pytest.mark.parametrize(
    ("task_s", "credit"), [(0.001, 50), (0.01, 5), (0.02, 2), (0.05, 1), (3.0, 1), (0.0, 32_768)]
)
def test_holds_so_much_work(task_s: float, credit: int) -> None:
    assert settled(task_s * 0.999).credit == credit
    assert TARGET_S == 0.05


def test_follows_a_change() -> None:
    meter = settled(0.001)
    meter.measure(1, 0.01)
    assert meter.credit < 50
    for _ in range(10):
        meter.measure(1, 0.01)
    assert meter.credit == 5
    for _ in range(20):
        meter.measure(1, 0.000999)
    assert meter.credit == 49 or meter.credit == 50


def test_the_first_measurement_counts_in_full() -> None:
    meter = CreditMeter()
    meter.measure(4, 2.0)
    assert meter.task_s == 0.5


def test_an_overrun_is_noticed_before_its_end() -> None:
    meter = settled(0.0001, slots=2)
    assert meter.credit > 400
    meter.overrun(0.7)
    assert meter.credit == 2
    assert meter.task_s == 0.7
    meter.overrun(0.5)
    assert meter.task_s == 0.7


def test_who_measures_may_ask_for_fewer_than_the_slots() -> None:
    meter = CreditMeter(100)
    meter.measure(1, 0.25, "slow", 3)
    assert meter.credit == 3
    meter.overrun(0.3, 2)
    assert meter.credit == 2
    meter.measure(1, 0.25, "slow")
    assert meter.credit == 8, "it grows towards the slots"


def test_an_overrun_may_come_first() -> None:
    meter = CreditMeter(3)
    meter.overrun(0.2)
    assert (meter.credit, meter.task_s) == (3, 0.2)


def test_what_tasks_of_a_kind_will_take() -> None:
    meter = CreditMeter()
    assert meter.expect("slow", 100) == 0.0, "nobody knows yet"
    meter.measure(1, 0.01, "slow")
    meter.measure(1_000, 0.001, "quick")
    assert meter.expect("slow", 100) == 1.0
    assert meter.expect("quick", 1_000) == 0.001
    meter.measure(1, 0.03, "slow")
    assert meter.expect("slow", 1) == pytest.approx(0.02)
