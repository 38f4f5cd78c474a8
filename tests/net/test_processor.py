"""Staying on one processor: when it pays, when others want it, and what it does to the threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from time import monotonic

import pytest

from zqueue.net.processor import (
    AT_HOME_S,
    AWAY_MAX_S,
    AWAY_S,
    BUSY,
    CROWDED,
    Processor,
    Settling,
)

QUIET = 0.05
CROWD = 2 * QUIET + CROWDED + 0.001


class TestSettling:
    def test_settles_while_little_comes(self) -> None:
        settling = Settling()
        assert repr(settling) == "<Settling: roaming>"
        assert settling.decide(0.0, 0.0, 1.0)
        assert settling.decide(QUIET, 2 * QUIET + CROWDED, 2.0)
        assert settling.decide(BUSY - 0.01, BUSY, 3.0)
        assert repr(settling) == "<Settling: settled>"

    def test_leaves_when_much_comes_and_is_back_when_it_is_over(self) -> None:
        settling = Settling()
        assert settling.decide(0.0, 0.0, 1.0)
        assert not settling.decide(BUSY, 0.9, 2.0)
        assert not settling.decide(BUSY, 0.9, 3.0)
        assert settling.decide(QUIET, 0.9, 4.0), "waiting elsewhere says nothing of here"

    def test_leaves_when_others_keep_it_waiting(self) -> None:
        settling = Settling()
        assert settling.decide(0.0, 0.0, 1.0)
        assert not settling.decide(QUIET, CROWD, 2.0)
        assert not settling.decide(QUIET, 0.0, 2.0 + AWAY_S - 0.1)
        assert settling.decide(QUIET, 0.0, 2.0 + AWAY_S)

    def test_stays_away_longer_each_time(self) -> None:
        settling, now, away = Settling(), 0.0, []
        for _ in range(9):
            assert settling.decide(QUIET, 0.0, now)
            now += 1.0
            assert not settling.decide(QUIET, CROWD, now)
            left = now
            while not settling.decide(QUIET, 0.0, now):
                now += 1.0
            away.append(now - left)
        assert away[:3] == [AWAY_S, 2 * AWAY_S, 4 * AWAY_S]
        assert away[-2:] == [AWAY_MAX_S, AWAY_MAX_S]
        now += AT_HOME_S
        assert not settling.decide(QUIET, CROWD, now)
        assert settling.decide(QUIET, 0.0, now + AWAY_S), "it was well there for long"


@pytest.fixture
def given() -> Iterator[set[int]]:
    """At least two processors; given back in the end, to all threads."""
    before = os.sched_getaffinity(0)
    if len(before) < 2:
        pytest.skip("there is only one processor")
    end = threading.Event()
    thread = threading.Thread(target=end.wait, daemon=True)
    thread.start()
    yield before
    run_on(before)
    end.set()
    thread.join()


def threads() -> list[int]:
    return [int(name) for name in os.listdir("/proc/self/task")]


def run_on(processors: set[int]) -> None:
    for thread in threads():
        os.sched_setaffinity(thread, processors)


def everywhere() -> list[set[int]]:
    """Where threads may run: the different answers."""
    return [set(where) for where in {frozenset(os.sched_getaffinity(t)) for t in threads()}]


def settled() -> Processor:
    processor = Processor()
    processor.look(0.0)
    processor.look(1.0)
    return processor


class TestProcessor:
    def test_all_threads_are_on_one_and_on_all_again(self, given: set[int]) -> None:
        processor = settled()
        (here,) = everywhere()
        assert len(here) == 1
        assert here < given
        assert repr(processor) == f"<Processor {sorted(here)}>"
        began = monotonic()
        while monotonic() < began + 0.05:
            pass  # Working.
        processor.look(1.1)
        assert everywhere() == [given]
        assert repr(processor) == f"<Processor {sorted(given)}>"
        processor.look(100.0)
        assert len(everywhere()[0]) == 1

    def test_leaves_at_once_when_it_is_told(self, given: set[int]) -> None:
        processor = Processor()
        processor.leave()
        assert everywhere() == [given]
        processor = settled()
        assert len(everywhere()[0]) == 1
        processor.leave()
        assert everywhere() == [given]

    def test_who_says_from_outside_where_it_shall_run_is_obeyed(self, given: set[int]) -> None:
        one, other = sorted(given)[:2]
        for said in ({one}, {other}, given):
            processor = settled()
            if everywhere() == [said]:
                continue  # That is where it is already.
            run_on(said)
            processor._looked = (2.0, -9.0, 0.0)  # So it has been busy.
            processor.look(3.0)
            assert everywhere() == [said]
            processor.leave()
            assert everywhere() == [said]
            run_on(given)

    def test_what_is_said_to_one_thread_goes_for_all(self, given: set[int]) -> None:
        """`taskset -p` moves the first thread only."""
        processor = settled()
        os.sched_setaffinity(0, given)
        processor._looked = None  # So it decides nothing yet.
        processor.look(2.0)
        assert everywhere() == [given]

    def test_a_system_that_counts_nothing_is_left_alone(
        self, given: set[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("zqueue.net.processor._times", lambda: (0.0, 0.0))
        settled()
        assert everywhere() == [given]

    def test_a_system_without_such_a_thing_is_left_alone(
        self, given: set[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delattr(os, "sched_getaffinity")
        processor = settled()
        processor.leave()
        assert repr(processor) == "<Processor []>"

    def test_with_one_there_is_nothing_to_decide(self, given: set[int]) -> None:
        only = {min(given)}
        run_on(only)
        processor = settled()
        processor.leave()
        assert everywhere() == [only]
        run_on(given)

    def test_a_system_that_does_not_let_us_is_left_alone(
        self, given: set[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise PermissionError

        processor = Processor()
        monkeypatch.setattr(os, "sched_setaffinity", refuse)
        processor.look(0.0)
        processor.look(1.0)
        processor.leave()
        processor.look(2.0)
        assert everywhere() == [given]
        monkeypatch.undo()
        processor.look(3.0)
        assert len(everywhere()[0]) == 1, "it may be allowed later"

    def test_leaving_never_fails(self, given: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise PermissionError

        processor = settled()
        monkeypatch.setattr(os, "sched_setaffinity", refuse)
        processor.leave()
        processor.leave()
