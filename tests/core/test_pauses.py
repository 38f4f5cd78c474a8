"""Pauses of the garbage collector."""

from __future__ import annotations

from zqueue.core.pauses import Pauses, add_up


def test_counts_and_adds_up() -> None:
    pauses = Pauses()
    for begin, end in ((1.0, 1.002), (2.0, 2.0105), (3.0, 3.001)):
        pauses.begin(begin)
        pauses.end(end)
    assert pauses.stats() == {"count": 3, "total": 13.5, "max": 10.5}


def test_nothing_yet() -> None:
    assert Pauses().stats() == {"count": 0, "total": 0.0, "max": 0.0}


def test_an_end_without_a_begin_does_not_count() -> None:
    pauses = Pauses()
    pauses.end(5.0)
    pauses.begin(6.0)
    pauses.end(6.001)
    pauses.end(9.0)
    assert pauses.stats() == {"count": 1, "total": 1.0, "max": 1.0}


def test_several_processes() -> None:
    parts = [{"count": 1, "total": 2.5, "max": 2.5}, {"count": 2, "total": 1.25, "max": 1.0}]
    assert add_up(parts) == {"count": 3, "total": 3.75, "max": 2.5}  # type: ignore[arg-type]
    assert add_up([]) == {"count": 0, "total": 0, "max": 0.0}
