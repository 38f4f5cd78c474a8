"""Stopping: the exit code of a broker, and when."""

from __future__ import annotations

import pytest

from zqueue.broker.stopping import DEADLINE_HIT, Stopping


def test_it_is_asked_once() -> None:
    stopping = Stopping(30.0)
    assert stopping.deadline is None
    assert stopping.code(0, True, 100.0) is None
    assert stopping.asked(100.0)
    assert not stopping.asked(110.0)
    assert stopping.deadline == 130.0
    assert repr(stopping) == "<Stopping at 130.0>"


@pytest.mark.parametrize(
    ("times", "is_empty", "now", "code"),
    [(1, True, 100.0, 0), (1, False, 100.0, None), (1, False, 129.9, None),
     (1, False, 130.0, DEADLINE_HIT), (2, False, 100.0, DEADLINE_HIT), (2, True, 100.0, 0),
     (1, True, 131.0, 0)],
)  # fmt: skip
def test_when_it_ends(times: int, is_empty: bool, now: float, code: int | None) -> None:
    stopping = Stopping(30.0)
    stopping.asked(100.0)
    assert stopping.code(times, is_empty, now) == code
