"""Pauses of the garbage collector."""

from __future__ import annotations

import json
import random
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue.stats.histogram import Histogram
from zqueue.stats.pauses import (
    FIGURE_MAX,
    WIRE_NUMBERS_MAX,
    Pauses,
    PauseStats,
    add_up,
    from_report,
)

THREE = ("count", "total", "max")


def counted(*pauses: tuple[int, float, float]) -> Pauses:
    """Fed with ``(generation, begin, end)``."""
    made = Pauses()
    for generation, begin, end in pauses:
        made.begin(generation, begin)
        made.end(generation, end)
    return made


def three(stats: PauseStats) -> dict[str, Any]:
    return {key: value for key, value in stats.items() if key in THREE}


def histogram(*values: float) -> Histogram:
    made = Histogram()
    for value in values:
        made.record(value)
    return made


def test_length_generation_and_interval() -> None:
    pauses = counted((0, 1.0, 1.002), (2, 5.0, 5.0105), (0, 5.5, 5.501))
    stats = pauses.stats()
    assert three(stats) == {"count": 3, "total": 13.5, "max": 10.5}
    assert stats["generations"] == [[2, 3.0, 2.0], [0, 0.0, 0.0], [1, 10.5, 10.5]]
    lengths, intervals = map(Histogram.from_wire, (stats["lengths"], stats["intervals"]))
    assert (lengths.count, lengths.sum, lengths.max) == (3, 0.0135, 0.0105)
    assert (intervals.count, intervals.sum, intervals.max) == (2, 4.5, 4.0)
    assert stats["interval_min"] == 500.0
    assert (pauses.count, round(pauses.total_s, 9), round(pauses.max_s, 9)) == (3, 0.0135, 0.0105)


def test_nothing_happened() -> None:
    stats = Pauses().stats()
    assert stats == {
        "count": 0,
        "total": 0.0,
        "max": 0.0,
        "generations": [[0, 0.0, 0.0]] * 3,
        "lengths": [5, 0, 0, 0],
        "intervals": [5, 0, 0, 0],
    }


class TestEndsThatDoNotMatch:
    def test_an_end_without_a_begin(self) -> None:
        pauses = Pauses()
        pauses.end(0, 5.0)
        pauses.begin(0, 6.0)
        pauses.end(0, 6.001)
        pauses.end(0, 9.0)
        pauses.end(1, 9.0)
        assert three(pauses.stats()) == {"count": 1, "total": 1.0, "max": 1.0}

    def test_a_begin_without_an_end(self) -> None:
        pauses = counted((0, 1.0, 1.001))
        pauses.begin(0, 2.0)
        pauses.begin(2, 2.5)
        pauses.begin(0, 3.0)
        pauses.end(0, 3.002)
        assert three(pauses.stats()) == {"count": 2, "total": 3.0, "max": 2.0}
        assert pauses.stats()["interval_min"] == 500.0

    def test_one_inside_another(self) -> None:
        pauses = Pauses()
        pauses.begin(2, 1.0)
        pauses.begin(0, 1.001)
        pauses.begin(1, 1.0015)
        pauses.end(1, 1.0017)
        pauses.end(0, 1.002)
        pauses.end(2, 1.005)
        stats = pauses.stats()
        assert three(stats) == {"count": 3, "total": 5.0, "max": 4.0}
        assert stats["generations"] == [[1, 0.8, 0.8], [1, 0.2, 0.2], [1, 4.0, 4.0]]

    @given(st.lists(st.tuples(st.booleans(), st.integers(0, 2)), max_size=60))
    def test_whatever_comes(self, ends: list[tuple[bool, int]]) -> None:
        """Nothing is counted twice: all pauses fit into the time that went by."""
        pauses, now = Pauses(), 1.0
        for is_end, generation in ends:
            now += 0.001
            (pauses.end if is_end else pauses.begin)(generation, now)
        stats = pauses.stats()
        assert stats["total"] <= len(ends) + 0.001
        assert stats["count"] == sum(count for count, _, _ in stats["generations"])
        assert stats["count"] == pauses.lengths.count
        assert all(longest <= stats["max"] for _, _, longest in stats["generations"])


