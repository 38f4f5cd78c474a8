"""Series: what grew, and when. Time is an argument."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue.metrics.series import (
    COARSE_SCHEMA,
    HISTORY_S,
    NOTHING,
    Counter,
    Durations,
    History,
    Slope,
    add_over,
    percentiles,
)
from zqueue.stats.histogram import Histogram

from .conftest import histogram, step

START = 1000.0


def fed(*totals: int | None) -> tuple[Counter, float]:
    """A counter that was fed a total each second; None is an answer that is missing."""
    counter = Counter(step(START, first=True))
    last = START
    for second, total in enumerate(totals):
        if total is not None:
            now = START + second
            counter.feed(total, step(now, now - last, first=second == 0))
            last = now
    return counter, last


class TestCounter:
    def test_a_steady_rate_shows_from_the_second_answer_on(self) -> None:
        for seconds in range(2, 400, 7):
            counter, last = fed(*range(500, 500 + 100 * seconds, 100))
            assert counter.rates(last) == {"10": 100.0, "60": 100.0, "300": 100.0}

    def test_what_was_before_the_first_look_is_no_growth(self) -> None:
        counter, last = fed(1_000_000, 1_000_000)
        assert counter.rates(last)["10"] == 0.0

    def test_growth_over_a_gap_is_spread(self) -> None:
        counter, last = fed(0, 100, 200, *[None] * 30, 3300)
        assert counter.rates(last)["10"] == pytest.approx(100.0, rel=0.01)
        assert counter.rates(last)["60"] == pytest.approx(100.0, rel=0.01)

    @given(st.lists(st.one_of(st.none(), st.integers(0, 1000)), min_size=1, max_size=9))
    def test_no_task_is_lost_or_counted_twice(self, growths: list[int | None]) -> None:
        totals: list[int | None] = [0]
        for growth in growths:
            before = max(total for total in totals if total is not None)
            totals.append(None if growth is None else before + growth)
        counter, last = fed(*totals)
        known = [total for total in totals if total is not None]
        elapsed_s = last - START
        counted = counter._windows.over(300, last)
        assert counted == known[-1]
        if elapsed_s:
            assert counter.rates(last)["300"] == pytest.approx(known[-1] / elapsed_s, rel=1e-3)

    def test_another_broker_counts_from_zero(self) -> None:
        counter, last = fed(1000, 1100)
        counter.feed(50, step(last + 1, afresh=True))
        assert counter.grown == 50

    def test_going_back_is_no_growth(self) -> None:
        counter, last = fed(1000, 1100)
        counter.feed(50, step(last + 1))
        assert counter.grown == 0
        counter.feed(60, step(last + 2))
        assert counter.grown == 10


class TestDurations:
    def test_percentiles_are_of_what_came_since_the_first_look(self) -> None:
        durations = Durations()
        total = histogram(*[5.0] * 100)
        durations.feed(total.to_wire(), step(START, first=True))
        assert durations.percentiles_ms(START)["10"] == NOTHING
        total.add(histogram(*[0.01] * 100))
        durations.feed(total.to_wire(), step(START + 1))
        reported = durations.percentiles_ms(START + 1)
        assert reported["10"]["count"] == reported["300"]["count"] == 100
        assert reported["10"]["p99"] == pytest.approx(10, rel=0.011)

    def test_what_is_old_leaves_the_window(self) -> None:
        durations = Durations()
        durations.feed(Histogram().to_wire(), step(START, first=True))
        durations.feed(histogram(1.0).to_wire(), step(START + 1))
        reported = durations.percentiles_ms(START + 20)
        assert (reported["10"]["count"], reported["60"]["count"]) == (0, 1)
        assert durations.percentiles_ms(START + 2000)["300"] == NOTHING
        assert durations.over(START + 2000) == {}

    def test_it_says_what_grew(self) -> None:
        durations = Durations()
        assert durations.feed(histogram(1.0).to_wire(), step(START, first=True)) is None
        assert durations.feed(histogram(1.0).to_wire(), step(START + 1)) is None
        grown = durations.feed(histogram(1.0, 2.0).to_wire(), step(START + 2))
        assert grown is not None
        assert grown.count == 1

    def test_another_broker_counts_from_zero(self) -> None:
        durations = Durations()
        durations.feed(histogram(1.0, 1.0).to_wire(), step(START, first=True))
        grown = durations.feed(histogram(1.0, 1.0, 1.0).to_wire(), step(START + 1, afresh=True))
        assert grown is not None
        assert grown.count == 3

    def test_what_went_back_is_no_growth(self) -> None:
        durations = Durations()
        durations.feed(histogram(1.0, 1.0).to_wire(), step(START, first=True))
        assert durations.feed(histogram(2.0).to_wire(), step(START + 1)) is None
        grown = durations.feed(histogram(2.0, 2.0).to_wire(), step(START + 2))
        assert grown is not None
        assert grown.count == 1

    @pytest.mark.parametrize("wire", [None, "x", [], [9, 0, 0, 0], [5, 0, 0, 0, 1, 2, 3]])
    def test_what_is_no_histogram_changes_nothing(self, wire: object) -> None:
        durations = Durations()
        durations.feed(histogram(1.0).to_wire(), step(START, first=True))
        assert durations.feed(wire, step(START + 1)) is None
        grown = durations.feed(histogram(1.0, 1.0).to_wire(), step(START + 2))
        assert grown is not None
        assert grown.count == 1

    def test_it_may_become_coarser_and_finer(self) -> None:
        durations = Durations()
        fine = histogram(1.0)
        durations.feed(fine.to_wire(), step(START, first=True))
        fine.record(2.0)
        grown = durations.feed(fine.coarsened(2).to_wire(), step(START + 1))
        assert grown is not None
        assert grown.count == 1
        fine.record(3.0)
        grown = durations.feed(fine.to_wire(), step(START + 2))
        assert grown is not None
        assert grown.count == 1

    def test_the_coarse_ones_are_4_4_percent_off_at_most(self) -> None:
        durations = Durations(fine=False)
        durations.feed(histogram(*[0.0123] * 9).to_wire(), step(START))
        assert durations.over(START)["10"].schema == COARSE_SCHEMA
        assert durations.percentiles_ms(START)["10"]["p50"] == pytest.approx(12.3, rel=0.044)


class TestSlope:
    def test_growth_by_time(self) -> None:
        slope = Slope()
        for second in range(30):
            slope.feed(0.5 * second, START + second)
        assert slope.per_s == 0.5

    def test_it_is_of_the_last_ten_seconds(self) -> None:
        slope = Slope()
        for second in range(40):
            slope.feed(float(min(second, 20)), START + second)
        assert slope.per_s == 0.0

    def test_over_a_gap_it_is_what_is_known(self) -> None:
        slope = Slope()
        slope.feed(0.0, START)
        slope.feed(50.0, START + 100)
        assert slope.per_s == 0.5

    def test_another_process_begins_anew(self) -> None:
        slope = Slope()
        slope.feed(100.0, START)
        slope.feed(1.0, START + 1)
        assert slope.per_s == 0.0
        slope.feed(2.0, START + 2)
        assert slope.per_s == 1.0


class TestHistory:
    def test_a_value_a_second(self) -> None:
        history = History()
        for second in range(100):
            history.feed(second, 1, 7, step(START + second))
        reported = history.snapshot()
        assert reported["in"] == [float(n) for n in range(40, 100)]
        assert reported["out"] == [1.0] * HISTORY_S
        assert reported["ready"] == [7.0] * HISTORY_S

    def test_a_gap_is_as_long_as_it_was_and_no_higher(self) -> None:
        history = History()
        history.feed(10, 10, 3, step(START))
        history.feed(50, 50, 9, step(START + 5, 5.0))
        reported = history.snapshot()
        assert reported["in"][-6:] == [10.0] * 6
        assert reported["ready"][-6:] == [3.0, 3.0, 3.0, 3.0, 3.0, 9.0]
        history.feed(10**6, 0, 0, step(START + 10**6, 10.0**6))
        assert history.snapshot()["in"] == [1.0] * HISTORY_S


def test_percentiles_rise() -> None:
    reported = percentiles(histogram(*(n / 100 for n in range(1, 101))), 1)
    assert reported["count"] == 100
    assert all(a <= b for a, b in pairwise(reported[key] for key in ("p50", "p95", "p99", "max")))
    assert reported["p50"] == pytest.approx(0.5, rel=0.011)
    assert percentiles(None, 1) == percentiles(Histogram(), 1) == NOTHING


def test_windows_of_several() -> None:
    parts = [{"10": histogram(1.0)}, {"10": histogram(2.0), "60": histogram(3.0)}]
    summed = add_over(parts)
    assert (summed["10"].count, summed["60"].count) == (2, 1)
    assert parts[0]["10"].count == 1
    assert add_over([]) == {}
