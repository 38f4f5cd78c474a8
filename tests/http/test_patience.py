"""Patience: time and what is seen are arguments."""

from __future__ import annotations

from zqueue.http.patience import PROGRESS_BYTES, Limits, Patience

LIMITS = Limits(connections_max=1, head_s=10.0, write_s=5.0)


def test_a_head_has_its_time() -> None:
    patience = Patience(LIMITS)
    assert not patience.is_over(10.0, 0.0, 0, is_stuck=False)
    assert patience.is_over(10.1, 0.0, 0, is_stuck=False)
    assert not patience.is_over(99.0, 90.0, 0, is_stuck=False), "another one"
    assert not patience.is_over(500.0, None, 0, is_stuck=False), "none is owed"


def test_a_client_that_takes_nothing() -> None:
    patience = Patience(LIMITS)
    assert not patience.is_over(0.0, None, 100_000, is_stuck=True)
    assert not patience.is_over(5.0, None, 99_000, is_stuck=True)
    assert patience.is_over(5.1, None, 98_000, is_stuck=True), "next to nothing"


def test_a_client_that_is_slow() -> None:
    patience = Patience(LIMITS)
    unsent, now = 100 * PROGRESS_BYTES, 0.0
    while unsent > 0:
        assert not patience.is_over(now, None, unsent, is_stuck=True)
        now, unsent = now + 4.0, unsent - PROGRESS_BYTES
    assert now > 100


def test_a_client_that_caught_up_is_as_new() -> None:
    patience = Patience(LIMITS)
    for start in (0.0, 100.0):
        assert not patience.is_over(start, None, 100_000, is_stuck=True)
        assert not patience.is_over(start + 4.0, None, 100_000, is_stuck=True)
        assert not patience.is_over(start + 6.0, None, 0, is_stuck=False)