class TestReport:
    def worst(self) -> Pauses:
        pauses, rng, now = Pauses(), random.Random(1), 0.0
        for _ in range(3000):
            now += 10 ** rng.uniform(-6, 3)
            pauses.begin(rng.randrange(3), now)
            for generation in range(3):
                pauses.end(generation, now + 10 ** rng.uniform(-7, 3))
        for cells in (pauses.lengths, pauses.intervals):
            cells.record_many(1.0, 1 << 45)
        return pauses

    def test_is_fine_as_long_as_it_can_be(self) -> None:
        rng = random.Random(1)
        pauses = counted(
            *((0, float(i), i + rng.lognormvariate(-7, 0.3)) for i in range(10_000))
        )  # fmt: skip
        assert pauses.stats()["lengths"][0] == 5

    def test_survives_its_way(self) -> None:
        for pauses in (Pauses(), counted((0, 1.0, 1.1), (2, 2.0, 2.1)), self.worst()):
            stats = pauses.stats()
            assert from_report(msgpack.unpackb(msgpack.packb(stats))) == stats
            assert from_report(json.loads(json.dumps(stats))) == stats

    @pytest.mark.parametrize(
        ("report", "believed"),
        [
            ({}, {}),
            ({"count": 1, "total": 2, "max": 1.5}, {"count": 1, "total": 2.0, "max": 1.5}),
            ({"count": "1", "total": -2, "max": 1 << 63}, {}),
            ({"count": float("nan"), "total": float("inf"), "max": FIGURE_MAX}, {}),
            ({"generations": [[1, 2, 3], [0, 0, 0]]}, {}),
            ({"generations": [[1, 2, 3], [0, 0, 0], [0, 0]]}, {}),
            ({"generations": [[1, 2, 3], [0, 0, 0], None]}, {}),
            ({"generations": {}}, {}),
            (
                {"generations": [[1, 2, 3], [-1, "x", 0], [[], 1e99, None]]},
                {"generations": [[1, 2.0, 3.0], [0, 0.0, 0.0], [0, 0.0, 0.0]]},
            ),
            ({"lengths": [5, 0, 0, 1], "intervals": "no"}, {}),
            ({"lengths": None, "intervals": [9] * 2000}, {}),
            ({"lengths": [5, 0, 0, 0]}, {"lengths": [5, 0, 0, 0]}),
            ({"interval_min": 2}, {"interval_min": 2.0}),
            ({"interval_min": "x"}, {"interval_min": 0.0}),
            ({"other": 1}, {}),
        ],
    )
    def test_is_believed_so_far(self, report: Any, believed: dict[str, Any]) -> None:
        assert from_report(report) == {"count": 0, "total": 0.0, "max": 0.0, **believed}


class TestAddUp:
    def test_of_several_processes(self) -> None:
        one = counted((0, 1.0, 1.001), (2, 3.0, 3.020)).stats()
        two = counted((0, 7.0, 7.002), (0, 7.5, 7.501)).stats()
        total = add_up([one, two, Pauses().stats()])
        assert three(total) == {"count": 4, "total": 24.0, "max": 20.0}
        assert total["generations"] == [[3, 4.0, 2.0], [0, 0.0, 0.0], [1, 20.0, 20.0]]
        lengths = Histogram.from_wire(total["lengths"])
        assert (lengths.count, lengths.sum, lengths.max) == (4, 0.024, 0.02)
        assert Histogram.from_wire(total["intervals"]) == histogram(2.0, 0.5)
        assert total["interval_min"] == 500.0

    def test_in_any_order(self) -> None:
        parts = [
            counted((0, 1.0, 1.001), (2, 3.0, 3.02)).stats(),
            counted((1, 7.0, 7.25)).stats(),
            {"count": 2, "total": 3.0, "max": 2.5},
        ]
        assert add_up(parts) == add_up(parts[::-1])
        assert add_up([add_up(parts[:2]), parts[2]]) == add_up(parts)

    def test_never_gets_long(self) -> None:
        rng = random.Random(2)
        parts = [
            counted(*((0, float(i), i + 10 ** rng.uniform(-6, 2)) for i in range(50))).stats()
            for _ in range(64)
        ]
        total = add_up(parts)
        assert len(total["lengths"]) <= WIRE_NUMBERS_MAX
        assert Histogram.from_wire(total["lengths"]).count == 64 * 50

    def test_somebody_counts_more_than_there_can_be(self) -> None:
        much = Histogram()
        much.record_many(0.001, 1 << 53)
        absurd: PauseStats = {"count": 0, "total": 0.0, "max": 0.0, "lengths": much.to_wire()}
        total = add_up([counted((0, 1.0, 1.5)).stats(), absurd])
        assert Histogram.from_wire(total["lengths"]) == histogram(0.5)
