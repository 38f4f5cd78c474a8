"""What a worker counts and reports."""

from __future__ import annotations

from zqueue.handlers import Handler
from zqueue.worker.tally import Tally

MAIL = Handler("mail", "q", print)


def test_counts_and_measures_by_task() -> None:
    tally = Tally()
    tally.count(MAIL, 3, 1)
    tally.meter(MAIL).record(0.5, 1.0, 4)
    tasks = tally.take_tasks()
    assert tasks["mail"][:2] == [3, 1]
    assert tally.take_tasks() == {}, "only what is new"
    report = tally.report(9.0)
    assert (report["done"], report["failed"]) == (3, 1)


def test_says_what_runs_and_for_how_long() -> None:
    tally = Tally()
    assert "running" not in tally.report(1.0)
    tally.begin(MAIL, 1.0)
    assert tally.report(3.5, (1, 2))["running"] == ["mail", 2.5, 1, 2]
    assert tally.report(3.5)["busy_s"] == 2.5
    assert tally.report(3.5, beside=[("index", 1.0)])["ran"] == {"mail": 2.5, "index": 1.0}
    assert tally.end(4.0) == 3.0
    assert tally.report(9.0) == {
        "done": 0, "failed": 0, "busy_s": 3.0, "ran": {"mail": 3.0},
    }  # fmt: skip


def test_those_that_had_no_room_come_first_the_next_time() -> None:
    tally = Tally()
    for number in range(300):
        tally.count(Handler(f"t{number}", "q", print), 1, 0)
    first = tally.take_tasks()
    assert 0 < len(first) < 300
    for name in first:
        tally.count(Handler(name, "q", print), 1, 0)
    second = tally.take_tasks()
    assert next(iter(second)) == f"t{len(first)}"
