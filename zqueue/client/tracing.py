"""Tracing: what an app asks of whoever traces it (`zqueue.otel`), and how a context is sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from ..current import Current
from ..wire.traced import traced
from .lane import Lane


class Tracer(Protocol):
    """Makes spans of what an app sends and runs."""

    def send(self, task: str, queue: str) -> AbstractContextManager[str]:
        """Around a call that sends. Gives the ``traceparent`` that its tasks carry, or ""."""

    def run(
        self, current: Current, waited_s: float, contexts: Iterable[str] = ()
    ) -> AbstractContextManager[object]:
        """Around the call of a handler, whose oldest task was sent so many seconds ago.

        ``contexts`` are the trace contexts of the tasks in a call of a batch handler.
        """


class FixedContext:
    """No spans, but a context that somebody else made."""

    def __init__(self, traceparent: str) -> None:
        traced(None, traceparent)  # It must be one.
        self._traceparent = traceparent

    def send(self, task: str, queue: str) -> AbstractContextManager[str]:
        """See `Tracer.send`."""
        return nullcontext(self._traceparent)

    def run(
        self, current: Current, waited_s: float, contexts: Iterable[str] = ()
    ) -> AbstractContextManager[object]:
        """See `Tracer.run`."""
        return nullcontext()


class TracedLane:
    """A lane whose bodies carry a trace context."""

    def __init__(self, lane: Lane, tracer: Tracer) -> None:
        self._lane = lane
        self._tracer = tracer

    def add(self, body: object, timeout: float | None = None) -> None:
        """Send a body: see `Producer.send`."""
        with self._tracer.send(self._lane.task, self._lane.queue) as traceparent:
            self._lane.add(traced(body, traceparent) if traceparent else body, timeout)


def with_context(bodies: Iterable[object], traceparent: str) -> Iterator[object]:
    """Bodies that all carry the same trace context, if there is one."""
    for body in bodies:
        yield traced(body, traceparent) if traceparent else body
