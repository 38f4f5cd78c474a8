"""The client that knows nothing but docs/protocol.md against our own producer and worker."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import zqueue

from .bare_client import (
    DELIVER,
    DONE,
    FAILED,
    RESULTS,
    Observer,
    Producer,
    Wires,
    Worker,
    unpack,
)
from .page import report_keys
from .processes import running


def test_a_real_producer_and_a_bare_worker(wires: Wires) -> None:
    worker = Worker(wires, "q")
    worker.hello()
    worker.credit(9)
    with zqueue.Producer(wires.url) as producer:
        good = producer.submit("q", [2, 3], task="add")
        bad = producer.submit("q", {"*": [1], "y": 0}, task="divide")
        producer.send("q", "plain")
        seen: list[Any] = []
        while len(seen) < 3:
            delivery = worker.delivery()
            for index, (task, reply, _, bodies) in enumerate(delivery.batches):
                seen += bodies
                run = [index, 0, len(bodies)]
                if task == "add":
                    carry = ([sum(body) for body in bodies],)
                    worker.settle(delivery.lease, [*run, RESULTS], carry=carry, credit=9)
                elif task == "divide":
                    error = ["ZeroDivisionError", "division by zero", "File x, line 1"]
                    worker.settle(delivery.lease, [*run, FAILED], carry=([error],), credit=9)
                else:
                    assert not reply
                    worker.settle(delivery.lease, [*run, DONE], credit=9)
        assert sorted(seen, key=str) == [[2, 3], "plain", {"*": [1], "y": 0}]
        wires.until(lambda: good.done() and bad.done())
        assert good.result() == 5
        with pytest.raises(zqueue.RemoteError, match="division by zero") as raised:
            bad.result()
        assert raised.value.type_name == "ZeroDivisionError"
        assert "line 1" in str(raised.value.__cause__)

        many = producer.outcomes("many", range(1000), task="id")
        other = Worker(wires, "many")
        other.hello()
        other.credit(700)
        asked = 0

        def answer() -> bool:
            nonlocal asked
            if message := other.pop(DELIVER):
                _, (lease, _, batches), frames = message
                runs = [[i, 0, batch[2], RESULTS] for i, batch in enumerate(batches)]
                carry = tuple(unpack(frame) for frame in frames)
                other.settle(lease, *runs, carry=carry, credit=700)
                asked += sum(batch[2] for batch in batches)
            return asked == 1000

        with _in_thread(lambda: [value for ok, value in many if ok]) as outcome:
            wires.until(answer)
            wires.until(outcome.done)
            assert outcome.result() == list(range(1000))


@contextlib.contextmanager
def _in_thread(function: Callable[[], Any]) -> Iterator[Any]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(function)


APP = """
import os
import zqueue

app = zqueue.App()

@app.task(queue="calls")
def add(x, y=10, *, z=100):
    return x + y + z

@app.task(queue="calls")
def fail(text):
    raise ValueError(text)

@app.task(queue="calls")
def die():
    os.kill(os.getpid(), 9)

@app.task(queue="calls", timeout=0.3)
def hang():
    while True:
        pass

@app.task(queue="plain")
def echo(body):
    return body
"""


def test_a_bare_producer_and_a_real_worker(wires: Wires, tmp_path: Path) -> None:
    (tmp_path / "calls.py").write_text(APP)
    producer, observer = Producer(wires), Observer(wires)
    producer.hello()
    bodies = [[1], [1, 2], {"x": 1, "z": 0}, {"*": [1], "z": 0}, {"*": [1, 1]}]
    add = producer.publish("calls", bodies, task="add", reply=True)
    wrong = producer.publish("calls", [7, {"*": 1}, {"no": 1}], task="add", reply=True)
    fail = producer.publish("calls", [["a"], ["b"]], task="fail", reply=True)
    unknown = producer.publish("calls", [[], []], task="none", reply=True)
    plain = producer.publish("plain", [[1, 2], {"*": 3}, None, b"\xff"], reply=True)
    quiet = producer.publish("calls", [["never told"]], task="fail")
    torn = producer.publish_raw("plain", b"\x92\x01\xc1", 2, reply=True)
    with running("worker", str(tmp_path / "calls.py"), "--url", wires.url) as process:
        assert producer.results(add, 5) == [(RESULTS, n) for n in (111, 103, 11, 11, 102)]
        errors = [error[0] for _, error in producer.results(wrong, 3)]
        assert errors == ["ProtocolError", "ProtocolError", "TypeError"]
        (_, first), (_, second) = producer.results(fail, 2)
        assert (first[:2], second[:2]) == (["ValueError", "a"], ["ValueError", "b"])
        assert "Traceback" in first[2]
        assert {error[0] for _, error in producer.results(unknown, 2)} == {"UnknownTask"}
        echoed = [value for _, value in producer.results(plain, 4)]
        assert echoed == [[1, 2], {"*": 3}, None, b"\xff"]
        whole, broken = producer.results(torn, 2)
        assert (broken[0], broken[1][0]) == (FAILED, "ProtocolError")
        assert whole in ((RESULTS, 1), broken), "neither ran if it had to be cut for the worker"
        producer.confirm(quiet)
        observer.until(lambda info: info["dead"]["total"] == 1)
        (letter,) = observer.ask("dead")["letters"]
        assert (letter["queue"], letter["task"]) == ("calls", "fail")
        assert letter["body"] == [["never told"]]

        info = observer.until(lambda info: info["workers"][0]["report"].get("done"))
        assert info["tasks"]["add"] == "calls"
        assert set(info["workers"][0]["queues"]) == {"calls", "plain"}
        report = info["workers"][0]["report"]
        assert set(report) | {"running"} == report_keys()
        figures = observer.ask("stats")["figures"]
        assert {"add", "fail"} <= set(figures)
        assert sum(meter[0] + meter[1] for meter in figures.values()) > 0

        late = producer.publish("calls", [[]], task="hang", reply=True)
        ((_, error),) = producer.results(late, 1)
        assert error[0] == "TaskTimeout"
        poison = producer.publish("calls", [[]], task="die", reply=True)
        ((_, error),) = producer.results(poison, 1)
        assert error[0] == "WorkerLost"
        assert process.stop() == 0
    observer.until(lambda info: not info["workers"])
