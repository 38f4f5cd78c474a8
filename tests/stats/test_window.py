"""Windows against a list of all that happened. Time is an argument."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue.stats.histogram import Histogram
from zqueue.stats.window import (
    SLOTS,
    WIDTHS_S,
    CounterWindows,
    HistogramWindows,
)

START = 1234.25


def histogram(*values: float) -> Histogram:
    made = Histogram()
    for value in values:
        made.record(value)
    return made


def reach(width_s: int, now: float) -> range:
    """The seconds that a window covers."""
    slot_s = width_s // SLOTS
    last = int(now) - 1
    return range((last // slot_s - SLOTS + 1) * slot_s, last + 1)


STEPS = st.lists(
    st.tuples(
        st.one_of(st.floats(0, 3), st.floats(0, 1000), st.just(1.0)),
        st.one_of(st.just(0), st.integers(0, 1000)),
    ),
    max_size=80,
)


@given(STEPS)
def test_counters_against_a_list(steps: list[tuple[float, int]]) -> None:
    windows, happened, now = CounterWindows(START), [], START
    for gap, count in steps:
        now += gap
        if count:
            windows.add(count, now)
            happened.append((int(now), count))
        for width in WIDTHS_S:
            seconds = reach(width, now)
            right = sum(n for second, n in happened if second in seconds)
            known = [second for second in seconds if second >= int(START)]
            assert windows.over(width, now) == right
            assert windows.span_s(width, now) == len(known)
            assert windows.rate(width, now) == (right / len(known) if known else 0.0)


@given(STEPS)
def test_histograms_against_a_list(steps: list[tuple[float, int]]) -> None:
    windows, happened, now = HistogramWindows(START), [], START
    for gap, count in steps[:20]:
        now += gap
        delta = histogram(*[0.001 * count] * (count % 4))
        windows.add(delta, now)
        happened.append((int(now), delta))
    for width in WIDTHS_S:
        right = Histogram()
        for second, delta in happened:
            if second in reach(width, now):
                right.add(delta)
        assert windows.over(width, now) == right


@pytest.mark.parametrize("width", WIDTHS_S)
def test_reaches_back_so_far(width: int) -> None:
    for second in range(1000, 1000 + 2 * width):
        assert 0.9 * width < len(reach(width, second)) <= width


@pytest.mark.parametrize("phase", [0.0, 0.001, 0.5, 0.999])
@pytest.mark.parametrize("asked", [0.0, 0.3, 0.7])
def test_a_steady_rate_is_steady(phase: float, asked: float) -> None:
    windows = CounterWindows(START)
    for second in range(1235, 2000):
        windows.add(1000, second + phase)
        if asked >= phase:
            for width in WIDTHS_S:
                if second > 1235:
                    right = 1000 * (second - 1235) / (second - 1234)
                    full = windows.span_s(width, second + asked) < second - 1234
                    assert windows.rate(width, second + asked) == (1000 if full else right)


def test_percentiles_of_each_window() -> None:
    windows = HistogramWindows(1000)
    for second in range(1000, 1300):
        slow = second < 1280
        windows.add(histogram(*[0.5 if slow else 0.01] * 100), second + 0.5)
    reported = {width: windows.over(width, 1300.2).percentile(50) for width in WIDTHS_S}
    assert reported == pytest.approx({10: 0.01, 60: 0.5, 300: 0.5}, rel=0.011)
    assert windows.rate(10, 1300.2) == windows.rate(300, 1300.2) == 100
    assert windows.over(60, 1300.2).max == 0.5


def test_the_second_in_progress_is_left_out() -> None:
    windows = CounterWindows(100)
    windows.add(5, 100.2)
    assert (windows.over(10, 100.9), windows.span_s(10, 100.9), windows.rate(10, 100.9)) == (
        0,
        0,
        0,
    )
    assert (windows.over(10, 101.0), windows.span_s(10, 101.0), windows.rate(10, 101.0)) == (
        5,
        1,
        5,
    )


def test_a_clock_that_stands_still_or_goes_back_does_no_harm() -> None:
    windows = CounterWindows(100)
    windows.add(1, 105)
    windows.add(2, 103)
    windows.add(4, 105)
    assert windows.over(10, 104) == 0
    assert windows.over(10, 106) == 7


def test_bounded() -> None:
    windows, rng, now = HistogramWindows(0), random.Random(1), 0.0
    for _ in range(5000):
        now += rng.choice([0.1, 1.0, 1.0, 7.0, 100.0])
        windows.add(histogram(0.1), now)
    kept = sum(len(ring.slots) for ring in windows._rings.values())
    assert kept <= len(WIDTHS_S) * SLOTS


def test_other_widths() -> None:
    windows = CounterWindows(0, [20])
    windows.add(1, 0)
    assert windows.rate(20, 20) == 0.05
    with pytest.raises(KeyError):
        windows.rate(10, 20)
    for width in (0, 5, 15, -10):
        with pytest.raises(ValueError, match="has no 10 slots"):
            CounterWindows(0, [width])
