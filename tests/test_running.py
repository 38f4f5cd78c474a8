"""Running handlers: calls side by side, bodies gathered, calls with a clock at hand."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from msgpack import ExtType

from zqueue.current import Current, current
from zqueue.errors import ProtocolError, TaskTimeout
from zqueue.handlers import Handler
from zqueue.protocol.traced import TRACED, traced
from zqueue.protocol.worker import LeasedBatch
from zqueue.running import Gathered, Loop, Work, call_in_time, call_with_alarm, current_of
from zqueue.tracing import FixedContext

LONG_S = 20.0
HERE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def nobody(work: Work, position: int, done: int, total: int) -> None:
    """Is told of progress, and does not care."""


def work(task: str = "t", tasks: int = 1) -> Work:
    return Work(1, 0, 0, LeasedBatch("q", task, True, tasks, 1, 0, b"", 9, 1, 0), [tasks])


class TestGathered:
    def gathered(self, batch_max: int, *sizes: int) -> Gathered:
        row = Gathered(Handler("t", "q", print, batch_max=batch_max), since=0.0)
        for size in sizes:
            row.add(work(tasks=size), list(range(size)))
        return row

    def cuts(self, row: Gathered) -> list[list[tuple[int, int]]]:
        cuts = []
        while row.bodies:
            cuts.append([(first, len(bodies)) for _, first, bodies in row.cut()])
        return cuts

    def test_fills_up_calls(self) -> None:
        row = self.gathered(5, 2, 2, 4)
        assert row.bodies == 8
        assert self.cuts(row) == [[(0, 2), (0, 2), (0, 1)], [(1, 3)]]
        assert row.parts == []

    def test_cuts_a_large_batch(self) -> None:
        assert self.cuts(self.gathered(3, 8)) == [[(0, 3)], [(3, 3)], [(6, 2)]]

    def test_keeps_the_bodies_with_their_positions(self) -> None:
        row = self.gathered(3, 5)
        row.cut()
        ((_, first, bodies),) = row.cut()
        assert (first, bodies) == (3, [3, 4])


class TestLoop:
    def start(self, function: Any, bodies: list[Any], *, concurrency: int = 10, task: str = "t",
              of: Work | None = None, tell: Any = nobody, tracer: Any = None,
              loops: list[Loop] | None = None, **options: Any,
              ) -> list[tuple[int, Any, Any]]:  # fmt: skip
        """Run bodies in a loop; position, value and error of each, in order."""
        woken: queue.Queue[None] = queue.Queue()
        loop = Loop(concurrency, lambda: woken.put(None), tell, tracer)
        if loops is not None:
            loops.append(loop)
        loop.start(Handler("t", "q", function, **options), of or work(task), bodies)
        assert loop.running == len(bodies)
        for _ in bodies:
            woken.get(timeout=LONG_S)
        self.stop(loop)
        return sorted(((d.position, d.value, d.error) for d in loop.done), key=lambda item: item[0])

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

    def test_plain_bodies(self) -> None:
        async def echo(body: Any) -> Any:
            return body

        assert self.start(echo, [[1, 2]], task="") == [(0, [1, 2], None)]

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

        leased = Work(7, 0, 0, LeasedBatch("q", "t", True, 3, 4, 0, b"", 10, 20, 30), [3])
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
        loops: list[Loop] = []

        async def look(number: int) -> None:
            if number:
                oldest.append(loops[0].oldest())
            else:
                await asyncio.sleep(0)

        self.start(look, [[0], [1]], loops=loops)
        ((since, first),) = oldest
        assert first.id.endswith("-0")
        assert since > 0
        assert loops[0].oldest() is None, "nothing runs any more"

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

        loop = Loop(1, lambda: None, nobody, None)
        assert loop.call(seven()) == 7
        self.stop(loop)


class TestAlarm:
    def test_in_time(self) -> None:
        before = signal.getsignal(signal.SIGALRM)
        assert call_with_alarm(lambda: 7, LONG_S) == 7
        assert signal.getsignal(signal.SIGALRM) is before
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)

    def test_too_long(self) -> None:
        def forever() -> None:
            while True:
                pass

        before = signal.getsignal(signal.SIGALRM)
        with pytest.raises(TaskTimeout) as caught:
            call_with_alarm(forever, 0.01)
        assert str(caught.value) == "TaskTimeout: ran longer than 0.01 s"
        assert signal.getsignal(signal.SIGALRM) is before
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)

    def test_its_own_errors_pass_through(self) -> None:
        with pytest.raises(ZeroDivisionError):
            call_with_alarm(lambda: 1 / 0, LONG_S)
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


class TestCurrentOf:
    def test_says_what_is_known_of_a_task(self) -> None:
        told: list[tuple[Any, ...]] = []
        batch = LeasedBatch("mail", "send", True, 9, 3, 0, b"", 0xA0A1A2A3A4A5, 7, 40)
        leased = Work(1, 0, 0, batch, [9])
        send = Handler("send", "mail", print)
        task = current_of(send, leased, 2, HERE, lambda *what: told.append(what))
        assert (task.task, task.queue, task.attempt) == ("send", "mail", 3)
        assert (task.id, task.traceparent) == ("a0a1a2a3a4a5-7-42", HERE)
        task.progress(1, 2)
        assert told == [(leased, 2, 1, 2)]

    def test_a_body_without_a_task_name_has_its_handlers(self) -> None:
        leased = Work(1, 0, 0, LeasedBatch("mail", "", True, 1, 1, 0, b"", 1, 2, 3), [1])
        task = current_of(Handler("send", "mail", print), leased, 0, "", nobody)
        assert (task.task, task.id) == ("send", "000000000001-2-3")

    def test_an_earlier_broker_does_not_say_which_task_it_is(self) -> None:
        """No id is better than one that many tasks have."""
        leased = Work(1, 0, 0, LeasedBatch("q", "t", True, 1, 1, 0, b""), [1])
        task = current_of(Handler("t", "q", print), leased, 0, "", nobody)
        assert task.id == ""


class TestCallInTime:
    def test_gets_the_list(self) -> None:
        seen: list[Any] = []

        async def take(bodies: list[Any]) -> None:
            seen.extend(bodies)

        asyncio.run(call_in_time(Handler("t", "q", take), [1, 2], Current()))
        assert seen == [1, 2]

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
