"""Staying on one processor: when it pays, when others want it, and what it does to the threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from zqueue.net.processor import (
    AWAY_MAX_S,
    AWAY_S,
    BUSY_MESSAGES,
    FEW_MESSAGES,
    WAIT_MAX_S,
    Processor,
    Settling,
)

QUIET = 200
CROWDED_S = 2 * QUIET * WAIT_MAX_S


class TestSettling:
    def test_settles_while_little_comes(self) -> None:
        settling = Settling()
        assert repr(settling) == "<Settling: roaming>"
        assert settling.decide(0, 0.0, 1.0)
        assert settling.decide(QUIET, QUIET * WAIT_MAX_S, 2.0)
        assert settling.decide(BUSY_MESSAGES - 1, 0.0, 3.0)
        assert repr(settling) == "<Settling: settled>"

    def test_leaves_when_much_comes_and_is_back_when_it_is_over(self) -> None:
        settling = Settling()
        assert settling.decide(0, 0.0, 1.0)
        assert not settling.decide(BUSY_MESSAGES, 9.0, 2.0)
        assert not settling.decide(BUSY_MESSAGES, 9.0, 3.0)
        assert settling.decide(QUIET, 9.0, 4.0), "waiting elsewhere says nothing of here"

    def test_a_few_messages_do_not_tell_of_others(self) -> None:
        settling = Settling()
        settling.decide(0, 0.0, 1.0)
        assert settling.decide(1, FEW_MESSAGES * WAIT_MAX_S, 2.0)
        assert not settling.decide(1, FEW_MESSAGES * WAIT_MAX_S * 1.01, 3.0)

    def test_stays_away_longer_each_time_it_has_to_wait(self) -> None:
        settling, now, away = Settling(), 0.0, []
        for _ in range(9):
            assert settling.decide(QUIET, 0.0, now)
            assert not settling.decide(QUIET, CROWDED_S, now)
            left = now
            while not settling.decide(QUIET, 0.0, now):
                now += 1.0
            away.append(now - left)
            settling.is_settled = False
        assert away[:3] == [AWAY_S, 2 * AWAY_S, 4 * AWAY_S]
        assert away[-2:] == [AWAY_MAX_S, AWAY_MAX_S]


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


class TestProcessor:
    def test_all_threads_are_on_one_and_on_all_again(self, given: set[int]) -> None:
        processor = Processor()
        processor.look(0, 1.0)
        (here,) = everywhere()
        assert len(here) == 1
        assert here < given
        assert repr(processor) == f"<Processor {sorted(here)}>"
        processor.look(BUSY_MESSAGES, 2.0)
        assert everywhere() == [given]
        assert repr(processor) == f"<Processor {sorted(given)}>"
        processor.look(BUSY_MESSAGES + QUIET, 3.0)
        assert len(everywhere()[0]) == 1

    def test_leaves_at_once_when_it_is_told(self, given: set[int]) -> None:
        processor = Processor()
        processor.leave()
        assert everywhere() == [given]
        processor.look(0, 1.0)
        processor.leave()
        assert everywhere() == [given]

    def test_who_says_from_outside_where_it_shall_run_is_obeyed(self, given: set[int]) -> None:
        one, other = sorted(given)[:2]
        for said in ({one}, {other}, given):
            processor = Processor()
            processor.look(0, 1.0)
            if everywhere() == [said]:
                continue  # That is where it is already.
            run_on(said)
            processor.look(BUSY_MESSAGES, 2.0)
            assert everywhere() == [said]
            processor.leave()
            assert everywhere() == [said]
            run_on(given)

    def test_with_one_there_is_nothing_to_decide(self, given: set[int]) -> None:
        only = {min(given)}
        run_on(only)
        processor = Processor()
        for now in (1.0, 2.0):
            processor.look(0, now)
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
        processor.look(0, 1.0)
        processor.leave()
        processor.look(0, 2.0)
        assert everywhere() == [given]
        monkeypatch.undo()
        processor.look(0, 3.0)
        assert len(everywhere()[0]) == 1, "it may be allowed later"

    def test_leaving_never_fails(self, given: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise PermissionError

        processor = Processor()
        processor.look(0, 1.0)
        monkeypatch.setattr(os, "sched_setaffinity", refuse)
        processor.leave()
        processor.leave()
