"""The current task: what a handler finds, and how often what it says is told."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import zqueue
from zqueue import Current
from zqueue.current import PROGRESS_EVERY_S, beside, current, set_in_main
from zqueue.testing import FakeClock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """The clock that `Current` looks at."""
    clock = FakeClock(1000.0)
    monkeypatch.setattr(sys.modules["zqueue.current"], "monotonic", clock)
    return clock


@pytest.fixture
def told() -> list[tuple[int, int]]:
    return []


@pytest.fixture
def task(told: list[tuple[int, int]], clock: FakeClock) -> Current:
    return Current("resize", "images", "0a-1-2", 3, "", lambda *step: told.append(step))


@pytest.fixture(autouse=True)
def _nothing_runs_afterwards() -> Iterator[None]:
    yield
    set_in_main(None)


class TestProgress:
    def test_the_first_word_is_told_at_once(self, task: Current, told: list[Any]) -> None:
        task.progress(0, 10)
        assert told == [(0, 10)]
        assert (task.done, task.total) == (0, 10)

    def test_ten_times_a_second(self, task: Current, told: list[Any], clock: FakeClock) -> None:
        for step in range(1000):
            task.progress(step, 1001)
            clock.advance(PROGRESS_EVERY_S / 100)
        assert 9 <= len(told) <= 11
        assert task.done == 999, "what is not told is known here"

    def test_again_when_time_has_passed(
        self, task: Current, told: list[Any], clock: FakeClock
    ) -> None:
        task.progress(1, 9)
        clock.advance(PROGRESS_EVERY_S - 0.001)
        task.progress(2, 9)
        clock.advance(0.002)
        task.progress(3, 9)
        assert told == [(1, 9), (3, 9)]

    def test_when_it_is_complete(self, task: Current, told: list[Any]) -> None:
        for step in range(1, 6):
            task.progress(step, 5)
        assert told == [(1, 5), (5, 5)]

    def test_whole_numbers_are_told(self, task: Current, told: list[Any]) -> None:
        """What is told must be what can be sent."""
        task.progress(1.9, 3.0)  # type: ignore[arg-type]
        task.progress(True, True)
        assert told == [(1, 3), (1, 1)]
        assert all(type(number) is int for step in told for number in step)

    @pytest.mark.parametrize(
        "step", [(-1, 1), (1, -1), (1 << 53, 1), (1, 1 << 53), (float("nan"), 1), (float("inf"), 1)]
    )
    def test_what_cannot_be(self, task: Current, told: list[Any], step: Any) -> None:
        with pytest.raises(ValueError, match="progress is a number of steps"):
            task.progress(*step)
        assert told == []
        assert (task.done, task.total) == (0, 0)


class TestCurrent:
    def test_outside_a_worker_it_says_nothing(self) -> None:
        here = zqueue.current()
        assert (here.task, here.queue, here.id, here.attempt, here.traceparent) == (
            "", "", "", 1, "",
        )  # fmt: skip
        assert repr(here) == "<Current: nothing runs>"
        here.progress(1, 2)

    def test_what_runs_in_the_main_thread(self, task: Current) -> None:
        set_in_main(lambda: task)
        assert current() is task
        assert repr(task) == "<Current resize 0a-1-2>"
        set_in_main(None)
        assert current().task == ""

    def test_threads_of_a_handler_find_it_too(self, task: Current) -> None:
        set_in_main(lambda: task)
        found: list[Current] = []
        thread = threading.Thread(target=lambda: found.append(current()))
        thread.start()
        thread.join()
        assert found == [task]

    def test_each_task_of_a_loop_has_its_own(self, task: Current) -> None:
        set_in_main(lambda: task)
        found: dict[str, list[Current]] = {}

        async def handler(name: str) -> None:
            beside.set(Current(name))
            found[name] = [current()]
            await asyncio.sleep(0)
            found[name].append(await asyncio.create_task(inner()))

        async def inner() -> Current:
            return current()

        async def both() -> None:
            await asyncio.gather(handler("a"), handler("b"))

        asyncio.run(both())
        assert {name: [c.task for c in seen] for name, seen in found.items()} == {
            "a": ["a", "a"],
            "b": ["b", "b"],
        }
        assert current() is task
