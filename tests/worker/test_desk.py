"""The desk: every task that was leased is settled once, and what is slow holds up nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from zqueue.core.credit import CREDIT_MAX
from zqueue.errors import Cancelled
from zqueue.handlers import Handler
from zqueue.wire.codec import pack
from zqueue.wire.headers import decode, encode
from zqueue.wire.messages import (
    CANCELLED,
    DONE,
    FAILED,
    REPLY,
    RESULTS,
    RETURNED,
    Deliver,
    Settle,
    Welcome,
)
from zqueue.worker.desk import SETTLE_LATE_S, Desk
from zqueue.worker.leases import Leased, Unwanted, WorkerProtocol
from zqueue.worker.lookup import Lookup
from zqueue.worker.side import OVERRUN_S
from zqueue.worker.tally import Tally
from zqueue.worker.work import BatchCall, CallRow, Running, SideTask

CONCURRENCY = 4
THREADS = 3


async def coroutine(*_: object) -> None: ...


class Office:
    """A desk with a real `WorkerProtocol`, whose settlements are kept by task."""

    def __init__(self, function: Callable[..., Any] = lambda *_: None, *, slots: int = 1,
                 threads: int = 0) -> None:  # fmt: skip
        self.now = 100.0
        self.function = function
        self.handlers = {
            "plain": Handler("plain", "q", lambda *args: self.function(*args)),
            "batch": Handler("batch", "b", print, batch_max=3, batch_wait=0.5),
            "async": Handler("async", "a", coroutine),
            "timed": Handler("timed", "t", lambda *args: self.function(*args), soft_timeout=0.5),
        }
        self.protocol = WorkerProtocol(b"w" * 16, b"\x80", lambda: 0.5, credit=slots)
        self.protocol.tick(self.now)
        self.protocol.to_send()
        self.protocol.receive([encode(Welcome(b"broker-1", 1000, 5000))], self.now)
        self.failed: list[int] = []
        self.desk = Desk(
            self.protocol, Lookup(self.handlers), Tally(),
            lambda batch, error, tasks, *_: self.failed.append(tasks),
            slots=slots, concurrency=CONCURRENCY, threads=threads,
        )  # fmt: skip
        self.leases = 0
        self.settled: dict[tuple[int, int, int], int] = {}
        """Status of each task, by lease, batch and position."""
        self.twice: list[tuple[int, int, int]] = []
        self.results: list[Any] = []
        self.events()

    def events(self) -> None:
        while (event := self.protocol.next_event()) is not None:
            if isinstance(event, Leased):
                self.desk.leased(event, self.now)

    def lease(self, *batches: tuple[str, int], reply: bool = False, body: bytes = b"") -> int:
        """Tasks come: task name and how many, each batch; or with a body of its own."""
        self.leases += 1
        rows = [[task, REPLY if reply else 0, count, 1] for task, count in batches]
        frames = [body or pack([[i] for i in range(count)]) for _, count in batches]
        header = encode(Deliver(self.leases, "q", rows))
        self.protocol.receive([header, *frames], self.now)
        self.events()
        return self.leases

    def sent(self) -> None:
        """Note what is settled by now."""
        for frames in self.protocol.to_send():
            message = decode(frames[0])
            if not isinstance(message, Settle):
                continue
            for batch, first, count, status in message.runs:
                for position in range(first, first + count):
                    task = (message.lease, batch, position)
                    if task in self.settled:
                        self.twice.append(task)
                    self.settled[task] = status

    def statuses(self, lease: int, batch: int = 0) -> list[int | None]:
        """What became of the tasks of a batch, as far as the broker knows."""
        self.sent()
        last = max((p for at, b, p in self.settled if (at, b) == (lease, batch)), default=-1)
        return [self.settled.get((lease, batch, p)) for p in range(last + 1)]

    def row(self) -> CallRow:
        """The row that runs next."""
        row = self.desk.next(self.now)
        assert type(row) is CallRow
        return row

    def run(self, row: CallRow, *, task_s: float = 0.0) -> bool:
        """Run a slice of a row. Whether there is more to run."""
        count = self.desk.begin(row, self.now)
        before = row.calls.position
        while row.calls.position < before + count and row.calls.left:
            try:
                row.calls.run(before + count - row.calls.position)
            except ValueError as error:
                row.calls.fail(error)
        self.now += task_s * (row.calls.position - before)
        return self.desk.done(row, self.now)

    def finish(self, *, task_s: float = 0.0) -> None:
        """Run all that the main thread is given."""
        while (todo := self.desk.next(self.now)) is not None:
            if type(todo) is CallRow:
                while self.run(todo, task_s=task_s):
                    pass
            elif type(todo) is BatchCall:
                self.now += task_s * len(todo.bodies())
                self.desk.called(todo, {}, self.now)

    def claim(self) -> SideTask:
        """What the event loop runs next."""
        task = self.desk.in_loop.claim(self.now)
        assert task is not None
        return task

    def claim_thread(self) -> SideTask:
        """What a thread runs next."""
        task = self.desk.in_threads.claim(self.now)
        assert task is not None
        return task

    def end(self, task: SideTask, took_s: float, error: Exception | None = None) -> None:
        self.desk.in_loop.end(task, took_s, None, error)
        self.desk.look(self.now)


def fails_for(*bad: int) -> Callable[[int], int]:
    def function(number: int) -> int:
        if number in bad:
            raise ValueError(number)
        return number

    return function


class TestOneAfterTheOther:
    def test_all_are_settled(self) -> None:
        office = Office(fails_for(2))
        lease = office.lease(("plain", 4), reply=True)
        office.finish()
        assert office.statuses(lease) == [RESULTS, RESULTS, FAILED, RESULTS]
        assert office.desk.is_idle()

    def test_a_batch_that_is_not_what_it_says_fails_alone(self) -> None:
        office = Office()
        bad = office.lease(("plain", 3), body=pack([[1], [2]]))
        unknown = office.lease(("nobody", 2))
        good = office.lease(("plain", 2))
        office.finish()
        assert office.statuses(bad) == [FAILED] * 3
        assert office.statuses(unknown) == [FAILED] * 2
        assert office.statuses(good) == [DONE] * 2
        assert sorted(office.failed) == [2, 3]


class TestSlowTasks:
    def test_what_ran_before_a_slow_task_is_settled_while_it_runs(self) -> None:
        """And what waits behind it goes back, a little later."""
        seen: list[Any] = []
        office = Office()
        office.lease(("plain", 100))
        office.finish()  # They are quick: many are settled together.

        def function(number: int) -> None:
            if number == 3:
                office.now += 2 * SETTLE_LATE_S
                office.desk.look(office.now)
                seen.append(office.statuses(lease))
                office.now += OVERRUN_S
                office.desk.look(office.now)
                seen.append(office.statuses(lease))
                assert office.desk.credit == 0

        office.function = function
        lease = office.lease(("plain", 6))
        office.finish()
        assert seen == [[DONE] * 3, [DONE] * 3 + [None] + [RETURNED] * 2]
        assert office.statuses(lease) == [DONE] * 4 + [RETURNED] * 2
        assert office.desk.credit == 1
        assert not office.twice

    def test_what_comes_meanwhile_goes_back_at_once(self) -> None:
        office = Office()
        came: list[int] = []

        def function(number: int) -> None:
            office.now += OVERRUN_S
            office.desk.look(office.now)
            came.append(office.lease(("plain", 2), ("batch", 1)))

        office.function = function
        office.lease(("plain", 1))
        office.finish()
        assert office.statuses(came[0]) == [RETURNED] * 2
        assert office.statuses(came[0], 1) == [RETURNED]

    def test_no_more_are_held_than_one_though_async_ones_would_have_places(self) -> None:
        """Another worker may be idle: what came to this one would wait for OVERRUN_S."""
        office = Office(slots=50)

        def function(number: int) -> None:
            office.now += OVERRUN_S
            office.desk.look(office.now)
            office.now += OVERRUN_S

        office.function = function
        office.lease(("plain", 1))
        office.finish()
        assert office.desk.credit == 1
        open_tasks = deliveries = 0
        while open_tasks < CONCURRENCY:
            room = office.desk.credit - open_tasks
            office.lease(("async", min(room, CONCURRENCY - open_tasks)))
            open_tasks, deliveries = open_tasks + room, deliveries + 1
        assert deliveries <= CONCURRENCY.bit_length(), "for these have places, though none ends"

    def test_the_rest_goes_back_once_they_turn_out_to_be_slow(self) -> None:
        office = Office(slots=50)
        lease = office.lease(("plain", 20), ("plain", 5))
        row = office.row()
        office.run(row, task_s=0.1)
        statuses = office.statuses(lease)
        assert RETURNED in statuses
        assert office.statuses(lease, 1) == [RETURNED] * 5
        assert office.desk.credit == 1, "they would come again"


class TestManyAtOnce:
    def test_full_calls_come_first(self) -> None:
        office = Office()
        office.lease(("batch", 2), ("plain", 1), ("batch", 2))
        assert type(office.desk.next(office.now)) is CallRow
        call = office.desk.next(office.now)
        assert type(call) is BatchCall
        assert call.bodies() == [[0], [1], [0]]

    def test_due_calls_do_not_starve_behind_others(self) -> None:
        office = Office()
        office.lease(("batch", 1))
        assert office.desk.next(office.now) is None
        assert office.desk.next_deadline() == office.now + 0.5
        office.now += 0.5
        office.lease(("plain", 1))
        assert type(office.desk.next(office.now)) is BatchCall

    def test_what_was_returned_is_not_called(self) -> None:
        """Not even when a call of the same batch was under way."""
        office = Office()
        lease = office.lease(("batch", 8))
        call = office.desk.next(office.now)
        assert type(call) is BatchCall
        office.now += OVERRUN_S
        office.desk.look(office.now)
        assert office.statuses(lease) == [None] * 3 + [RETURNED] * 5
        office.desk.called(call, {1: ValueError()}, office.now)
        assert office.desk.next(office.now) is None
        assert office.statuses(lease) == [DONE, FAILED, DONE] + [RETURNED] * 5
        assert not office.twice

    def test_a_body_that_cannot_be_unpacked_harms_no_other(self) -> None:
        office = Office()
        bad = b"\x81\x90\x01"
        lease = office.lease(("batch", 4), body=b"\x94\x00" + bad + b"\x02\x03")
        call = office.desk.next(office.now)
        assert type(call) is BatchCall
        assert call.bodies() == [0, 2, 3]
        office.desk.called(call, {1: ValueError()}, office.now)
        assert office.statuses(lease) == [DONE, FAILED, FAILED, DONE]


class TestSideBySide:
    def test_no_more_than_run_are_held_before_it_is_known_how_long_they_take(self) -> None:
        office = Office(slots=CONCURRENCY)
        office.lease(("plain", 4_000))
        office.finish()
        assert office.desk.meter.credit > CONCURRENCY
        lease = office.lease(("async", 50))
        assert office.statuses(lease)[CONCURRENCY:] == [RETURNED] * (50 - CONCURRENCY)
        assert office.desk.credit == CONCURRENCY, "they would come again"

    def test_quick_ones_are_held_by_the_hundred(self) -> None:
        office = Office(slots=CONCURRENCY)
        for _ in range(200):
            office.lease(("async", 1))
            office.end(office.claim(), 0.001)
        credit = office.desk.credit
        assert credit == int(0.05 / (0.001 / CONCURRENCY))
        lease = office.lease(("async", credit))
        assert office.statuses(lease) == []
        assert office.desk.in_loop.open == credit

    def test_those_behind_slow_ones_go_back(self) -> None:
        office = Office(slots=CONCURRENCY)
        for _ in range(200):
            office.lease(("async", 1))
            office.end(office.claim(), 0.001)
        lease = office.lease(("async", 20))
        for _ in range(CONCURRENCY):
            office.claim()
        assert office.desk.next_deadline() == office.now + OVERRUN_S
        office.now += OVERRUN_S
        office.desk.look(office.now)
        assert office.statuses(lease) == [None] * CONCURRENCY + [RETURNED] * 16
        assert office.desk.next_deadline() > office.now

    def test_they_come_though_the_main_thread_is_in_a_slow_handler(self) -> None:
        office = Office(slots=CONCURRENCY)

        def function(number: int) -> None:
            office.now += OVERRUN_S
            office.desk.look(office.now)
            lease = office.lease(("async", 2))
            office.end(office.claim(), 0.01, ValueError())
            assert office.statuses(lease) == [FAILED]

        office.function = function
        office.lease(("plain", 1))
        office.finish()
        assert office.desk.in_loop.open == 1


class TestThreads:
    def test_they_run_what_the_main_thread_would(self) -> None:
        office = Office(slots=THREADS, threads=THREADS)
        lease = office.lease(("plain", 2), ("batch", 3), ("async", 1))
        tasks = [office.claim_thread(), office.claim_thread()]
        assert type(office.desk.next(office.now)) is BatchCall
        assert office.desk.next(office.now) is None
        assert office.claim().position == 0
        for task in tasks:
            assert office.desk.through(task, 0.01, None, None, office.now) is None
        assert office.statuses(lease) == [DONE, DONE]

    def test_one_that_is_through_gets_the_next(self) -> None:
        office = Office(slots=20, threads=THREADS)
        office.lease(("plain", 1))
        office.desk.through(office.claim_thread(), 0.001, None, None, office.now)
        lease = office.lease(("plain", 5))
        first, _, _ = (office.claim_thread() for _ in range(THREADS))
        following = office.desk.through(first, 0.001, None, ValueError("no"), office.now)
        assert following is not None
        assert following.position == THREADS
        assert office.statuses(lease) == [FAILED]

    def test_one_that_is_through_gets_nothing_while_it_drains(self) -> None:
        office = Office(slots=20, threads=THREADS)
        office.lease(("plain", 1))
        office.desk.through(office.claim_thread(), 0.001, None, None, office.now)
        lease = office.lease(("plain", 5))
        task = office.claim_thread()
        office.desk.drain()
        assert office.desk.through(task, 0.001, None, None, office.now) is None
        assert office.statuses(lease) == [DONE] + [RETURNED] * 4
        assert office.desk.is_idle()

    def test_what_takes_too_long_is_told_once(self) -> None:
        office = Office(slots=THREADS, threads=THREADS)
        office.lease(("timed", 1), ("plain", 1))
        task = office.claim_thread()
        office.claim_thread()
        assert office.desk.next_deadline() == office.now + 0.5
        office.now += 0.4
        assert office.desk.late(office.now) == []
        office.now += 0.2
        assert office.desk.late(office.now) == [task]
        assert office.desk.late(office.now) == []
        assert office.desk.next_deadline() > office.now

    def test_busy_is_a_share_of_the_threads(self) -> None:
        office = Office(slots=THREADS, threads=THREADS)
        office.lease(("plain", 2))
        task = office.claim_thread()
        office.claim_thread()
        office.now += 3.0
        office.desk.through(task, 3.0, None, None, office.now)
        assert office.desk._tally.busy_s == 3.0 / THREADS
        assert office.desk.in_threads.busy_s(office.now) == 3.0 / THREADS


class TestDraining:
    def test_what_has_not_begun_goes_back(self) -> None:
        office = Office(slots=CONCURRENCY)
        lease = office.lease(("plain", 9), ("batch", 2), ("async", 3))
        row, task = office.row(), office.claim()
        office.desk.drain()
        assert office.statuses(lease) == [RETURNED] * 9
        assert office.statuses(lease, 1) == [RETURNED] * 2
        assert office.statuses(lease, 2) == [None, RETURNED, RETURNED]
        assert not office.run(row)
        assert not office.desk.is_idle()
        office.end(task, 1.0)
        assert office.desk.is_idle()
        assert office.statuses(lease, 2) == [DONE, RETURNED, RETURNED]

    def test_what_comes_still_goes_back(self) -> None:
        office = Office()
        office.desk.drain()
        lease = office.lease(("plain", 2), ("async", 2), ("batch", 1))
        for batch, count in enumerate((2, 2, 1)):
            assert office.statuses(lease, batch) == [RETURNED] * count
        assert office.desk.credit == 0


class TestStopping:
    def test_what_has_not_begun_goes_back_with_its_batch(self) -> None:
        office = Office(slots=CONCURRENCY)
        lease = office.lease(("plain", 3), ("plain", 4), ("batch", 2), ("async", 3))
        other = office.lease(("plain", 9))
        assert office.desk.stop(Unwanted(lease, 4, 1)) == []
        assert office.statuses(lease) == []
        assert office.statuses(lease, 1) == [RETURNED] * 4
        assert office.desk.stop(Unwanted(lease, 11, 1)) == []
        assert office.statuses(lease, 3) == [None, None, RETURNED]
        office.finish()
        assert office.statuses(lease) == [DONE] * 3
        assert office.statuses(other) == [DONE] * 9
        office = Office()
        lease = office.lease(("batch", 2))
        assert office.desk.next(office.now) is None, "it waits for company"
        office.desk.stop(Unwanted(lease, 1, 1))
        assert office.statuses(lease) == [RETURNED] * 2

    def test_what_runs_is_named_and_what_is_behind_it_goes_back(self) -> None:
        office = Office()
        stopped: list[Any] = []

        def function(number: int) -> None:
            if number == 1:
                stopped.append(office.desk.stop(Unwanted(lease, 0, 2)))
                stopped.append(office.desk.stop(Unwanted(lease, 1, 2)))
                raise Cancelled

        office.function = function
        lease = office.lease(("plain", 4))
        row = office.row()
        with pytest.raises(Cancelled):
            row.calls.run(office.desk.begin(row, office.now) and 4)
        row.calls.fail(Cancelled())
        assert not office.desk.done(row, office.now)
        assert stopped == [[Running(row, 1)]] * 2
        assert office.statuses(lease) == [DONE, CANCELLED, RETURNED, RETURNED]
        assert office.desk._tally.of(None).failed == 0
        assert office.desk.stop(Unwanted(lease, 0, 4)) == [], "all are over"

    def test_of_those_side_by_side(self) -> None:
        office = Office(slots=CONCURRENCY)
        lease = office.lease(("async", 3))
        task = office.claim()
        assert office.desk.stop(Unwanted(lease, 0, 2)) == [Running(task, 0)]
        office.desk.in_loop.end(task, 0.1, None, Cancelled())
        office.desk.look(office.now)
        assert office.statuses(lease) == [CANCELLED, RETURNED]
        assert office.desk.in_loop.open == 1
        assert office.desk._tally.of(None).failed == 0

    def test_nothing_of_a_call_of_a_batch_handler_is_stopped(self) -> None:
        office = Office()
        lease = office.lease(("batch", 3))
        call = office.desk.next(office.now)
        assert type(call) is BatchCall
        assert office.desk.stop(Unwanted(lease, 0, 3)) == []
        office.desk.called(call, {}, office.now)
        assert office.statuses(lease) == [DONE] * 3


class Machine(RuleBasedStateMachine):
    """Whatever comes, in whatever order: no task is both run and returned, or run or settled
    twice, and each is settled in the end."""

    @initialize(slots=st.sampled_from([1, CONCURRENCY, 100]), threads=st.sampled_from([0, THREADS]))
    def begin(self, slots: int, threads: int) -> None:
        self.office = Office(lambda *_: None, slots=slots, threads=threads)
        self.threads: list[SideTask] = []
        self.leased: dict[int, list[tuple[str, int]]] = {}
        self.ran: set[tuple[int, int, int]] = set()
        self.row: CallRow | None = None
        self.call: BatchCall | None = None
        self.tasks: list[SideTask] = []

    def note(self, lease: int, batch: int, position: int) -> None:
        task = (lease, batch, position)
        assert task not in self.ran, "it ran before"
        assert task not in self.office.settled, "it was returned before it ran"
        self.ran.add(task)

    @rule(
        batches=st.lists(
            st.tuples(st.sampled_from(["plain", "batch", "async", "timed"]), st.integers(1, 9)),
            min_size=1, max_size=4,
        ),
        reply=st.booleans(),
    )  # fmt: skip
    def come(self, batches: list[tuple[str, int]], reply: bool) -> None:
        self.leased[self.office.lease(*batches, reply=reply)] = batches

    @rule(seconds=st.sampled_from([0.001, 0.015, 0.05, 0.25, 1.0]))
    def wait(self, seconds: float) -> None:
        self.office.now += seconds
        self.office.desk.look(self.office.now)

    @precondition(lambda self: self.row is None and self.call is None)
    @rule()
    def next(self) -> None:
        todo = self.office.desk.next(self.office.now)
        if type(todo) is CallRow:
            self.row = todo
        elif type(todo) is BatchCall:
            self.call = todo
            for part in todo.parts:
                for at in range(len(part.bodies)):
                    self.note(part.work.lease, part.work.index, part.first + at)

    @precondition(lambda self: self.row is not None)
    @rule(stop=st.integers(1, 9), seconds=st.sampled_from([0.0, 0.03, 0.3]))
    def run(self, stop: int, seconds: float) -> None:
        """The warden looks in the midst of one of the tasks that run."""
        row, office = self.row, self.office
        assert row is not None

        def function(*_: object) -> None:
            self.note(row.work.lease, row.work.index, row.calls.position - 1)
            if row.calls.position == stop:
                office.now += seconds
                office.desk.look(office.now)
                office.sent()

        office.function = function
        if not office.run(row, task_s=0.001):
            self.row = None

    @precondition(lambda self: self.call is not None)
    @rule(failed=st.booleans())
    def called(self, failed: bool) -> None:
        assert self.call is not None
        failures: dict[int, BaseException] = {0: ValueError()} if failed else {}
        self.office.desk.called(self.call, failures, self.office.now)
        self.call = None

    @precondition(lambda self: len(self.tasks) < CONCURRENCY)
    @rule()
    def claim(self) -> None:
        task = self.office.desk.in_loop.claim(self.office.now)
        if task is not None:
            self.note(task.work.lease, task.work.index, task.position)
            self.tasks.append(task)

    @precondition(lambda self: self.tasks)
    @rule(at=st.integers(0, CONCURRENCY), took_s=st.sampled_from([0.0001, 0.01, 2.0]))
    def end(self, at: int, took_s: float) -> None:
        self.office.desk.in_loop.end(self.tasks.pop(at % len(self.tasks)), took_s, None, None)

    @precondition(lambda self: len(self.threads) < THREADS)
    @rule()
    def fill(self) -> None:
        self.begin_thread(self.office.desk.in_threads.claim(self.office.now))

    def begin_thread(self, task: SideTask | None) -> None:
        if task is not None:
            self.note(task.work.lease, task.work.index, task.position)
            self.threads.append(task)
            assert len(self.threads) <= THREADS

    @precondition(lambda self: self.threads)
    @rule(at=st.integers(0, THREADS), took_s=st.sampled_from([0.0001, 0.01, 2.0]),
          failed=st.booleans())  # fmt: skip
    def through(self, at: int, took_s: float, failed: bool) -> None:
        office = self.office
        task, error = self.threads.pop(at % len(self.threads)), ValueError() if failed else None
        self.begin_thread(office.desk.through(task, took_s, None, error, office.now))

    @rule()
    def late(self) -> None:
        for task in self.office.desk.late(self.office.now):
            assert task in self.threads
            assert task.handler.soft_timeout

    @precondition(lambda self: self.leased)
    @rule(at=st.integers(0, 20), position=st.integers(0, 30), tasks=st.integers(1, 9))
    def stop(self, at: int, position: int, tasks: int) -> None:
        lease = list(self.leased)[at % len(self.leased)]
        for running in self.office.desk.stop(Unwanted(lease, position, tasks)):
            work = running.what.work
            assert (lease, work.index, running.position) in self.ran
            assert position <= work.offset + running.position < position + tasks

    @rule()
    def drain(self) -> None:
        self.office.desk.drain()

    @invariant()
    def settled_once(self) -> None:
        self.office.sent()
        assert not self.office.twice
        for task, status in self.office.settled.items():
            assert (task in self.ran) is (status != RETURNED)
        assert 0 <= self.office.desk.credit <= CREDIT_MAX

    def teardown(self) -> None:
        """Whatever the state it is in, all that was leased comes to an end."""
        if not hasattr(self, "office"):
            return
        office = self.office
        if self.call is not None:
            self.called(failed=False)
        while self.row is not None:
            self.run(0, 0.0)
        for _ in range(1000):
            office.now += 1.0
            self.claim()
            self.fill()
            if self.tasks:
                self.end(0, 0.01)
            if self.threads:
                self.through(0, 0.01, failed=False)
            office.desk.look(office.now)
            self.next()
            if self.call is not None:
                self.called(failed=False)
            while self.row is not None:
                self.run(0, 0.0)
            if office.desk.is_idle():
                break
        self.settled_once()
        for lease, batches in self.leased.items():
            for batch, (_, count) in enumerate(batches):
                assert None not in office.statuses(lease, batch)
                assert len(office.statuses(lease, batch)) == count


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_a_lost_link_ends_all_leases() -> None:
    office = Office(slots=CONCURRENCY)
    lease = office.lease(("plain", 4), ("batch", 5), ("async", 2))
    row, task = office.row(), office.claim()
    office.desk.forget({1, 2, 3})
    assert row.calls.left == 0
    office.end(task, 1.0)
    office.finish()
    assert office.desk.is_idle()
    assert set(office.statuses(lease)) <= {None, DONE}


def test_settlements_leave_together_while_the_broker_has_credit_to_go_on_with() -> None:
    office = Office()
    for _ in range(12):
        office.lease(("plain", 100))
        office.finish(task_s=1e-6)
    office.desk.sent(office.now)
    assert office.desk.credit > 40
    office.lease(("plain", 10), ("plain", 10))
    office.run(office.row())
    assert office.desk.may_go_on(office.now)
