"""The heatmap. Time is an argument."""

from __future__ import annotations

from itertools import pairwise

import pytest

from zqueue.metrics.heatmap import COLUMNS, ROWS, Heatmap

from .conftest import histogram, step

START = 1000.0


def test_rows_are_evenly_wide_and_reach_from_a_tenth_of_a_millisecond_to_100_s() -> None:
    bounds = Heatmap(START).snapshot(START)["bounds_ms"]
    assert len(bounds) == ROWS
    assert bounds[0] == pytest.approx(0.1, rel=0.011)
    assert bounds[-1] == pytest.approx(100_000, rel=0.011)
    assert all(after / before == pytest.approx(10**0.25, rel=0.03)
               for before, after in pairwise(bounds))  # fmt: skip


def test_a_column_is_five_seconds_and_the_one_in_progress_is_left_out() -> None:
    heatmap = Heatmap(START)
    assert heatmap.snapshot(START)["columns"] == []
    for second in range(1, 13):
        heatmap.feed([histogram(0.01)], step(START + second))
    columns = heatmap.snapshot(START + 12)["columns"]
    assert [sum(column) for column in columns] == [5, 5]
    bounds = heatmap.snapshot(START)["bounds_ms"]
    row = columns[0].index(5)
    assert bounds[row - 1] < 10 <= bounds[row]


def test_what_is_slower_than_all_rows_is_in_the_last() -> None:
    heatmap = Heatmap(START)
    heatmap.feed([histogram(0.0, 1e-9, 5000.0)], step(START + 1))
    (column,) = heatmap.snapshot(START + 5)["columns"]
    assert (column[0], column[-1], sum(column)) == (2, 1, 3)


def test_coarse_and_fine_ones_are_added() -> None:
    heatmap = Heatmap(START)
    fine = histogram(*[0.01] * 7)
    heatmap.feed([fine, fine.coarsened(0), fine.coarsened(3)], step(START + 1))
    (column,) = heatmap.snapshot(START + 5)["columns"]
    assert sum(column) == 21


def test_growth_over_a_gap_is_spread() -> None:
    heatmap = Heatmap(START)
    heatmap.feed([histogram(*[0.01] * 100)], step(START + 20, 20.0))
    columns = heatmap.snapshot(START + 20)["columns"]
    assert [sum(column) for column in columns] == [25, 25, 25, 25]


def test_a_gap_longer_than_the_map() -> None:
    heatmap = Heatmap(START)
    heatmap.feed([histogram(0.01)], step(START + 1))
    heatmap.feed([histogram(*[0.01] * 610)], step(START + 10_000, 9999.0))
    columns = heatmap.snapshot(START + 10_000)["columns"]
    assert len(columns) == COLUMNS
    assert {sum(column) for column in columns} == {10}
