"""Spans of one trace, made by a sender and by a worker process: the SDK's own exporters tell."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import zqueue
import zqueue.otel
from tests.system.conftest import StartWorkers
from tests.system.harness import APPS, DEADLINE_S, Broker, wait_until

Span = dict[str, Any]


@pytest.fixture
def app(broker: Broker, workers: StartWorkers) -> Iterator[ModuleType]:
    """The traced app, in this process as in the worker's; the worker is there."""
    spec = importlib.util.spec_from_file_location("traced_here", APPS / "traced.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.app.url = broker.url
    workers(broker, "traced.py")
    with module.app:
        yield module


def sent(app: ModuleType) -> list[Span]:
    """Spans of this process."""
    found: list[Span] = app.spans()
    return found


def run(app: ModuleType, count: int) -> list[Span]:
    """Spans of the worker, once there are so many."""

    def there() -> list[Span] | None:
        spans: list[Span] = app.spans.submit().result(DEADLINE_S)
        return spans if len(spans) >= count else None

    return wait_until(there, what=f"{count} spans of the worker") or []


def test_send_wait_and_process_are_one_trace(app: ModuleType) -> None:
    assert app.add.submit(1, 2).result(DEADLINE_S) == 3
    wait, process = run(app, 2)
    (send,) = [span for span in sent(app) if span["attributes"]["zqueue.task"] == "add"]
    assert (send["name"], wait["name"], process["name"]) == (
        "send default", "wait default", "process default"
    )  # fmt: skip
    assert send["parent"] == ""
    for child in (wait, process):
        assert child["trace"] == send["trace"]
        assert child["parent"] == send["span"]
        assert child["remote"]
    # One machine, one clock: it was sent, then waited, then ran.
    assert send["start"] <= wait["start"] <= wait["end"] <= process["start"] < process["end"]
    attributes = process["attributes"]
    assert attributes["messaging.destination.name"] == "default"
    assert attributes["zqueue.attempt"] == 1
    assert attributes["messaging.message.id"].endswith("-1-0")


def test_the_senders_own_span_is_the_parent(app: ModuleType) -> None:
    tracer = app.provider.get_tracer("test")
    with tracer.start_as_current_span("request", attributes={"zqueue.task": ""}) as request:
        app.add.send(1, 2)
        app.add_soon.send(3, 4)
    processes = [span for span in run(app, 4) if span["name"].startswith("process")]
    assert len(processes) == 2
    assert {span["trace"] for span in processes} == {f"{request.context.trace_id:032x}"}


def test_a_failure_is_told(app: ModuleType) -> None:
    with pytest.raises(zqueue.RemoteError, match="no such order"):
        app.fail.submit().result(DEADLINE_S)
    _, process = run(app, 2)
    assert process["failed"]


def test_a_chain_of_tasks_is_one_trace(app: ModuleType) -> None:
    app.forward.send(1)
    spans = run(app, 5)
    assert len({span["trace"] for span in spans}) == 1
    by_name = {(s["name"], s["attributes"]["zqueue.task"]): s for s in spans}
    first = by_name["process default", "forward"]
    sent_on = by_name["send default", "add"]
    assert sent_on["parent"] == first["span"]
    assert by_name["process default", "add"]["parent"] == sent_on["span"]


def test_a_batch_call_is_linked_to_all_that_sent_it(app: ModuleType) -> None:
    app.index.send(1)
    app.index.send_many([2, 3, 4])
    app.app.flush()
    (process,) = run(app, 1)
    sends = [span for span in sent(app) if span["name"] == "send events"]
    assert len(sends) == 2
    assert process["links"] == sorted(span["span"] for span in sends)
    assert not process["failed"]


def test_no_spans_once_it_is_over(app: ModuleType) -> None:
    app.add.send(1, 1)
    before = len(sent(app))
    zqueue.otel.uninstrument(app.app)
    app.add.send(2, 2)
    assert len(sent(app)) == before
    # The worker is still instrumented: without a context, its span begins a trace.
    assert any(not span["parent"] for span in run(app, 3))


def test_without_the_extra_it_says_how_to_get_it() -> None:
    program = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "import zqueue\n"
        "try:\n    import zqueue.otel\n"
        "except zqueue.ConfigError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, timeout=30
    )
    assert done.stdout == "zqueue.otel needs OpenTelemetry: pip install 'zqueue-pool[otel]'\n"
