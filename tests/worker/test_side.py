"""A side: what runs beside others is settled once, and what waits behind slow ones goes back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zqueue.core.credit import CreditMeter
from zqueue.errors import Cancelled
from zqueue.handlers import Handler
from zqueue.wire.messages import CANCELLED, DONE, FAILED, RETURNED
from zqueue.worker.leases import LeasedBatch, Unwanted
from zqueue.worker.side import OVERRUN_S, Side
from zqueue.worker.tally import Account, Tally
from zqueue.worker.work import LeaseTally, SideRow, SideTask, Work

PLACES = 3
SLOW_S = 1.0
QUICK_S = 0.001


class Bench:
    """A side, and what it says."""

    def __init__(self) -> None:
        self.now = 100.0
        self.meter = CreditMeter(PLACES)
        self.account, self.tally = Account(), Tally()
        self.failed: list[BaseException] = []
        self.said: list[tuple[int, int, int]] = []
        """Position, tasks and status of each run."""
        self.handler = Handler("t", "q", print)
        self.side = Side(
            SideRow(PLACES), self.meter, self.tally,
            lambda batch, error, *_: self.failed.append(error), self.settle,
            lambda: self.side.row.open,
        )  # fmt: skip

    def settle(self, work: Work, runs: Iterable[Any]) -> None:
        self.said += [(first, tasks, status) for first, tasks, status, *_ in runs]

    def lease(self, tasks: int) -> list[SideTask]:
        batch = LeasedBatch("q", "t", False, tasks, 1, 0, b"")
        work = Work(1, 0, 0, batch, LeaseTally(self.account, tasks), self.now)
        leased = [SideTask(self.handler, work, position, None) for position in range(tasks)]
        for task in leased:
            self.side.add(task)
        return leased

    def claim(self) -> SideTask:
        task = self.side.row.claim(self.now)
        assert task is not None
        return task

    def end(self, task: SideTask, took_s: float, error: BaseException | None = None) -> None:
        self.side.row.end(task, took_s, None, error)
        self.side.settle(self.now)

    def learn(self) -> None:
        """They are quick ones, as far as is known."""
        self.lease(1)
        self.end(self.claim(), QUICK_S)
        self.said.clear()


def test_how_long_tasks_ran_is_told_while_they_run_too() -> None:
    bench = Bench()
    bench.lease(2)
    task, _ = bench.claim(), bench.claim()
    bench.now += 3.0
    bench.end(task, 3.0)
    assert bench.tally.ran.report(bench.side.row.now_running(bench.now)) == {"t": 6.0}


def test_an_end_is_said_once_and_measured_by_its_share() -> None:
    bench = Bench()
    bench.lease(3)
    first, second, third = bench.claim(), bench.claim(), bench.claim()
    bench.end(second, 0.3)
    bench.end(first, 0.3, ValueError("no"))
    bench.end(third, 0.3, Cancelled())
    bench.side.look(bench.now)
    assert bench.said == [(1, 1, DONE), (0, 1, FAILED), (2, 1, CANCELLED)]
    assert bench.side.row.open == 0
    assert (bench.account.done, bench.account.failed) == (1, 1)
    assert [type(error) for error in bench.failed] == [ValueError, Cancelled]
    assert bench.meter.task_s is not None
    assert abs(bench.meter.task_s - 0.1) < 1e-9


def test_no_more_run_than_there_are_places() -> None:
    bench = Bench()
    bench.lease(PLACES + 1)
    for _ in range(PLACES):
        bench.claim()
    assert bench.side.row.claim(bench.now) is None


def test_of_unknown_ones_no_more_are_held_than_run() -> None:
    bench = Bench()
    bench.lease(PLACES + 2)
    bench.side.shed()
    assert bench.said == [(PLACES, 2, RETURNED)]
    assert bench.meter.credit == PLACES, "they would come again"


def test_quick_ones_may_wait() -> None:
    bench = Bench()
    bench.learn()
    bench.lease(50)
    bench.side.shed()
    assert bench.said == []


def test_behind_slow_ones_nothing_waits() -> None:
    bench = Bench()
    bench.learn()
    bench.lease(10)
    for _ in range(PLACES):
        bench.claim()
    assert bench.side.next_deadline() == bench.now + OVERRUN_S
    bench.now += 0.9 * OVERRUN_S
    bench.side.look(bench.now)
    assert bench.said == []
    bench.now += 0.2 * OVERRUN_S
    bench.side.look(bench.now)
    assert bench.said == [(PLACES, 10 - PLACES, RETURNED)]
    assert bench.side.next_deadline() == float("inf")


def test_a_free_place_is_waited_for() -> None:
    """One slow task is no reason to return what another place will run now."""
    bench = Bench()
    bench.learn()
    bench.lease(2)
    bench.claim()
    bench.now += SLOW_S
    bench.side.look(bench.now)
    assert bench.said == []


def test_what_is_not_wanted() -> None:
    bench = Bench()
    running, *_ = bench.lease(4)
    bench.claim()
    assert [each.what for each in bench.side.stop(Unwanted(1, 0, 2))] == [running]
    assert bench.said == [(1, 1, RETURNED)]
    assert bench.side.row.open == 3
