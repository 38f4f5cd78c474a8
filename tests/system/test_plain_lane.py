"""The plain lane, driven by bare PUSH and PULL sockets: ``[queue, msgpack array]`` both ways."""

from __future__ import annotations

import contextlib
import signal
from collections import Counter

import msgpack
import pytest
import zmq

import zqueue
from tests.system.harness import bare, calls_until_full, cpu_s, free_port, rss_bytes, wait_until

pytestmark = pytest.mark.system


@pytest.fixture(params=["tcp", "ipc"])
def lanes(request, tmp_path):
    """Addresses of the two sides."""
    if request.param == "tcp":
        return f"tcp://127.0.0.1:{free_port()}", f"tcp://127.0.0.1:{free_port()}"
    return f"ipc://{tmp_path}/in", f"ipc://{tmp_path}/out"


def batch(*bodies):
    return msgpack.packb(list(bodies))


def pull_all(puller, count, timeout_ms=30_000):
    """So many bodies, and the names of the queues they came from."""
    bodies: list[object] = []
    names = set()
    while len(bodies) < count:
        assert puller.poll(timeout_ms), f"only {len(bodies)} of {count} came"
        name, frame = puller.recv_multipart()
        names.add(name)
        bodies += msgpack.unpackb(frame)
    return bodies, names


def test_bodies_pushed_in_run_in_a_batch_worker(start_broker, workers, record, lanes):
    broker = start_broker("--ingest", lanes[0])
    workers(broker, "batches.py", 1)
    with bare(zmq.PUSH, lanes[0]) as pusher:
        for first in range(0, 1_000, 10):
            pusher.send_multipart([b"events", batch(*({"id": first + i} for i in range(10)))])
        record.wait_for(range(1_000))
    assert Counter(record.ids()) == Counter(range(1_000))
    state = broker.wait_idle()
    assert state["counters"]["ingested"] == 1_000
    assert state["counters"]["done"] == 1_000


def test_bodies_sent_are_pulled(start_broker, produce, lanes):
    broker = start_broker("--egress", f"out={lanes[1]}")
    with bare(zmq.PULL, lanes[1]) as puller:
        producer = produce(broker)
        producer.send_many("out", ({"id": i} for i in range(5_000)))
        producer.flush()
        bodies, names = pull_all(puller, 5_000)
    assert bodies == [{"id": i} for i in range(5_000)]
    assert names == {b"out"}
    assert broker.count("egressed") == 5_000


def test_through_and_through(start_broker, lanes):
    broker = start_broker("--ingest", lanes[0], "--egress", f"through={lanes[1]}")
    with bare(zmq.PUSH, lanes[0], SNDHWM=0) as pusher, bare(zmq.PULL, lanes[1]) as puller:
        for i in range(3_000):
            pusher.send_multipart([b"through", batch(i)])
        bodies, _ = pull_all(puller, 3_000)
    assert bodies == list(range(3_000))
    assert broker.wait_idle()["counters"]["ingested"] == 3_000


def test_a_full_queue_holds_its_pushers_back_and_loses_nothing(start_broker, workers, record):
    url = f"tcp://127.0.0.1:{free_port()}"
    broker = start_broker("--ingest", url, "--queue-tasks", "500")
    total = 60
    padding = "x" * 200_000
    with bare(zmq.PUSH, url, SNDHWM=1, SNDBUF=65_536) as pusher:

        def push(first, has_room):
            """From this batch on while there is room. Returns how many were pushed in all."""
            for number in range(first, total):
                if not has_room():
                    return number
                bodies = [{"id": number * 50 + i, "padding": padding * (not i)} for i in range(50)]
                pusher.send_multipart([b"events", batch(*bodies)])
            return total

        def has_room():
            """Whether there is any before the queue is full, and no more comes for a second."""
            while not (room := pusher.poll(1_000, zmq.POLLOUT)):
                if broker.queue("events")["ready"] >= 500:
                    break
            return room

        pushed = push(0, has_room)
        assert 10 <= pushed < total, "it was held back"
        assert 500 <= broker.queue("events")["ready"] <= 600
        workers(broker, "batches.py", 1)
        assert push(pushed, lambda: pusher.poll(30_000, zmq.POLLOUT)) == total, "it goes on"
        record.wait_for(range(total * 50))
    assert Counter(record.ids()) == Counter(range(total * 50))


def test_a_pusher_that_is_held_back_does_not_make_the_broker_busy(start_broker):
    url = f"tcp://127.0.0.1:{free_port()}"
    broker = start_broker("--ingest", url, "--queue-tasks", "10", quick=False)
    with bare(zmq.PUSH, url, SNDHWM=0) as pusher:
        for i in range(100):
            pusher.send_multipart([b"q", batch(i)])
        wait_until(lambda: broker.queue("q")["ready"] == 10, what="a full queue")
        before = cpu_s(broker.pid)
        with contextlib.suppress(AssertionError):
            wait_until(lambda: False, 1.0)
        assert cpu_s(broker.pid) - before < 0.2


