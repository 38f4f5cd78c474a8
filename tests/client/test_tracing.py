"""Tracing: contexts around bodies, whoever makes them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

import zqueue
from zqueue.client.lane import Lane
from zqueue.client.tracing import FixedContext, TracedLane, with_context
from zqueue.current import Current
from zqueue.errors import BodyError, ConfigError
from zqueue.wire.traced import traced, untraced
from zqueue.wire.unpacking import unpack_bodies

HERE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
THERE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"


class Producer:
    """Gives room to a lane."""

    def make_room(self, lane: Lane, timeout: float | None) -> None:
        lane.open()

    def service(self, lane: Lane | None = None) -> None:
        pass

    def step_aside(self) -> None:
        pass


class Numbered:
    """A tracer that gives each call that sends a context of its own, and notes what was said."""

    def __init__(self, *contexts: str) -> None:
        self.contexts = list(contexts)
        self.said: list[tuple[str, str]] = []
        self.open = 0

    @contextlib.contextmanager
    def send(self, task: str, queue: str) -> Iterator[str]:
        self.said.append((task, queue))
        self.open += 1
        try:
            yield self.contexts.pop(0)
        finally:
            self.open -= 1

    def run(
        self, current: Current, waited_s: float, contexts: Iterable[str] = ()
    ) -> contextlib.AbstractContextManager[object]:
        return contextlib.nullcontext()


def sent(lane: Lane) -> list[tuple[Any, str]]:
    """The bodies that gathered, and their contexts."""
    batch = lane.cut()
    return [untraced(body) for body in unpack_bodies(batch.frame)] if batch else []


class TestTracedLane:
    def test_each_body_has_the_context_of_its_call(self) -> None:
        lane = Lane(Producer(), "mail", "send")
        tracer = Numbered(HERE, "", THERE)
        for body in ([1], [2], {"three": 3}):
            TracedLane(lane, tracer).add(body)
        assert sent(lane) == [([1], HERE), ([2], ""), ({"three": 3}, THERE)]
        assert tracer.said == [("send", "mail")] * 3

    def test_what_cannot_be_sent_closes_its_span(self) -> None:
        lane = Lane(Producer(), "mail", "send")
        tracer = Numbered(HERE)
        with pytest.raises(BodyError):
            TracedLane(lane, tracer).add({1, 2})
        assert tracer.open == 0
        assert lane.gathered == 0


class TestFixedContext:
    def test_gives_always_the_same(self) -> None:
        fixed = FixedContext(HERE)
        for _ in range(2):
            with fixed.send("t", "q") as traceparent:
                assert traceparent == HERE
        with fixed.run(Current(), 1.0, [THERE]):
            pass

    @pytest.mark.parametrize("traceparent", ["", "yes", HERE[:-1], HERE.upper()])
    def test_must_be_one(self, traceparent: str) -> None:
        with pytest.raises(ConfigError, match="is no traceparent"):
            FixedContext(traceparent)


class TestWithContext:
    def test_all_have_it(self) -> None:
        assert list(with_context([1, "two"], HERE)) == [traced(1, HERE), traced("two", HERE)]

    def test_without_one_they_are_what_they_were(self) -> None:
        bodies = [[1], {"two": 2}]
        assert [a is b for a, b in zip(with_context(bodies, ""), bodies, strict=True)] == [True] * 2

    def test_reads_no_further_than_it_is_read(self) -> None:
        def endless() -> Iterator[int]:
            number = 0
            while True:
                yield number
                number += 1

        made = with_context(endless(), HERE)
        assert [untraced(next(made)) for _ in range(2)] == [(0, HERE), (1, HERE)]


class TestOptions:
    """`Task.options` and `BatchTask.options` look at a context before anything is sent."""

    @pytest.mark.parametrize("traceparent", ["", "nonsense", HERE + "00"])
    def test_no_traceparent(self, traceparent: str) -> None:
        app = zqueue.App()
        task = app.task(lambda: None, name="t")
        batch = app.batch(queue="b", name="b")(lambda bodies: None)
        for sender in (task, batch):
            with pytest.raises(ConfigError, match="is no traceparent"):
                sender.options(traceparent=traceparent)

    def test_none_is_the_same_as_no_option(self) -> None:
        app = zqueue.App()
        task = app.task(lambda: None, name="t")
        assert task.options(queue="other", traceparent=None).queue == "other"
        assert task.options(traceparent=HERE).queue == "default"
