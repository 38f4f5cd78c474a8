"""Results come when they are there, whatever else runs or waits."""

from __future__ import annotations

import asyncio
import threading

import pytest

import zqueue
from zqueue.testing import InProcess, wait_until

pytestmark = pytest.mark.system

LONG_S = 20.0


class Gate:
    """A handler that is called with an open number passes; others wait until they are let in."""

    def __init__(self):
        self.opened = threading.Event()
        self.inside = threading.Event()

    def pass_by(self, number):
        if number < 0:
            self.inside.set()
            assert self.opened.wait(LONG_S)
        return number


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.opened.set()


@pytest.fixture
def app(gate):
    app = zqueue.App(retries=0)
    app.go = app.task(name="go")(gate.pass_by)

    @app.task
    async def aside(number):
        while not gate.inside.is_set():
            await asyncio.sleep(0.001)
        return number

    app.aside = aside
    with InProcess(app):
        yield app


@pytest.fixture(params=["at once", "after many quick ones"])
def go(app, request):
    """The task, as a worker knows it: once it has learned that it is quick it settles in runs."""
    if request.param != "at once":
        assert sum(app.go.map([0] * 5000)) == 0
    return app.go


def test_what_is_done_before_a_slow_one(go, gate):
    before = [go.submit(number) for number in range(5)]
    slow = go.submit(-1)
    assert [future.result(LONG_S) for future in before] == list(range(5))
    assert not slow.done()
    gate.opened.set()
    assert slow.result(LONG_S) == -1


def test_of_one_batch(go, app, gate):
    bodies = [[number] for number in (1, 2, 3, -1, 4, 5)]
    batch = app.producer.publish("default", bodies, task="go", results=True)
    assert [future.result(LONG_S) for future in batch.tasks[:3]] == [1, 2, 3]
    assert not batch.tasks[3].done()
    gate.opened.set()
    assert [future.result(LONG_S) for future in batch.tasks[3:]] == [-1, 4, 5]


def test_of_map_what_is_done_comes_at_once(go, gate):
    results = iter(go.map([*range(100), -1, *range(100)]))
    assert [next(results) for _ in range(100)] == list(range(100))
    assert wait_until(gate.inside.is_set, LONG_S)
    gate.opened.set()
    assert list(results) == [-1, *range(100)]


def test_a_source_that_pauses_does_not_hold_back_what_it_gave(go):
    seen, went_on = threading.Event(), []

    def source():
        yield 1
        yield 2
        went_on.append(seen.wait(LONG_S))
        yield 3

    results = iter(go.map(source()))
    assert [next(results), next(results)] == [1, 2]
    seen.set()
    assert list(results) == [3]
    assert went_on == [True]


def test_those_side_by_side_beside_a_slow_one(app, gate):
    """An async task that ends while the main thread is in a handler."""
    beside = [app.aside.submit(number) for number in range(3)]
    slow = app.go.submit(-1)
    assert [future.result(LONG_S) for future in beside] == [0, 1, 2]
    assert not slow.done()
    gate.opened.set()
    assert slow.result(LONG_S) == -1
