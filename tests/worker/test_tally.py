"""What a worker counts and reports."""

from __future__ import annotations

from zqueue.handlers import Handler
from zqueue.worker.tally import Account, Tally

MAIL = Handler("mail", "q", print)


def test_counts_and_measures_by_task() -> None:
    tally = Tally()
    account = tally.of("a")
    account.count(MAIL, 3, 1)
    account.meter(MAIL).record(0.5, 1.0, 4)
    report = tally.report_of("a")
    assert (report["done"], report["failed"]) == (3, 1)
    assert report["tasks"]["mail"][:2] == [3, 1]
    assert account.take_tasks() == {}, "only what is new"


def test_each_broker_hears_what_it_had_leased() -> None:
    tally = Tally()
    for whom, done in (("a", 3), ("b", 4)):
        tally.of(whom).count(MAIL, done, 1)
    reports = [tally.report_of(whom) for whom in "ab"]
    assert [report["done"] for report in reports] == [3, 4]
    assert [report["tasks"]["mail"][:2] for report in reports] == [[3, 1], [4, 1]]
    tally.close("a")
    assert tally.report_of("a")["done"] == 0
    assert tally.over == 9


def test_says_what_runs_and_for_how_long() -> None:
    tally = Tally()
    assert "running" not in tally.report(1.0)
    tally.begin(MAIL, 1.0)
    assert tally.report(3.5, (1, 2))["running"] == ["mail", 2.5, 1, 2]
    assert tally.report(3.5)["busy_s"] == 2.5
    assert tally.report(3.5, beside=[("index", 1.0)])["ran"] == {"mail": 2.5, "index": 1.0}
    assert tally.end(4.0) == 3.0
    assert tally.report(9.0) == {"busy_s": 3.0, "ran": {"mail": 3.0}}


def test_those_that_had_no_room_come_first_the_next_time() -> None:
    account = Account()
    for number in range(300):
        account.count(Handler(f"t{number}", "q", print), 1, 0)
    first = account.take_tasks()
    assert 0 < len(first) < 300
    for name in first:
        account.count(Handler(name, "q", print), 1, 0)
    second = account.take_tasks()
    assert next(iter(second)) == f"t{len(first)}"
