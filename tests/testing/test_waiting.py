"""Waiting for a condition, and time that only the test moves."""

from __future__ import annotations

import socket

import pytest

from zqueue.testing import FakeClock, free_port, wait_until


def test_returns_what_the_condition_gave() -> None:
    looks = iter([None, 0, "", "there"])
    assert wait_until(lambda: next(looks), every=0) == "there"


def test_says_what_did_not_happen_and_what_was_seen_last() -> None:
    with pytest.raises(AssertionError, match=r"not within 0 s: a miracle; the last value was \[\]"):
        wait_until(list, 0, every=0, what="a miracle")
    with pytest.raises(AssertionError, match="looked up late"):
        wait_until(lambda: None, 0, every=0, what=lambda: "looked up late")


def test_a_free_port_can_be_bound() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))


def test_time_moves_only_forward_and_only_when_told() -> None:
    clock = FakeClock(5.0)
    assert clock() == clock() == 5.0
    assert clock.advance(0.5) == clock() == clock.now == 5.5
    with pytest.raises(ValueError, match="time does not go back"):
        clock.advance(-1)
