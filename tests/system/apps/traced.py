"""Tasks that are traced, and tell of their own spans."""

import asyncio
import logging

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import zqueue
import zqueue.otel

app = zqueue.App(retries=0)
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
zqueue.otel.instrument(app, provider)


@app.task
def add(a, b):
    logging.getLogger("shop").warning("adding %d", a)
    return a + b


@app.task
async def add_soon(a, b):
    await asyncio.sleep(0.001)
    return a + b


@app.task(timeout=30)
def fail():
    raise ValueError("no such order")


@app.task
def forward(a):
    add.send(a, a)


@app.batch(queue="events", max_wait=0.3)
def index(events):
    if not all(type(event) is int for event in events):
        raise TypeError("not as sent")


@app.task(queue="spans")
def spans():
    """What this process exported, but for the span of this call."""
    return [
        {
            "name": span.name,
            "trace": f"{span.context.trace_id:032x}",
            "span": f"{span.context.span_id:016x}",
            "parent": f"{span.parent.span_id:016x}" if span.parent else "",
            "remote": bool(span.parent and span.parent.is_remote),
            "start": span.start_time,
            "end": span.end_time,
            "links": sorted(f"{link.context.span_id:016x}" for link in span.links),
            "failed": not span.status.is_ok and span.status.is_unset is False,
            "attributes": dict(span.attributes),
        }
        for span in exporter.get_finished_spans()
        if span.attributes["zqueue.task"] != "spans"
    ]
