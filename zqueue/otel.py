"""Spans for OpenTelemetry, with the extra ``otel``.

Three spans a task: *send* around the call that sends it; *wait*, from sending to the start of its
handler; and *process* around the handler. The last two are children of the first also in another
process: the context travels with the task. A call of a batch handler is one span, with a link to
each context of its tasks.

Names and attributes are those of the semantic conventions for messaging.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import time_ns
from typing import TYPE_CHECKING

from .app import App
from .current import Current
from .errors import ConfigError
from .version import __version__

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import TracerProvider

try:
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:
    raise ConfigError("zqueue.otel needs OpenTelemetry: pip install 'zqueue-pool[otel]'") from None

LINKS_MAX = 128
"""Links of one span, as many as OpenTelemetry keeps by default."""

_propagator = TraceContextTextMapPropagator()


def instrument(app: App, tracer_provider: TracerProvider | None = None) -> None:
    """Make spans of all tasks that an app sends and runs.

    Call it where the app is made, so that both senders and workers make them. Each task then takes
    some tens of microseconds more, in both. ``tracer_provider`` is the global one by default;
    without an SDK there are no spans, and no context travels.
    """
    app.tracer = SpanTracer(trace.get_tracer("zqueue", __version__, tracer_provider))


def uninstrument(app: App) -> None:
    """Make no more spans of an app."""
    app.tracer = None


class SpanTracer:
    """A `zqueue.client.tracing.Tracer` that makes spans."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    @contextmanager
    def send(self, task: str, queue: str) -> Iterator[str]:
        """See `Tracer.send`."""
        with self._tracer.start_as_current_span(
            f"send {queue}",
            kind=trace.SpanKind.PRODUCER,
            attributes=_attributes("send", task, queue),
        ):
            carrier: dict[str, str] = {}
            _propagator.inject(carrier)
            yield carrier.get("traceparent", "")

    @contextmanager
    def run(
        self, current: Current, waited_s: float, contexts: Iterable[str] = ()
    ) -> Iterator[None]:
        """See `Tracer.run`."""
        attributes: dict[str, str | int] = _attributes("process", current.task, current.queue)
        attributes["zqueue.attempt"] = current.attempt
        if current.id:
            attributes["messaging.message.id"] = current.id
        parent = _context_of(current.traceparent) if current.traceparent else None
        if parent is not None:
            self._wait(current, parent, waited_s)
        links = [trace.Link(_span_context_of(c)) for c in sorted(set(contexts))[:LINKS_MAX]]
        with self._tracer.start_as_current_span(
            f"process {current.queue}",
            context=parent,
            kind=trace.SpanKind.CONSUMER,
            attributes=attributes,
            links=links,
        ):
            yield

    def _wait(self, current: Current, parent: Context, waited_s: float) -> None:
        """Make the span of the past wait, by this process's clock alone: see `Deliver`."""
        now = time_ns()
        span = self._tracer.start_span(
            f"wait {current.queue}",
            context=parent,
            attributes=_attributes("receive", current.task, current.queue),
            start_time=now - int(max(0.0, waited_s) * 1e9),
        )
        span.end(now)


def _attributes(operation: str, task: str, queue: str) -> dict[str, str | int]:
    return {
        "messaging.system": "zqueue",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": queue,
        "zqueue.task": task,
    }


def _context_of(traceparent: str) -> Context:
    return _propagator.extract({"traceparent": traceparent})


def _span_context_of(traceparent: str) -> trace.SpanContext:
    return trace.get_current_span(_context_of(traceparent)).get_span_context()
