"""Stops: a handler is interrupted where it is at work, once, and nothing of ours is."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from zqueue.errors import Cancelled
from zqueue.handlers import Handler
from zqueue.wire.codec import pack
from zqueue.worker import alarm
from zqueue.worker.calling import Caller
from zqueue.worker.calls import Calls
from zqueue.worker.failures import FailureLog
from zqueue.worker.leases import LeasedBatch
from zqueue.worker.slot import Slot
from zqueue.worker.stops import Stops, is_in_handler
from zqueue.worker.work import CallRow, LeaseTally, Running, Work

LONG_S = 20.0


class NoForks:
    """This process stays as it is."""

    is_child = False


class Bench:
    """A caller that runs rows in this thread, which is the main one."""

    def __init__(self, grace_s: float = LONG_S) -> None:
        self.slot = Slot.create()
        self.warden: threading.Thread | None = None
        forks: Any = NoForks()
        self.caller = Caller(self.slot, FailureLog(), forks, lambda *_: None, None, None)
        self.stops = Stops(self.slot, self.caller, None, None, grace_s)

    def row(self, function: Callable[..., Any], bodies: list[Any], **options: Any) -> CallRow:
        frame = pack(bodies)
        handler = Handler("t", "q", function, **options)
        batch = LeasedBatch("q", "t", True, len(bodies), 1, 0, frame)
        calls = Calls(handler, frame, len(bodies), named=True, keep=True)
        return CallRow(handler, Work(1, 0, 0, batch, LeaseTally(len(bodies))), calls)

    def run(self, row: CallRow) -> tuple[list[Any] | None, list[tuple[int, str]]]:
        """Values, and what failed."""
        self.caller.enter(row)
        while row.calls.left:  # Each call of this is over after some milliseconds.
            self.caller.run(row, row.calls.left)
        self.caller.leave()
        _, _, values, failures = row.calls.take_outcomes()
        return values, [(position, type(error).__name__) for position, error in failures]

    def stop(self, row: CallRow, position: int) -> None:
        """What a warden does: until it has ended, in a thread of its own."""

        def insist() -> None:
            self.stops.add([Running(row, position)], time.monotonic())
            while self.stops._until:
                time.sleep(0.001)
                self.stops.look()

        self.warden = threading.Thread(target=insist)
        self.warden.start()


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Without collections: what is raised in a callback of theirs (hypothesis has one) is lost."""
    made = Bench()
    gc.disable()
    try:
        with made.stops:
            yield made
            if made.warden is not None:
                made.warden.join()
    finally:
        gc.enable()
    made.slot.close()


@pytest.mark.parametrize("arguments", [1, 2])
@pytest.mark.parametrize("options", [{}, {"timeout": LONG_S}, {"soft_timeout": LONG_S}])
def test_the_one_that_runs_is_interrupted_and_no_other(
    bench: Bench, options: dict[str, float], arguments: int
) -> None:
    seen: list[int] = []

    def function(number: int, *_: int) -> int:
        seen.append(number)
        if number == 2:
            bench.stop(row, 2)
            time.sleep(LONG_S)
        return number

    row = bench.row(function, [[n] * arguments for n in range(5)], **options)
    assert bench.run(row) == ([0, 1, None, 3, 4], [(2, "Cancelled")])
    assert seen == [0, 1, 2, 3, 4]


def test_what_it_does_with_that_is_its_own_business(bench: Bench) -> None:
    def function(number: int) -> str:
        if number == 1:
            return "quick"
        try:
            bench.stop(row, 0)
            time.sleep(LONG_S)
        except Cancelled:
            return "all the same"
        return "?"

    row = bench.row(function, [[0], [1]])
    assert bench.run(row) == (["all the same", "quick"], [])


def test_one_that_is_over_harms_nobody(bench: Bench) -> None:
    """A signal that comes late finds another task, or none."""

    def function(number: int) -> int:
        if number == 1:
            bench.stop(row, 0)
            time.sleep(0.05)
        return number

    row = bench.row(function, [[n] for n in range(3)])
    assert bench.run(row) == ([0, 1, 2], [])
    assert bench.slot.read().stop_by == 0.0


def test_storm(bench: Bench) -> None:
    """Whenever it comes, each task has one outcome, and its own."""
    is_over = False

    def stop_all() -> None:
        while not is_over:
            row = bench.caller._row
            if row is not None and row.calls.position:
                running = Running(row, row.calls.position - 1)
                bench.stops._until[running] = LONG_S
                bench.stops._to_raise = running
                bench.stops.look()

    thread = threading.Thread(target=stop_all)
    thread.start()
    cancelled = 0
    try:
        for _ in range(30):
            row = bench.row(lambda number: number, [[n] for n in range(300)])
            values, failures = bench.run(row)
            failed = {position for position, name in failures if name == "Cancelled"}
            assert len(failed) == len(failures)
            assert values == [None if n in failed else n for n in range(300)]
            cancelled += len(failed)
    finally:
        is_over = True
        thread.join()


def test_the_supervisor_sees_what_goes_on(bench: Bench) -> None:
    shown: list[float] = []

    def function(number: int) -> None:
        before = time.monotonic()
        try:
            bench.stop(row, 0)
            time.sleep(LONG_S)
        except Cancelled:
            pass
        shown.append(bench.slot.read().stop_by - before)

    row = bench.row(function, [[0]])
    bench.run(row)
    assert LONG_S <= shown[0] < 2 * LONG_S
    bench.stops.look()
    assert bench.slot.read().stop_by == 0.0


def test_nothing_is_raised_where_something_must_not_be_interrupted(bench: Bench) -> None:
    def function(number: int) -> None:
        with alarm.shielded():
            bench.stop(row, 0)
            time.sleep(0.05)
        time.sleep(LONG_S)

    row = bench.row(function, [[0]])
    assert bench.run(row) == ([None], [(0, "Cancelled")])


def test_where_a_handler_is_at_work() -> None:
    here: FrameType = sys._getframe()
    assert not is_in_handler(here), "nobody called it"
    assert not is_in_handler(None)


def test_in_another_thread_nothing_is_raised() -> None:
    made = Bench()

    def enter() -> None:
        with made.stops:
            row = made.row(print, [[0]])
            made.caller.enter(row)
            made.stops.add([Running(row, -1)], 1.0)
            assert made.stops._to_raise is None

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    made.slot.close()
