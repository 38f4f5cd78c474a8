"""Handlers that run side by side in the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Iterator
from operator import itemgetter
from typing import Any

import pytest
from msgpack import ExtType

from zqueue.client.tracing import FixedContext
from zqueue.current import Current, current
from zqueue.errors import Cancelled, ProtocolError, TaskTimeout
from zqueue.handlers import Handler
from zqueue.wire.traced import TRACED, traced
from zqueue.worker.leases import LeasedBatch
from zqueue.worker.loop import Loop, call_in_time, current_of
from zqueue.worker.work import LeaseTally, SideRow, SideTask, Work

LONG_S = 20.0
HERE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class NoForks:
    """This process stays as it is."""

    is_child = False


FORKS: Any = NoForks()


def nobody(work: Work, position: int, done: int, total: int) -> None:
    """Is told of progress, and does not care."""


def work(task: str = "t", tasks: int = 1) -> Work:
    return Work(1, 0, 0, LeasedBatch("q", task, True, tasks, 1, 0, b"", 9, 1, 0), LeaseTally(tasks))


class Stopped:
    """A loop whose tasks are stopped by name."""

    def __init__(self, function: Any, tasks: int, concurrency: int = 10) -> None:
        self.woken: queue.Queue[None] = queue.Queue()
        self.row = SideRow(concurrency)
        self.loop = Loop(self.row, lambda: self.woken.put(None), nobody, None, FORKS)
        handler = Handler("t", "q", function)
        self.tasks = [SideTask(handler, work(""), position, position) for position in range(tasks)]
        self.row.waiting.extend(self.tasks)
        self.loop.fill()

    def ends(self, tasks: int) -> dict[int, Any]:
        """What became of so many: value or error."""
        for _ in range(tasks):
            self.woken.get(timeout=LONG_S)
        over = [self.row.over.popleft() for _ in range(tasks)]
        return {end.task.position: end.error or end.value for end in over}


class TestStop:
    def test_it_is_cancelled_and_the_others_go_on(self) -> None:
        began: queue.Queue[int] = queue.Queue()
        go_on = asyncio.Event()

        async def function(position: int) -> int:
            began.put(position)
            await go_on.wait()
            return position

        world = Stopped(function, 4, concurrency=3)
        for _ in range(3):
            began.get(timeout=LONG_S)
        world.loop.stop(world.tasks[1])
        world.loop.stop(world.tasks[1])
        assert type(world.ends(1)[1]) is Cancelled
        began.get(timeout=LONG_S)  # The one that waited takes its place.
        world.loop._loop.call_soon_threadsafe(go_on.set)
        assert world.ends(3) == {0: 0, 2: 2, 3: 3}
        world.loop.stop(world.tasks[0])
        world.loop.end()

    def test_one_that_makes_an_end_of_its_own_has_ended_so(self) -> None:
        began: queue.Queue[int] = queue.Queue()

        async def function(position: int) -> str:
            began.put(position)
            try:
                await asyncio.sleep(LONG_S)
            except asyncio.CancelledError:
                if position:
                    raise ValueError("no") from None
            return "done"

        world = Stopped(function, 2)
        for task in world.tasks:
            began.get(timeout=LONG_S)
            world.loop.stop(task)
        ends = world.ends(2)
        assert ends[0] == "done"
        assert type(ends[1]) is ValueError
        world.loop.end()

    def test_one_that_has_not_taken_its_first_step(self) -> None:
        async def function(position: int) -> int:
            return position

        world = Stopped(function, 0)

        def claim_and_stop() -> None:
            world.row.waiting.append(SideTask(Handler("t", "q", function), work(""), 0, 0))
            world.loop._fill()
            (task,) = world.row.running
            world.loop._stop(task)

        world.loop._loop.call_soon_threadsafe(claim_and_stop)
        assert type(world.ends(1)[0]) is Cancelled
        assert not world.row.running
        world.loop.end()

    def test_one_that_cancels_itself_has_failed(self) -> None:
        async def function(position: int) -> None:
            raise asyncio.CancelledError

        world = Stopped(function, 1)
        assert type(world.ends(1)[0]) is asyncio.CancelledError
        world.loop.end()


class TestLoop:
    def start(self, function: Any, bodies: list[Any], *, concurrency: int = 10, task: str = "t",
              of: Work | None = None, tell: Any = nobody, tracer: Any = None,
              rows: SideRow | None = None, **options: Any,
              ) -> list[tuple[int, Any, Any]]:  # fmt: skip
        """Run bodies in a loop; position, value and error of each, in order."""
        woken: queue.Queue[None] = queue.Queue()
        row = SideRow(concurrency) if rows is None else rows
        loop = Loop(row, lambda: woken.put(None), tell, tracer, FORKS)
        handler, leased = Handler("t", "q", function, **options), of or work(task)
        for position, body in enumerate(bodies):
            row.waiting.append(SideTask(handler, leased, position, body))
        loop.fill()
        for _ in bodies:
            woken.get(timeout=LONG_S)
        self.stop(loop)
        return sorted(((e.task.position, e.value, e.error) for e in row.over), key=itemgetter(0))

    def stop(self, loop: Loop) -> None:
        inner = loop._loop
        inner.call_soon_threadsafe(inner.stop)
        for thread in threading.enumerate():
            if thread.name == "zqueue-loop":
                thread.join(LONG_S)
        inner.close()

    def test_values_and_errors(self) -> None:
        async def divide(a: int, b: int) -> float:
            return a / b

        done = self.start(divide, [[6, 2], [1, 0], {"a": 4, "b": 2}, 7])
        assert [(i, value) for i, value, _ in done] == [(0, 3.0), (1, None), (2, 2.0), (3, None)]
        assert [type(error) for _, _, error in done] == [
            type(None), ZeroDivisionError, type(None), ProtocolError,
        ]  # fmt: skip

    @pytest.mark.parametrize("concurrency", [1, 3])
    def test_so_many_side_by_side(self, concurrency: int) -> None:
        now = most = 0

        async def count() -> None:
            nonlocal now, most
            now += 1
            most = max(most, now)
            for _ in range(5):
                await asyncio.sleep(0)
            now -= 1

        self.start(count, [[]] * 6, concurrency=concurrency)
        assert most == concurrency

    @pytest.mark.parametrize("option", ["timeout", "soft_timeout"])
    def test_timeouts(self, option: str) -> None:
        async def forever() -> None:
            await asyncio.Event().wait()

        ((_, _, error),) = self.start(forever, [[]], **{option: 0.01})
        assert str(error) == "TaskTimeout: ran longer than 0.01 s"

    def test_a_timeout_of_its_own_is_its_own(self) -> None:
        async def impatient() -> None:
            raise TimeoutError("mine")

        ((_, _, error),) = self.start(impatient, [[]], timeout=LONG_S)
        assert (type(error), str(error)) == (TimeoutError, "mine")

    def test_each_task_finds_itself(self) -> None:
        seen: dict[int, Current] = {}

        async def look(number: int) -> None:
            seen[number] = current()
            await asyncio.sleep(0)
            assert current() is seen[number]

        leased = Work(7, 0, 0, LeasedBatch("q", "t", True, 3, 4, 0, b"", 10, 20, 30), LeaseTally(3))
        self.start(look, [[0], traced([1], HERE), [2]], of=leased)
        assert [seen[i].id for i in range(3)] == [f"00000000000a-20-{30 + i}" for i in range(3)]
        assert [seen[i].traceparent for i in range(3)] == ["", HERE, ""]
        assert {(c.task, c.queue, c.attempt) for c in seen.values()} == {("t", "q", 4)}

    def test_progress_is_told_with_its_place(self) -> None:
        told: list[tuple[Any, ...]] = []

        async def climb(number: int) -> None:
            current().progress(number, 9)

        leased = work(tasks=3)
        self.start(climb, [[5], [6], [7]], of=leased, tell=lambda *what: told.append(what))
        assert sorted(told, key=lambda what: what[1]) == [
            (leased, 0, 5, 9), (leased, 1, 6, 9), (leased, 2, 7, 9),
        ]  # fmt: skip

    @pytest.mark.parametrize("data", [b"", b"x" * 26, b"x" * 26 + b"\xc1"])
    def test_a_broken_trace_context_fails_its_task(self, data: bytes) -> None:
        async def echo(body: Any) -> Any:
            return body

        done = self.start(echo, [ExtType(TRACED, data), [2]], task="")
        assert [type(error) for _, _, error in done] == [ProtocolError, type(None)]

    def test_the_oldest_that_runs_is_known(self) -> None:
        oldest: list[Any] = []
        row = SideRow(10)

        async def look(number: int) -> None:
            if number:
                oldest.append(row.oldest())
            else:
                await asyncio.sleep(0)

        self.start(look, [[0], [1]], rows=row)
        ((first, since),) = oldest
        assert first.current.id.endswith("-0")
        assert since > 0
        assert row.oldest() is None, "nothing runs any more"

    def test_a_tracer_is_around_each_call(self) -> None:
        spans: list[tuple[Any, ...]] = []

        class Tracer(FixedContext):
            @contextlib.contextmanager
            def run(self, current: Current, waited_s: float, contexts: Any = ()) -> Iterator[None]:
                spans.append(("begin", current.id, current.traceparent, waited_s > 1.0))
                try:
                    yield
                finally:
                    spans.append(("end", current.id))

        async def divide(number: int) -> float:
            return 1 / number

        done = self.start(divide, [traced([0], HERE)], tracer=Tracer(HERE))
        assert [type(error) for _, _, error in done] == [ZeroDivisionError]
        assert spans == [("begin", spans[0][1], HERE, True), ("end", spans[0][1])]

    def test_one_coroutine_is_waited_for(self) -> None:
        async def seven() -> int:
            return 7

        loop = Loop(SideRow(1), lambda: None, nobody, None, FORKS)
        assert loop.call(seven()) == 7
        self.stop(loop)


class TestCurrentOf:
    def test_says_what_is_known_of_a_task(self) -> None:
        told: list[tuple[Any, ...]] = []
        batch = LeasedBatch("mail", "send", True, 9, 3, 0, b"", 0xA0A1A2A3A4A5, 7, 40)
        leased = Work(1, 0, 0, batch, LeaseTally(9))
        send = Handler("send", "mail", print)
        task = current_of(send, leased, 2, HERE, lambda *what: told.append(what))
        assert (task.task, task.queue, task.attempt) == ("send", "mail", 3)
        assert (task.id, task.traceparent) == ("a0a1a2a3a4a5-7-42", HERE)
        task.progress(1, 2)
        assert told == [(leased, 2, 1, 2)]

    def test_a_body_without_a_task_name_has_its_handlers(self) -> None:
        leased = Work(1, 0, 0, LeasedBatch("mail", "", True, 1, 1, 0, b"", 1, 2, 3), LeaseTally(1))
        task = current_of(Handler("send", "mail", print), leased, 0, "", nobody)
        assert (task.task, task.id) == ("send", "000000000001-2-3")


class TestCallInTime:
    def test_finds_what_runs(self) -> None:
        seen: list[Current] = []

        async def look(bodies: list[Any]) -> None:
            seen.append(current())

        task = Current("t", "q")
        asyncio.run(call_in_time(Handler("t", "q", look), [1], task))
        assert seen == [task]

    def test_too_long(self) -> None:
        async def forever(bodies: list[Any]) -> None:
            await asyncio.Event().wait()

        with pytest.raises(TaskTimeout, match=r"ran longer than 0\.01 s"):
            asyncio.run(call_in_time(Handler("t", "q", forever, timeout=0.01), [], Current()))

    def test_a_timeout_of_its_own_is_its_own(self) -> None:
        async def impatient(bodies: list[Any]) -> None:
            raise TimeoutError("mine")

        with pytest.raises(TimeoutError, match="mine") as caught:
            asyncio.run(call_in_time(Handler("t", "q", impatient, timeout=LONG_S), [], Current()))
        assert not isinstance(caught.value, TaskTimeout)
