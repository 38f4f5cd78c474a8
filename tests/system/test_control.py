"""Pausing, draining and resuming queues: at once, under load, by anybody, and nothing is lost."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections import Counter, deque

import msgpack
import pytest
import zmq

import zqueue
from tests.system.harness import DEADLINE_S, bare, header, receive, wait_until
from zqueue.client.ask import Asker, control
from zqueue.errors import Refused

pytestmark = pytest.mark.system

CONTROL = 33


@pytest.fixture
def say(broker):
    """``say("pause", queue)``: control a queue; whether it is paused, and whether it drains."""

    def said(action, queue="default"):
        told = control(broker.url, action, queue, timeout=10)
        assert told.pop("queue") == queue
        return told["paused"], told["draining"]

    return said


class Load:
    """Sends tasks without end from a thread of its own, and knows what it sent."""

    def __init__(self, producer, queue="default"):
        self._producer = producer
        self._queue = queue
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self.sent = 0
        self.error: BaseException | None = None

    def _send(self):
        try:
            while not self._stop.is_set():
                self._producer.send(self._queue, [self.sent], task="run", timeout=30)
                self.sent += 1
                self._stop.wait(0.0005)
        except BaseException as error:
            self.error = error

    def __enter__(self):
        self._thread.start()
        wait_until(lambda: self.sent > 50, what="some tasks sent")
        return self

    def __exit__(self, *_):
        self.stop()
        assert self.error is None, repr(self.error)

    def stop(self):
        self._stop.set()
        self._thread.join(40)
        assert not self._thread.is_alive()


def everything(load, broker, record):
    """What ran, once all that was sent has run."""
    load._producer.flush(DEADLINE_S)
    broker.wait_idle()
    ran = Counter(record.ids())
    assert set(ran) == set(range(load.sent)), "nothing lost, nothing made up"
    return ran


# --- under load ---


def test_a_paused_queue_hands_nothing_out_and_loses_nothing(broker, workers, produce, record, say):
    workers(broker, "jobs.py", 2)
    with Load(produce(broker)) as load:
        wait_until(lambda: len(record.lines()) > 100, what="some tasks done")
        for _ in range(3):
            assert say("pause") == (True, False)
            wait_until(lambda: not broker.queue("default")["leased"], what="the last ones done")
            before, delivered = broker.queue("default")["ready"], broker.count("delivered")
            wait_until(lambda: broker.queue("default")["ready"] > before + 50, what="more ready")  # noqa: B023
            assert broker.queue("default")["paused"] is True
            assert broker.queue("default")["leased"] == 0
            assert broker.count("delivered") == delivered
            assert say("resume") == (False, False)
            wait_until(lambda: broker.count("delivered") > delivered, what="deliveries")  # noqa: B023
        load.stop()
        assert set(everything(load, broker, record).values()) == {1}


def test_a_draining_queue_takes_nothing_and_loses_nothing(broker, workers, produce, record, say):
    workers(broker, "jobs.py", 2)
    with Load(produce(broker)) as load:
        for _ in range(3):
            assert say("drain") == (False, True)
            published = broker.count("published")
            broker.wait_idle()
            postponed = broker.count("postponed")
            wait_until(lambda: broker.count("postponed") > postponed, what="refusals")  # noqa: B023
            assert broker.count("published") == published == len(record.lines())
            assert broker.queue("default")["draining"] is True
            assert say("resume") == (False, False)
            wait_until(lambda: broker.count("published") > published, what="batches taken")  # noqa: B023
        load.stop()
        assert set(everything(load, broker, record).values()) == {1}


def test_what_drains_is_full_for_who_will_not_wait(broker, workers, produce, record, say):
    """A producer's own bounds hold: it keeps what was not taken, and then it says so."""
    workers(broker, "jobs.py", 1)
    producer = produce(broker)
    producer.send("default", ["first"], task="run")
    record.wait_for(["first"])
    say("drain")
    producer.send("default", ["second"], task="run")
    with pytest.raises(zqueue.ZQueueError):
        producer.flush(timeout=0.3)
    assert record.ids() == ["first"]
    say("resume")
    producer.flush(DEADLINE_S)
    record.wait_for(["second"])


