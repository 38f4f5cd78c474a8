"""Plain handlers that run side by side, each in a thread."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from zqueue.client.tracing import FixedContext
from zqueue.current import Current, current
from zqueue.errors import Cancelled, ProtocolError, TaskTimeout
from zqueue.handlers import Handler
from zqueue.wire.traced import traced
from zqueue.worker.leases import LeasedBatch
from zqueue.worker.slot import Slot
from zqueue.worker.threads import Threads
from zqueue.worker.work import LeaseTally, SideEnd, SideRow, SideTask, Work

LONG_S = 30.0
HERE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class NoForks:
    """This process stays as it is."""

    is_child = False


class Bench:
    """Threads, and what they say."""

    def __init__(self, places: int, tracer: Any = None) -> None:
        self.lock = threading.Lock()
        self.row = SideRow(places)
        self.slot = Slot.create()
        self.slot.ready("", places)
        self.ends: queue.Queue[SideEnd] = queue.Queue()
        self.told: list[tuple[int, int, int]] = []
        forks: Any = NoForks()
        self.threads = Threads(
            self.row, self.through, lambda work, *told: self.told.append(told), tracer, forks,
            self.slot,
        )  # fmt: skip

    def through(self, task: SideTask, *how: Any) -> SideTask | None:
        with self.lock:
            self.row.end(task, *how)
            self.ends.put(self.row.over.popleft())
            return self.row.claim(0.0)

    def run(
        self, function: Callable[..., Any], bodies: list[Any], *, task: str = "t", **options: Any
    ) -> list[SideTask]:
        handler = Handler("t", "q", function, **options)
        batch = LeasedBatch("q", task, True, len(bodies), 1, 0, b"", 9, 1, 0)
        work = Work(5, 0, 100, batch, LeaseTally(len(bodies)))
        tasks = [SideTask(handler, work, at, body) for at, body in enumerate(bodies)]
        with self.lock:
            self.row.waiting.extend(tasks)
            self.threads.fill(0.0)
        return tasks

    def end(self) -> SideEnd:
        """The next that is over; what is wanted is insisted on, as a worker does."""
        until = time.monotonic() + LONG_S
        while time.monotonic() < until:
            with self.lock:
                self.threads.look()
            try:
                return self.ends.get(timeout=0.01)
            except queue.Empty:
                pass
        raise AssertionError("nothing is over")

    def outcomes(self, tasks: int) -> dict[int, Any]:
        """What became of so many: value, or class of the error."""
        ends = [self.end() for _ in range(tasks)]
        return {end.task.position: type(end.error) if end.error else end.value for end in ends}


@pytest.fixture
def start() -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def start(*arguments: Any) -> Bench:
        made.append(Bench(*arguments))
        return made[-1]

    yield start
    for bench in made:
        bench.threads.end()
        assert not any(thread.is_alive() for thread in bench.threads._threads)
        bench.slot.close()


def test_so_many_run_side_by_side(start: Callable[..., Bench]) -> None:
    together = threading.Barrier(3)

    def meet(number: int) -> int:
        together.wait(LONG_S)
        return number

    bench = start(3)
    bench.run(meet, [[number] for number in range(9)])
    assert bench.outcomes(9) == {number: number for number in range(9)}
    assert not bench.row.running


def test_what_becomes_of_them(start: Callable[..., Bench]) -> None:
    def function(*args: Any, **named: Any) -> Any:
        if args == (1,):
            raise ValueError("no")
        return [*args, named]

    bench = start(2)
    bench.run(function, [[0], [1], {"*": [2], "a": 3}, "no arguments"])
    assert bench.outcomes(4) == {0: [0, {}], 1: ValueError, 2: [2, {"a": 3}], 3: ProtocolError}


def test_a_body_without_a_name_is_one_argument(start: Callable[..., Bench]) -> None:
    bench = start(1)
    bench.run(lambda body: body, [[1, 2]], task="")
    assert bench.outcomes(1) == {0: [1, 2]}


def test_each_knows_itself_and_tells_how_far_it_is(start: Callable[..., Bench]) -> None:
    together = threading.Barrier(2)
    seen: dict[int, Current] = {}

    def function(number: int) -> None:
        together.wait(LONG_S)
        seen[number] = current()
        current().progress(number, 10)

    bench = start(2, FixedContext(HERE))
    bench.run(function, [traced([0], HERE), [1]])
    bench.outcomes(2)
    assert [seen[at].id for at in (0, 1)] == ["000000000009-1-0", "000000000009-1-1"]
    assert [seen[at].traceparent for at in (0, 1)] == [HERE, ""]
    assert sorted(bench.told) == [(0, 0, 10), (1, 1, 10)]


def test_the_one_that_is_stopped_is_and_no_other(start: Callable[..., Bench]) -> None:
    began, go_on = threading.Semaphore(0), threading.Event()

    def function() -> str:
        began.release()
        while not go_on.wait(0.001):
            pass
        return "done"

    bench = start(3)
    tasks = bench.run(function, [[]] * 4)
    for _ in range(3):
        assert began.acquire(timeout=LONG_S)
    with bench.lock:
        bench.threads.stop(tasks[1])
    assert bench.outcomes(1) == {1: Cancelled}
    go_on.set()
    assert bench.outcomes(3) == {0: "done", 2: "done", 3: "done"}
    with bench.lock:
        bench.threads.stop(tasks[0])  # It is over.


def test_one_that_is_stopped_before_it_began_does_not_run(start: Callable[..., Bench]) -> None:
    ran: list[int] = []
    bench = start(1)
    handler = Handler("t", "q", ran.append)
    batch = LeasedBatch("q", "t", True, 1, 1, 0, b"")
    task = SideTask(handler, Work(1, 0, 0, batch, LeaseTally(1)), 0, [1])
    bench.row.waiting.append(task)
    assert bench.row.claim(0.0) is task
    bench.threads.stop(task)
    bench.threads._handed.put(task)
    assert bench.outcomes(1) == {0: Cancelled}
    assert not ran


def test_the_soft_timeout_says_what_it_is(start: Callable[..., Bench]) -> None:
    began = threading.Event()

    def function() -> None:
        began.set()
        while True:
            time.sleep(0.001)

    bench = start(1)
    (task,) = bench.run(function, [[]], soft_timeout=0.25)
    assert began.wait(LONG_S)
    with bench.lock:
        task.is_late = True
        bench.threads.too_late(task)
    error = bench.end().error
    assert isinstance(error, TaskTimeout)
    assert error.text == "ran longer than 0.25 s"
    assert error.__traceback__ is not None


def test_the_supervisor_sees_the_one_that_is_due_first(start: Callable[..., Bench]) -> None:
    began, go_on = threading.Semaphore(0), threading.Event()

    def function() -> None:
        began.release()
        go_on.wait(LONG_S)

    bench = start(3)
    bench.run(function, [[]], timeout=LONG_S)
    bench.run(function, [[], []], timeout=LONG_S / 2)
    for _ in range(3):
        assert began.acquire(timeout=LONG_S)
    shown = bench.slot.read()
    assert (shown.lease, shown.position) in ((5, 100), (5, 101))
    assert 0 < shown.deadline - time.monotonic() <= LONG_S / 2
    go_on.set()
    bench.outcomes(1)
    bench.outcomes(2)
    assert bench.slot.read().deadline == 0.0


def test_a_fault_of_ours_is_not_kept_quiet(start: Callable[..., Bench]) -> None:
    bench = start(1)

    def through(*_: object) -> None:
        raise RuntimeError("a fault")

    bench.threads._through = through
    bench.run(lambda: None, [[]])
    with pytest.raises(RuntimeError, match="a fault"):
        bench.end()
