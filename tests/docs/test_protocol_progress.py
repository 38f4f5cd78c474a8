"""What docs/protocol.md says of the ids, the progress and the trace contexts of tasks, between a
client that knows nothing else and a real broker, a real producer, and a real worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgpack
import pytest

import zqueue

from .bare_client import (
    DELIVER,
    DONE,
    PROGRESS,
    RESULTS,
    RETURNED,
    Observer,
    Producer,
    Supervisor,
    Wires,
    Worker,
    traced,
    unpack,
)
from .page import rows, section, words
from .processes import running

HERE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def ready(wires: Wires, role: Any, *arguments: Any, **options: Any) -> Any:
    """A peer that was welcomed."""
    peer = role(wires, *arguments, **options)
    peer.hello()
    return peer


# --- ids ---


def test_ids_stay_the_same_however_often_a_task_is_delivered(wires: Wires) -> None:
    producer = ready(wires, Producer)
    supervisor = ready(wires, Supervisor)
    producer.publish("other", ["x"])
    number = producer.publish("q", ["a", "b", "c"])
    producer.confirm(number)
    origin = producer.id[:6].hex()
    ids = {body: f"{origin}-{number}-{place}" for place, body in enumerate("abc")}
    for credit, reason in ((2, "stopped"), (3, "crashed"), (3, "crashed")):
        worker = ready(wires, Worker, "q", supervisor=supervisor.id)
        worker.credit(credit)
        delivery = worker.delivery()
        assert delivery.ids == [ids[body] for body in delivery.bodies]
        supervisor.departed(worker.id, reason)
        worker.close()
    worker = ready(wires, Worker, "q").credit(3)
    delivery = worker.delivery()
    worker.settle(delivery.lease, [0, 0, len(delivery.bodies), RETURNED], credit=3)
    again = worker.delivery()
    assert again.ids == [ids[body] for body in again.bodies]
    assert again.attempts == {4}


# --- progress ---


def test_a_real_producer_hears_a_bare_worker(wires: Wires) -> None:
    worker = ready(wires, Worker, "q").credit(9)
    with zqueue.Producer(wires.url) as producer:
        future = producer.submit("q", [1], task="t")
        heard: list[Any] = []
        future.add_progress_callback(lambda f: heard.append(f.progress))
        delivery = worker.delivery()
        for done, total in ((0, 0), (3, 4), (9, 4)):
            worker.progress(delivery.lease, 0, done, total)
        wires.until(lambda: len(heard) == 3)
        assert heard == [(0, 0), (3, 4), (9, 4)]
        worker.settle(delivery.lease, [0, 0, 1, RESULTS], carry=(["yes"],), credit=9)
        wires.until(future.done)
        assert future.result() == "yes"


# --- trace contexts, and a real worker ---


APP = """
import zqueue

app = zqueue.App()

@app.task(queue="calls")
def who(x):
    here = zqueue.current()
    here.progress(1, 2)
    return [x, here.id, here.traceparent, here.attempt, here.task, here.queue]

@app.batch(queue="many", max_wait=0.01)
def many(bodies):
    if bodies != [{"as": "sent"}]:
        raise ValueError(repr(bodies))
"""


def test_a_real_worker_and_a_bare_producer(wires: Wires, tmp_path: Path) -> None:
    (tmp_path / "calls.py").write_text(APP)
    producer, observer = ready(wires, Producer), Observer(wires)
    bodies = [[1], msgpack.unpackb(traced(HERE, [2])), msgpack.unpackb(traced(HERE, {"x": 3}))]
    number = producer.publish("calls", bodies, task="who", reply=True)
    many = producer.publish("many", [msgpack.unpackb(traced(HERE, {"as": "sent"}))], reply=True)
    broken = [msgpack.ExtType(116, data) for data in (b"", b"x" * 26, b"x" * 26 + b"\x01\x02")]
    torn = producer.publish("calls", [*broken, [4]], task="who", reply=True)
    with running("worker", str(tmp_path / "calls.py"), "--url", wires.url):
        results = [value for _, value in producer.results(number, 3)]
        origin = producer.id[:6].hex()
        assert results == [
            [1, f"{origin}-{number}-0", "", 1, "who", "calls"],
            [2, f"{origin}-{number}-1", HERE, 1, "who", "calls"],
            [3, f"{origin}-{number}-2", HERE, 1, "who", "calls"],
        ]
        assert producer.hear(PROGRESS)[1] == [number, 0, 1, 2]
        assert producer.results(many, 1) == [(DONE, None)]
        *failed, (_, fine) = producer.results(torn, 4)
        assert [error[0] for _, error in failed] == ["ProtocolError"] * 3
        assert fine[0] == 4

        told = observer.until(lambda info: info["supervisors"] and info["supervisors"][0]["report"])
        (pool,) = told["supervisors"]
        table = rows(section("Maps"), "state", "meaning")
        assert set(pool["report"]) == {word for row in table for word in words(row[0])}
        assert (pool["report"]["processes"], pool["report"]["restarts"]) == (1, 0)
        assert pool["version"] == told["workers"][0]["version"] == zqueue.__version__
        assert told["gc_pause_ms"].keys() == {"broker", "worker", "supervisor"}


@pytest.mark.parametrize("reply", [False, True])
def test_a_bare_worker_and_a_real_producer(wires: Wires, reply: bool) -> None:
    worker = ready(wires, Worker, "q").credit(9)
    app = zqueue.App(wires.url)
    task = app.task(lambda x: x, name="t", queue="q")
    sender = task.options(traceparent=HERE)
    future = sender.submit(1) if reply else sender.send(1)
    _, _, (frame,) = worker.hear(DELIVER)
    assert frame == b"\x91" + traced(HERE, [1])
    assert unpack(frame)[0].data[:26].hex() == HERE.replace("-", "")
    assert (future is not None) is reply
    app.close()
