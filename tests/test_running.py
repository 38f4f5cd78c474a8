"""Running handlers: calls side by side, bodies gathered, calls with a clock at hand."""

from __future__ import annotations

import asyncio
import queue
import signal
import threading
from typing import Any

import pytest

from zqueue.current import Current
from zqueue.errors import ProtocolError, TaskTimeout
from zqueue.handlers import Handler
from zqueue.protocol.worker import LeasedBatch
from zqueue.running import Gathered, Loop, Work, call_in_time, call_with_alarm

LONG_S = 20.0


def nobody(work: Work, position: int, done: int, total: int) -> None:
    """Is told of progress, and does not care."""


def work(task: str = "t", tasks: int = 1) -> Work:
    return Work(1, 0, 0, LeasedBatch("q", task, True, tasks, 1, 0, b""), [tasks])


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
              **options: Any) -> list[tuple[int, Any, Any]]:  # fmt: skip
        """Run bodies in a loop; position, value and error of each, in order."""
        woken: queue.Queue[None] = queue.Queue()
        loop = Loop(concurrency, lambda: woken.put(None), nobody, None)
        loop.start(Handler("t", "q", function, **options), work(task), bodies)
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


class TestCallInTime:
    def test_gets_the_list(self) -> None:
        seen: list[Any] = []

        async def take(bodies: list[Any]) -> None:
            seen.extend(bodies)

        asyncio.run(call_in_time(Handler("t", "q", take), [1, 2], Current()))
        assert seen == [1, 2]

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
