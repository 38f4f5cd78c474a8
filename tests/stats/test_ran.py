"""How long tasks of each name ran."""

from __future__ import annotations

from zqueue.stats.ran import NAMES_MAX, OTHER, Ran


def test_seconds_add_up_with_those_that_run() -> None:
    ran = Ran()
    ran.add("index", 0.25)
    ran.add("index", 0.5)
    assert ran.report([("mail", 2.0), ("index", 1.0), ("mail", 1.0)]) == {"index": 1.75, "mail": 3}
    ran.add("mail", 2.5)
    assert ran.report(()) == {"index": 0.75, "mail": 2.5}


def test_names_are_bounded_and_no_time_is_lost() -> None:
    ran, names = Ran(), [f"task_{number}" for number in range(3 * NAMES_MAX)]
    told = 0.0
    for number, name in enumerate(names):
        ran.add(name, 1.0)
        report = ran.report([(f"long_{i}", 1.0) for i in range(number)])
        assert len(report) <= NAMES_MAX + 1
        told += report[name]
    assert told == len(names)
    assert OTHER not in report, "each was told before another took its place"
    for name in names:
        ran.add(name, 1.0)
    report = ran.report(())
    assert set(report) == {OTHER, *names[-NAMES_MAX:]}
    assert report[OTHER] == len(names) - NAMES_MAX
