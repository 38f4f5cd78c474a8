"""Figures: what peers report is added up, bounded, and refused where it makes no sense."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.broker.figures import GONE_MAX, OTHER, TASKS_MAX, Figures, PauseTotals
from zqueue.errors import ProtocolError
from zqueue.stats.histogram import Histogram
from zqueue.stats.meter import TaskMeter


def of(done: int, run_s: float = 0.001) -> list[object]:
    """What a worker tells of so many tasks."""
    meter = TaskMeter()
    meter.done = done
    meter.record(run_s, 2 * run_s, done)
    return meter.take(100)


def test_reports_add_up() -> None:
    figures = Figures()
    report: dict[str, Any] = {"done": 7, "tasks": {"mail": of(2), "index": of(5)}}
    figures.add(report)
    figures.add({"tasks": {"mail": of(1)}})
    assert {name: meter.done for name, meter in figures.tasks.items()} == {"mail": 3, "index": 5}
    assert figures.tasks["mail"].run.count == 3


def test_confirms_add_up() -> None:
    figures = Figures()
    confirms = Histogram()
    confirms.record(0.002)
    for _ in range(2):
        figures.add({"confirm": confirms.to_wire()})
    assert figures.confirm.count == 2


def test_names_are_bounded() -> None:
    figures = Figures()
    for n in range(TASKS_MAX + 100):
        figures.add({"tasks": {f"t{n}": of(1)}})
    assert len(figures.tasks) == TASKS_MAX + 1
    assert figures.tasks[OTHER].done == 100
    figures.add({"tasks": {"t0": of(1)}})
    assert figures.tasks["t0"].done == 2


@pytest.mark.parametrize("name", ["", "a b", "ü", "x" * 129, '"} 1\n# evil', OTHER])
def test_what_is_no_name_is_counted_with_others(name: str) -> None:
    figures = Figures()
    figures.add({"tasks": {name: of(1)}})
    assert list(figures.tasks) == [OTHER]


@pytest.mark.parametrize(
    "report",
    [{"tasks": 7}, {"tasks": []}, {"tasks": {"t": [1, 2]}}, {"tasks": {"t": None}},
     {"confirm": "x"}, {"confirm": [5, 0, 0, 0, 1]}],
)  # fmt: skip
def test_nonsense_is_refused(report: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        Figures().add(report)


def test_nothing_is_fine() -> None:
    figures = Figures()
    figures.add({})
    assert figures.tasks == {}


# --- pauses of collectors ---


@pytest.mark.parametrize(
    ("report", "pauses"),
    [
        ({"gc": {"count": 1, "total": 2, "max": 1.5}}, {"count": 1, "total": 2.0, "max": 1.5}),
        ({}, None),
        ({"gc": None}, None),
        ({"gc": [1, 2, 3]}, None),
        ({"gc": {"count": 1, "total": 2}}, {"count": 1, "total": 2.0, "max": 0.0}),
        ({"gc": {"count": "1", "total": -2, "max": 1 << 63}}, {"count": 0, "total": 0, "max": 0}),
        (
            {"gc": {"count": float("nan"), "total": float("inf")}},
            {"count": 0, "total": 0, "max": 0},
        ),
    ],
)
def test_pauses_as_reported(report: dict[str, Any], pauses: Any) -> None:
    by_role = PauseTotals()
    told = by_role.add_up([("worker", report)])
    assert told == ({} if pauses is None else {"worker": pauses})
    by_role.left(b"w", "worker", report)
    assert by_role.add_up([]) == told, "it outlives who told it"


def gc(count: int, longest: float = 1.0) -> dict[str, Any]:
    """What a peer reports of so many pauses."""
    return {"gc": {"count": count, "total": float(count), "max": longest}}


def test_pauses_of_a_role_add_up() -> None:
    by_role = PauseTotals()
    by_role.left(b"a", "worker", gc(1, 5.0))
    by_role.left(b"b", "producer", gc(2))
    told = by_role.add_up([("worker", gc(4, 2.0)), ("worker", {}), ("supervisor", gc(8))])
    assert {role: pauses["count"] for role, pauses in told.items()} == {
        "worker": 5, "producer": 2, "supervisor": 8,
    }  # fmt: skip
    assert told["worker"]["max"] == 5.0
    assert repr(by_role) == "<PauseTotals of 2 who left>"


def test_what_it_told_last_counts() -> None:
    by_role = PauseTotals()
    by_role.left(b"a", "worker", gc(1))
    by_role.left(b"a", "worker", gc(3))
    assert by_role.add_up([])["worker"]["count"] == 3


def test_who_left_longest_ago_is_remembered_in_sum_only() -> None:
    by_role = PauseTotals()
    for number in range(GONE_MAX + 50):
        by_role.left(b"%d" % number, ("worker", "producer")[number % 2], gc(1, float(number)))
    told = by_role.add_up([])
    assert {role: pauses["count"] for role, pauses in told.items()} == {
        "worker": 525, "producer": 525,
    }  # fmt: skip
    assert told["producer"]["max"] == GONE_MAX + 49
    assert repr(by_role) == f"<PauseTotals of {GONE_MAX} who left>"
