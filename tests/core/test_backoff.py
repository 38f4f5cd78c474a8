"""Backoff: doubling, between bounds, all of it at random."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue.core.backoff import Backoff


def test_the_ceiling_doubles() -> None:
    backoff = Backoff(lambda: 1.0, low_s=0.1, high_s=1.0)
    assert [backoff.next() for _ in range(6)] == pytest.approx([0.2, 0.4, 0.8, 1.0, 1.0, 1.0])


def test_the_floor_stays() -> None:
    backoff = Backoff(lambda: 0.0, low_s=0.1, high_s=1.0)
    assert [backoff.next() for _ in range(4)] == pytest.approx([0.1] * 4)


def test_jitter_covers_the_whole_delay() -> None:
    backoff = Backoff(iter([0.5, 0.5, 0.25]).__next__, low_s=0.1, high_s=1.0)
    assert [backoff.next() for _ in range(3)] == pytest.approx([0.15, 0.25, 0.275])


def test_starts_again() -> None:
    backoff = Backoff(lambda: 1.0, low_s=0.1, high_s=1.0)
    first = backoff.next()
    backoff.next()
    backoff.reset()
    assert backoff.next() == first


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=30))
def test_stays_between_its_bounds(numbers: list[float]) -> None:
    backoff = Backoff(iter(numbers).__next__, low_s=0.02, high_s=2.0)
    assert all(0.02 <= backoff.next() <= 2.0 for _ in numbers)
