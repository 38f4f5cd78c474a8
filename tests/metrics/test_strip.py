"""What a worker ran in the last minute."""

from __future__ import annotations

from zqueue.metrics.series import HISTORY_S, Step
from zqueue.metrics.strip import Strip
from zqueue.stats.ran import NAMES_MAX, OTHER


def fed(*reports: object, elapsed_s: float = 1.0) -> dict[str, str]:
    strip = Strip()
    for second, ran in enumerate(reports):
        strip.feed({"ran": ran}, Step(float(second), elapsed_s, second == 0, False))
    tasks: dict[str, str] = strip.snapshot()["tasks"]
    assert all(len(cells) == HISTORY_S for cells in tasks.values())
    return {name: cells.lstrip("0") for name, cells in tasks.items()}


def test_a_cell_is_a_second_and_the_busiest_task_comes_first() -> None:
    assert fed(
        {"mail": 7.0},
        {"mail": 7.01, "index": 0.9},
        {"mail": 7.26, "index": 1.65},
        {"mail": 7.26, "index": 1.65},
    ) == {"index": "870", "mail": "120"}


def test_tasks_side_by_side_share_a_second() -> None:
    assert fed({"a": 0.0}, {"a": 3.0, "b": 1.0}) == {"a": "7", "b": "2"}


def test_a_cell_holds_no_more_than_a_second() -> None:
    assert fed({}, {"a": 0.95, "b": 0.01, "c": 0.01, "d": 0.01}) == {
        "a": "6", "b": "1", "c": "1", "d": "1",
    }  # fmt: skip


def test_missing_seconds_are_filled_evenly() -> None:
    assert fed({"a": 0.0}, {"a": 2.0}, elapsed_s=4.0) == {"a": "4444"}
    assert fed({"a": 0.0}, {"a": 1e6}, elapsed_s=1e6) == {"a": "9" * HISTORY_S}


def test_a_report_that_is_late_counts_for_both_seconds() -> None:
    assert fed({"a": 0.0}, {"a": 1.0}, {"a": 1.0}, {"a": 2.6}) == {"a": "977"}
    assert fed({"a": 0.0}, *3 * [{"a": 1.0}], {"a": 4.0}) == {"a": "9999"}
    assert fed({"a": 0.0}, *9 * [{"a": 1.0}], {"a": 9.0}) == {"a": "9000000009"}, "it was silent"
    assert fed({"a": 0.0}, {"a": 0.0}, {"a": 0.5}) == {"a": "4"}, "it was idle"
    strip = Strip()
    strip.feed({}, Step(0.0, 0.0, True, False))
    strip.feed({"ran": {"a": 9.0}}, Step(1.0, 1.0, False, False))
    assert strip.snapshot()["tasks"]["a"].endswith("09"), "nothing is before the first"


def test_nothing_ran_before_it_was_watched_and_less_than_before_is_nothing() -> None:
    assert fed({"a": 500.0}) == {}
    assert fed({"a": 5.0}, {"a": 1.0}, {"a": 2.0}) == {"a": "9"}
    assert fed({"a": 5.0}, {}, {"a": 1.0}) == {"a": "9"}, "its worker had forgotten it"


def test_what_makes_no_sense_is_nothing_and_names_are_bounded() -> None:
    for ran in (None, 7, [], {"a": "x"}, {"a": -1.0}, {"a": float("nan")}):
        assert fed({}, ran) == {}
    many = {f"{i:03}": 1.0 for i in range(600)}
    assert len(fed({}, {OTHER: 5.0, **many})) == NAMES_MAX + 1
    assert list(fed({}, {OTHER: 5.0, **many}))[-1] == OTHER


def test_seconds_with_failures_are_marked() -> None:
    strip = Strip()
    for second, failed in enumerate((3, 3, 5, 5)):
        strip.feed({"failed": failed}, Step(float(second), 1.0, second == 0, False))
        assert ("failed" in strip.snapshot()) is (second >= 2)
    assert strip.snapshot()["failed"].endswith("0010")
