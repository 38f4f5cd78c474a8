"""Interrupts: what is raised in a thread is raised in its call, or not at all."""

from __future__ import annotations

import gc
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from zqueue.errors import Cancelled, TaskTimeout
from zqueue.testing import wait_until
from zqueue.worker.interrupts import Interrupts, shielded

LONG_S = 30.0


class Called:
    """A thread that makes one call."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.interrupts = Interrupts()
        self.value: Any = None
        self.error: BaseException | None = None
        self.began = threading.Event()
        self._function = function
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self.began.wait(LONG_S)

    def _run(self) -> None:
        def begin() -> Any:
            self.began.set()
            return self._function()

        try:
            self.value = self.interrupts.call(self, begin)
        except BaseException as error:
            self.error = error

    def join(self) -> None:
        """Until it has ended; what is wanted is insisted on, as a worker does."""
        while self._thread.is_alive():
            self.interrupts.look()
            self._thread.join(0.005)


def spin(go_on: Callable[[], bool]) -> None:
    until = time.monotonic() + LONG_S
    while go_on():
        time.sleep(0.001)
        assert time.monotonic() < until


def test_it_is_raised_where_the_call_is_at_work() -> None:
    called = Called(lambda: spin(lambda: True))
    called.interrupts.want(called, Cancelled)
    called.join()
    assert type(called.error) is Cancelled


def test_what_the_function_does_with_that_is_its_own_business() -> None:
    seen: list[type] = []

    def function() -> str:
        for _ in range(2):
            try:
                spin(lambda: True)
            except (Cancelled, TaskTimeout) as error:
                seen.append(type(error))
        return "all the same"

    called = Called(function)
    called.interrupts.want(called, TaskTimeout)
    wait_until(lambda: seen)
    called.interrupts.want(called, Cancelled)
    called.join()
    assert (called.value, called.error, seen) == ("all the same", None, [TaskTimeout, Cancelled])


def test_another_call_is_not_meant() -> None:
    go_on = threading.Event()
    called = Called(lambda: spin(lambda: not go_on.is_set()))
    called.interrupts.want("another", Cancelled)
    called.interrupts.look()
    go_on.set()
    called.join()
    assert called.error is None
    called.interrupts.want(called, Cancelled)  # It is over.
    called.interrupts.look()


def test_a_shield_is_waited_for() -> None:
    is_inside, go_on = threading.Event(), threading.Event()
    order: list[str] = []

    def function() -> None:
        with shielded():
            is_inside.set()
            spin(lambda: not go_on.is_set())
            order.append("whole")
        spin(lambda: True)

    called = Called(function)
    assert is_inside.wait(LONG_S)
    called.interrupts.want(called, Cancelled)
    called.interrupts.look()
    go_on.set()
    called.join()
    assert type(called.error) is Cancelled
    assert order == ["whole"]


def test_a_finalizer_is_waited_for() -> None:
    """What is raised in one is lost."""
    is_inside, go_on = threading.Event(), threading.Event()

    class Slow:
        def __del__(self) -> None:
            is_inside.set()
            spin(lambda: not go_on.is_set())

    def function() -> None:
        Slow()
        spin(lambda: True)

    called = Called(function)
    assert is_inside.wait(LONG_S)
    called.interrupts.want(called, Cancelled)
    go_on.set()
    called.join()
    assert type(called.error) is Cancelled


def test_where_nothing_is_called_a_shield_does_nothing() -> None:
    with shielded():
        pass


@pytest.fixture
def switching() -> Iterator[None]:
    """Threads take turns as often as they can. (What is raised in a callback of the collector, as
    hypothesis has one, is lost.)"""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    gc.disable()
    yield
    gc.enable()
    sys.setswitchinterval(before)


def test_storm(switching: None) -> None:
    """Whenever it comes, it ends the call that was meant, or none, and nothing around it."""
    interrupts, lock = Interrupts(), threading.Lock()
    cancelled: list[int] = []
    escaped: list[BaseException] = []
    until = time.monotonic() + LONG_S

    def function(number: int) -> int:
        sum(range(20))
        with shielded(), lock:
            sum(range(20))
        return number

    def serve() -> None:
        try:
            for number in itertools.count():
                if (number > 3_000 and len(cancelled) > 10) or time.monotonic() > until:
                    return
                try:
                    assert interrupts.call(number, lambda: function(number)) == number  # noqa: B023
                except Cancelled:
                    cancelled.append(number)
                assert not lock.locked()
        except BaseException as error:
            escaped.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    while thread.is_alive():
        interrupts.want(interrupts._called, Cancelled)
        time.sleep(0)
    assert not escaped
    assert cancelled
    assert len(set(cancelled)) == len(cancelled)
