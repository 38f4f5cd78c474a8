"""The method: order, medians, ratios, noise."""

from __future__ import annotations

import itertools
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.measure import Figure, interleave, orders, percentiles, ratio


class TestFigure:
    def test_median_and_range(self) -> None:
        figure = Figure((3.0, 1.0, 2.0), "ns")
        assert (figure.median, figure.lowest, figure.highest) == (2.0, 1.0, 3.0)
        assert Figure((1.0, 2.0)).median == 1.5

    @pytest.mark.parametrize(
        ("values", "noisy"),
        [
            ((10.0, 10.0, 10.0), False),
            ((8.0, 10.0, 13.0), False),  # A spread of just one half.
            ((7.9, 10.0, 13.0), True),
            ((10.0,), False),  # Of one run nothing is known.
            ((0.0, 0.0, 1.0), True),
            ((0.0, 0.0), False),
            ((-10.0, -1.0, -10.0), True),
        ],
    )
    def test_noise(self, values: tuple[float, ...], noisy: bool) -> None:
        assert Figure(values).is_noisy is noisy


class TestRatio:
    def test_is_taken_run_by_run(self) -> None:
        """The machine's speed halves for both from one run to the next: the ratio does not move,
        though that of the medians would."""
        ours, theirs = Figure((20.0, 10.0, 4.0)), Figure((10.0, 5.0, 2.0))
        assert ratio(ours, theirs).values == (2.0, 2.0, 2.0)
        uneven = ratio(Figure((20.0, 10.0, 4.0)), Figure((10.0, 2.0, 4.0)))
        assert uneven.values == (2.0, 5.0, 1.0)


class TestOrder:
    def test_two_take_turns_at_being_first(self) -> None:
        assert list(orders("AB", 4)) == [["A", "B"], ["B", "A"], ["B", "A"], ["A", "B"]]

    @given(st.integers(1, 6))
    def test_everybody_is_first_and_last_as_often_as_all_others(self, count: int) -> None:
        rows = list(orders(map(str, range(count)), 2 * count))
        for row in rows:
            assert sorted(row) == sorted(map(str, range(count)))
        for end in (0, -1):
            ends = [row[end] for row in rows]
            assert {ends.count(name) for name in rows[0]} == {2}


def test_all_contests_in_every_run_and_neighbours_in_time() -> None:
    done: list[str] = []
    told: list[tuple[int, str]] = []
    clock = itertools.count()

    def work(name: str) -> int:
        done.append(name)
        return next(clock)

    gathered = interleave(
        {"x": {"a": lambda: work("xa"), "b": lambda: work("xb")}, "y": {"a": lambda: work("ya")}},
        2,
        lambda run, name: told.append((run, name)),
    )
    assert done == ["xa", "xb", "ya", "xb", "xa", "ya"]
    assert gathered == {"x": {"a": [0, 4], "b": [1, 3]}, "y": {"a": [2, 5]}}
    assert told == [(0, "x"), (0, "y"), (1, "x"), (1, "y")]


class TestPercentiles:
    @given(st.lists(st.integers(0, 10**9), min_size=2, max_size=300))
    def test_as_the_standard_library_has_them(self, values: list[int]) -> None:
        found = percentiles(values)
        cuts = statistics.quantiles(values, n=100, method="inclusive")
        for p in (50, 95, 99):
            assert found[f"p{p}"] == pytest.approx(cuts[p - 1])
        assert found["max"] == max(values)