def test_other_queues_do_not_notice(broker, workers, produce, record, say):
    workers(broker, "jobs.py", 1)
    producer = produce(broker)
    assert producer.submit("other", ["a"], task="run_elsewhere").result(DEADLINE_S) == "a"
    say("pause", "default")
    say("drain", "default")
    producer.send("default", ["stuck"], task="run")
    assert producer.submit("other", ["b"], task="run_elsewhere").result(DEADLINE_S) == "b"
    assert record.ids() == ["a", "b"]
    say("resume", "default")
    record.wait_for(["stuck"])


def test_a_broker_that_stops_waits_for_a_paused_queue(start_broker, produce):
    """Up to its time: nobody resumes the queue for it."""
    broker = start_broker("--drain-timeout", "0.5")
    producer = produce(broker)
    producer.send("default", ["x"], task="run")
    producer.flush()
    control(broker.url, "pause", "default", timeout=10)
    broker.process.send(signal.SIGTERM)
    assert broker.process.wait() != 0, "a task was left"


# --- the plain lane ---


def test_a_paused_queue_gives_nothing_to_the_plain_lane(start_broker, produce, tmp_path):
    egress = f"ipc://{tmp_path}/out"
    broker = start_broker("--egress", f"out={egress}")
    producer = produce(broker)
    assert control(broker.url, "pause", "out")["paused"] is True
    producer.send_many("out", range(5))
    producer.flush()
    with bare(zmq.PULL, egress) as pull:
        assert receive(pull, 0.5) is None
        assert broker.queue("out")["ready"] == 5
        control(broker.url, "resume", "out")
        bodies: list[int] = []
        while len(bodies) < 5:
            name, batch = receive(pull)
            assert name == b"out"
            bodies += msgpack.unpackb(batch)
    assert bodies == list(range(5))


def test_the_plain_lane_waits_for_a_draining_queue(start_broker, workers, record, tmp_path):
    ingest = f"ipc://{tmp_path}/in"
    broker = start_broker("--ingest", ingest)
    workers(broker, "jobs.py", 1, "-Q", "other")
    with bare(zmq.PUSH, ingest, SNDHWM=1) as push:
        push.send_multipart([b"other", msgpack.packb(["a"])])
        record.wait_for(["a"])
        control(broker.url, "drain", "other")
        for mark in ("b", "c"):
            push.send_multipart([b"other", msgpack.packb([mark])])
        more = [b"other", msgpack.packb(["more"])]
        with pytest.raises(zmq.Again):  # It is not read: pipes fill up.
            deque(push.send_multipart(more, zmq.NOBLOCK) for _ in range(1000))
        assert broker.queue("other")["ready"] == 0
        assert record.ids() == ["a"]
        control(broker.url, "resume", "other")
        record.wait_for(["a", "b", "c"])


# --- who may, and what they hear ---


def test_an_asker_asks_and_controls_over_one_connection(broker, workers):
    workers(broker, "jobs.py", 1)
    with Asker(broker.url) as asker:
        for _ in range(3):
            assert asker.control("pause", "default")["paused"] is True
            assert asker.ask()["queues"]["default"]["paused"] is True
            assert asker.control("resume", "default")["paused"] is False
        with pytest.raises(Refused, match="there is no queue 'nowhere'") as caught:
            asker.control("pause", "nowhere")
        assert caught.value.code == "unknown-queue"
        assert asker.ask()["queues"]["default"]["paused"] is False


def test_a_flood_of_it_delays_nobody(broker, workers, produce):
    workers(broker, "jobs.py", 1)
    producer = produce(broker)
    stop = threading.Event()

    def flood():
        with bare(zmq.DEALER, broker.url, SNDHWM=100) as dealer:
            while not stop.is_set():
                for action in ("pause", "resume", "drain", "resume", "nonsense"):
                    with contextlib.suppress(zmq.Again):
                        dealer.send(header(CONTROL, action, "default"), zmq.NOBLOCK)
                while dealer.poll(0):
                    dealer.recv_multipart()

    flooding = threading.Thread(target=flood)
    flooding.start()
    try:
        for i in range(50):
            assert producer.submit("default", [i], task="add").result(DEADLINE_S) == i
    finally:
        stop.set()
        flooding.join()
    control(broker.url, "resume", "default", timeout=10)
    assert producer.submit("default", [1, 1], task="add").result(DEADLINE_S) == 2