def test_frames_that_make_no_sense_are_counted_and_the_rest_goes_on(start_broker, workers, record):
    url = f"tcp://127.0.0.1:{free_port()}"
    broker = start_broker("--ingest", url)
    workers(broker, "batches.py", 1)
    bad = [
        [b""],
        [b"events"],
        [b"events", b""],
        [b"events", b"\x90"],
        [b"events", b"no array"],
        [b"events", msgpack.packb({"id": 1})],
        [b"events", b"\xdd\xff\xff\xff\xff"],
        [b"no such name", batch(1)],
        [b"\xff\xfe", batch(1)],
        [b"x" * 129, batch(1)],
        [b"events", batch(1), b"more"],
        [b"events", batch(1), *[b""] * 10_000],
        [b""] * 1_000,
    ]
    with bare(zmq.PUSH, url, SNDHWM=0) as pusher:
        for number, frames in enumerate(bad):
            pusher.send_multipart(frames)
            pusher.send_multipart([b"events", batch({"id": number})])
        record.wait_for(range(len(bad)))
        # Of what looks sound from outside and is not, only that reaches no handler.
        sound = msgpack.packb({"id": "a"}) + msgpack.packb({"id": "b"})
        pusher.send_multipart([b"events", b"\x93" + sound + b"\xc1"])
        pusher.send_multipart([b"events", batch({"id": "last"})])
        record.wait_for(["a", "b", "last"])
    counters = broker.wait_idle()["counters"]
    assert counters["garbage"] + counters["refused"] == len(bad)
    assert set(record.ids()) == {*range(len(bad)), "a", "b", "last"}


def test_a_puller_that_comes_late_gets_everything_without_a_nudge(start_broker, produce, lanes):
    """No peer speaks to the broker meanwhile: it must go on by itself."""
    broker = start_broker("--egress", f"out={lanes[1]}")
    total = 20_000
    with zqueue.Producer(broker.url) as producer:
        for first in range(0, total, 4):
            producer.send_many("out", range(first, first + 4))
    with bare(zmq.PULL, lanes[1], RCVHWM=0) as puller:
        bodies, _ = pull_all(puller, total)
    assert bodies == list(range(total))


def test_a_full_egress_queue_holds_back_its_producers(start_broker, produce, tmp_path):
    url = f"ipc://{tmp_path}/out"
    broker = start_broker("--egress", f"out={url}", "--queue-tasks", "100")
    producer = produce(broker)
    accepted = calls_until_full(lambda n: producer.send("out", [n, "x" * 4_000], timeout=0))
    with bare(zmq.PULL, url) as puller:
        bodies, _ = pull_all(puller, accepted)
        producer.flush()
    assert sorted(body[0] for body in bodies) == list(range(accepted))
    assert rss_bytes(broker.pid) < 200 << 20


def test_a_draining_broker_stops_reading_the_plain_lane(start_broker, workers, record, tmp_path):
    url = f"ipc://{tmp_path}/in"
    broker = start_broker("--ingest", url)
    workers(broker, "jobs.py", 1)
    with zqueue.Producer(broker.url) as producer:
        producer.send("default", ["long"], task="run_slowly")
    wait_until(record.lines, what="the beginning of a task")
    with bare(zmq.PUSH, url) as pusher:
        pusher.send_multipart([b"nobody-serves-it", batch(0)])
        wait_until(lambda: broker.count("ingested") == 1, what="the first body")
    workers(broker, "jobs.py", 1, "-Q", "nobody-serves-it")  # It fails the bodies.
    broker.process.send(signal.SIGTERM)
    wait_until(lambda: broker.info()["draining"], what="the drain")
    with bare(zmq.PUSH, url) as pusher:
        for i in range(10):
            with contextlib.suppress(zmq.Again):
                pusher.send_multipart([b"somewhere-else", batch(i)], zmq.NOBLOCK)
            pusher.poll(20, zmq.POLLOUT)
        record.open_gate()
        assert broker.process.wait() == 0, "nothing new was taken, so it could end"


def test_a_drain_with_no_puller_says_what_is_lost(start_broker, produce, tmp_path):
    broker = start_broker("--egress", f"out=ipc://{tmp_path}/out", "--drain-timeout", "0.5")
    producer = produce(broker)
    producer.send("out", 1)
    producer.flush()
    broker.process.send(signal.SIGTERM)
    assert broker.process.wait() == 5
    assert "lost" in broker.process.err
