"""Pauses of garbage collectors, as brokers tell them by role. Time is an argument."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.metrics.pause_watch import PauseWatches, generations
from zqueue.stats.pauses import Pauses, PauseStats, add_up

from .conftest import step

START = 1000.0


def paused(*lengths_s: float) -> PauseStats:
    """What a process tells after such pauses, one a second."""
    pauses = Pauses()
    for second, length_s in enumerate(lengths_s):
        pauses.begin(0, float(second))
        pauses.end(0, second + length_s)
    return pauses.stats()


def reported(*workers: PauseStats, producers: int = 0, **roles: PauseStats) -> dict[str, Any]:
    """What a broker tells of workers, and of other roles."""
    return {
        "producers": producers,
        "workers": [{"id": str(n), "report": {"gc": stats}} for n, stats in enumerate(workers)],
        "gc_pause_ms": {"worker": add_up(list(workers)), **roles},
    }


def test_a_second_with_a_pause() -> None:
    pauses = PauseWatches()
    pauses.feed(reported(broker=paused(0.001)), step(START, first=True))
    pauses.feed(reported(broker=paused(0.001)), step(START + 1))
    pauses.feed(reported(broker=paused(0.001, 0.002, 0.004)), step(START + 2))
    found = pauses.snapshot(START + 2, START + 12)["broker"]
    assert found["count"] == 3
    assert found["max_ms"] == pytest.approx(4, rel=0.01)
    assert found["total_ms"] == pytest.approx(7, rel=0.01)
    assert found["generations"][0] == [3, pytest.approx(7, rel=0.01), pytest.approx(4, rel=0.01)]
    assert found["pause_ms"]["10"]["count"] == 2
    assert found["interval_ms"]["10"]["p50"] == pytest.approx(1000, rel=0.011)
    assert found["history"] == [[10, pytest.approx(4, rel=0.01)]]


def test_history_ends_after_five_minutes() -> None:
    pauses = PauseWatches()
    pauses.feed(reported(broker=paused()), step(START, first=True))
    pauses.feed(reported(broker=paused(0.001)), step(START + 1))
    assert len(pauses.snapshot(START + 1, START + 300)["broker"]["history"]) == 1
    assert pauses.snapshot(START + 1, START + 302)["broker"]["history"] == []


def test_the_past_of_a_worker_that_joins_is_no_news() -> None:
    """Nor that of all workers, when they come to a broker that began anew."""
    pauses, old, young = PauseWatches(), paused(*[0.05] * 100), paused(0.001)
    pauses.feed(reported(young), step(START, first=True))
    pauses.feed(reported(young, old), step(START + 1))
    assert pauses.snapshot(START + 1, START + 1)["worker"]["pause_ms"]["10"]["count"] == 0
    pauses.feed(reported(), step(START + 2, afresh=True))
    pauses.feed(reported(young, old), step(START + 3))
    pauses.feed(reported(young, paused(*[0.05] * 101)), step(START + 4))
    found = pauses.snapshot(START + 4, START + 4)["worker"]
    assert found["pause_ms"]["300"]["count"] == 1
    assert found["history"] == [[0, pytest.approx(50, rel=0.011)]]


def test_nor_that_of_a_producer() -> None:
    pauses, old = PauseWatches(), paused(*[0.05] * 100)
    pauses.feed(reported(), step(START, first=True))
    pauses.feed(reported(producers=1), step(START + 1))
    pauses.feed(reported(producers=1, producer=old), step(START + 2))
    for second in range(3, 10):
        pauses.feed(reported(producers=1, producer=old), step(START + second))
    pauses.feed(reported(producers=1, producer=paused(*[0.05] * 102)), step(START + 10))
    assert pauses.snapshot(START + 10, START + 10)["producer"]["pause_ms"]["10"]["count"] == 2


@pytest.mark.parametrize(
    "nonsense",
    [None, 1, {"gc_pause_ms": 1}, {"gc_pause_ms": {"broker": 1}},
     {"gc_pause_ms": {"broker": {"lengths": "x", "generations": 5, "count": -1}}},
     {"gc_pause_ms": {"worker": {"generations": [[1, 2], "x", None]}}, "workers": [1, {}]}],
)  # fmt: skip
def test_nonsense_reads_as_absent(nonsense: Any) -> None:
    pauses = PauseWatches()
    pauses.feed(nonsense if isinstance(nonsense, dict) else {}, step(START))
    for role in pauses.snapshot(START, START).values():
        assert role["count"] == 0
        assert role["generations"] == [[0, 0.0, 0.0]] * 3


def test_generations_of_a_broker_that_tells_none() -> None:
    assert generations({}) == [[0, 0.0, 0.0]] * 3
