"""Peers that send garbage: each is refused and counted, and the others do not notice."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
import time

import msgpack
import pytest
import zmq

from tests.system.harness import (
    CONFIRM,
    DEADLINE_S,
    HELLO,
    PUBLISH,
    REFUSE,
    WELCOME,
    BarePeer,
    bare,
    cpu_s,
    header,
    receive,
    rss_bytes,
    wait_until,
)

pytestmark = pytest.mark.system

RSS_GROWTH_MAX = 96 << 20
"""What hostile peers may make a broker hold, bytes. A frame may have 16 MiB."""


class Pair:
    """A producer and a worker that go on with their work, and say how well."""

    def __init__(self, broker, producer):
        self._broker = broker
        self._producer = producer
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self.done = 0
        self.slowest_s = 0.0
        self.error: BaseException | None = None

    def _work(self):
        try:
            while not self._stop.is_set():
                began = time.monotonic()
                assert self._producer.submit("default", [1, 2], task="add").result(DEADLINE_S) == 3
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
                self.done += 1
                self._stop.wait(0.002)
        except BaseException as error:
            self.error = error

    def __enter__(self):
        self._thread.start()
        wait_until(lambda: self.done > 5, what="a pair at work")
        return self

    def __exit__(self, *_):
        done = self.done
        try:
            wait_until(lambda: self.done > done + 5 or self.error, what="more work done")
        finally:
            self._stop.set()
            self._thread.join(DEADLINE_S)
        assert self.error is None, repr(self.error)


@pytest.fixture
def attacked(start_broker, workers, produce):
    """A broker at a TCP port, and a pair that must not notice; both are looked at in the end."""
    broker = start_broker("--peers", "100", url="tcp", quick=False)
    workers(broker, "jobs.py", 1)
    (honest,) = broker.info()["workers"]
    with Pair(broker, produce(broker)) as pair:
        before = rss_bytes(broker.pid)
        broker.pair = pair
        yield broker
        assert broker.process.is_running(), broker.process.err
    assert honest["id"] in [worker["id"] for worker in broker.info()["workers"]]
    assert rss_bytes(broker.pid) - before < RSS_GROWTH_MAX
    assert pair.slowest_s < DEADLINE_S


def address(broker):
    host, _, port = broker.url.removeprefix("tcp://").rpartition(":")
    return host, int(port)


def counted(broker, name, at_least):
    wait_until(lambda: broker.count(name) >= at_least, what=f"{at_least} counted as {name}")


# --- below ZeroMQ ---


def test_random_bytes_on_the_port(attacked):
    chance = random.Random(1)
    for _ in range(100):
        with socket.create_connection(address(attacked)) as raw, contextlib.suppress(OSError):
            raw.sendall(chance.randbytes(chance.randrange(1, 2_000)))


GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x04\x29\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER\x08Identity\x00\x00\x00\x00"


FRAGMENTS = {
    "silence": b"",
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "greeting": GREETING,
    "half a greeting": GREETING[:20],
    "mechanism": GREETING.replace(b"NULL", b"PLAI"),
    "half a command": GREETING + b"\x04\xff",
    "ready": GREETING + READY,
    "4 GiB": GREETING + READY + b"\x02" + (4 << 30).to_bytes(8, "big") + b"x" * 10_000,
    "flags": GREETING + READY + b"\xff\xff\xff",
    "4 GiB command": GREETING + b"\x06" + (4 << 30).to_bytes(8, "big") + b"x" * 10_000,
    "half a message": GREETING + READY + b"\x01\x03abc",
}


def shake_hands(raw, data):
    """Send the beginning of a connection. What comes before the other end has greeted is lost."""
    raw.sendall(data[: len(GREETING)])
    if data.startswith(GREETING):
        left = len(GREETING)
        while left and (part := raw.recv(left)):
            left -= len(part)
        raw.sendall(data[len(GREETING) :])


def test_handshakes_that_go_wrong(attacked):
    with socket.create_connection(address(attacked)) as raw:
        shake_hands(raw, GREETING + READY + b"\x00\x01x")
        counted(attacked, "garbage", 1)  # Else the others would not get so far, either.
    with contextlib.ExitStack() as stack:
        for data in FRAGMENTS.values():
            for _ in range(10):
                raw = stack.enter_context(socket.create_connection(address(attacked)))
                raw.settimeout(5)
                shake_hands(raw, data)
        done = attacked.pair.done
        wait_until(lambda: attacked.pair.done > done + 50, what="work meanwhile")


def test_many_connections_that_stay_and_that_come_and_go(attacked):
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(socket.create_connection(address(attacked), timeout=5))
        for _ in range(1_000):
            socket.create_connection(address(attacked), timeout=5).close()
        done = attacked.pair.done
        wait_until(lambda: attacked.pair.done > done + 20, what="work meanwhile")


# --- messages that are none ---


def test_random_frames(attacked):
    chance = random.Random(2)
    with bare(zmq.DEALER, attacked.url) as dealer:
        for _ in range(2_000):
            count = chance.choice([1, 1, 2, 3, 10])
            dealer.send_multipart([chance.randbytes(chance.randrange(60)) for _ in range(count)])
        counted(attacked, "garbage", 1_900)
        answer = receive(dealer)
        assert answer is not None
        assert msgpack.unpackb(answer[0])[1] == REFUSE


def test_a_known_producer_that_sends_garbage(attacked):
    chance = random.Random(3)
    with bare(zmq.DEALER, attacked.url) as dealer:
        peer = BarePeer(dealer)
        batches = [b"", b"\x90", b"\xc0", b"\x92\x01", b"\xdd\xff\xff\xff\xff", b"\xdc\x10\x01" * 9]
        batches += [chance.randbytes(50) for _ in range(200)]
        for batch in batches:
            peer.publish("garbage", batch)
        peer.publish("no such name!", b"\x91\x01")
        peer.publish("", b"\x91\x01")
        peer.publish("x" * 200, b"\x91\x01")
        for kind in (20, 21, 22, 23, 32, WELCOME, CONFIRM, 12, 31, 99):
            dealer.send(header(kind, 1, 1, 1, 1, 1))
        dealer.send_multipart([header(PUBLISH, 5_000, "q", "", 0)])
        dealer.send_multipart([header(PUBLISH, 5_001, "q", "", 0), b"\x91\x01", b"\x91\x01"])
        dealer.send_multipart([header(PUBLISH, 0, "q", "", 0), b"\x91\x01"])
        dealer.send_multipart([header(PUBLISH, (1 << 63) - 1, "q", "", 0), b"\x91\x01"])
        peer.publish("sound", b"\x91\x01")
        wait_until(lambda: attacked.queue("sound")["ready"] == 1, what="the one that was sound")


def test_malformed_bodies_reach_no_handler_and_stop_nobody(attacked):
    """Batches whose header is sound and whose bodies are not; the broker does not look inside."""
    before = attacked.count("dead")
    with bare(zmq.DEALER, attacked.url) as dealer:
        peer = BarePeer(dealer)
        for batch in (
            b"\x93\x01\x02\xc1",
            b"\x93\xd9\xff\xff",
            b"\x92\xdd\xff\xff\xff\xff",
            b"\x91" * 2_000,
            b"\x92\x90\x90\x90",
            b"\x93\x01\x02\x03",
        ):
            peer.publish("default", batch, "add")
        counted(attacked, "dead", before + 6)


def test_a_worker_that_lies(attacked):
    """It takes part under a queue of its own, and settles what it does not hold."""
    with bare(zmq.DEALER, attacked.url) as dealer:
        about = {"queues": ["liars"], "tasks": {"lie": "liars"}, "supervisor": 5}
        dealer.send_multipart([header(HELLO, "worker", b"w" * 16), msgpack.packb(about)])
        answer = receive(dealer)
        assert answer is not None
        dealer.send(header(20, 1 << 62))
        stale = attacked.count("stale")
        for lease in (0, 1, 1 << 62):
            dealer.send(header(22, lease, 5, [[0, 0, 1, 0]]))
        dealer.send_multipart([header(32), msgpack.packb({"gc": {"count": "many"}, "done": []})])
        counted(attacked, "stale", stale + 3)
        with bare_producer(attacked) as peer:
            for _ in range(5):
                peer.publish("liars", msgpack.packb([1, 2, 3]))
            wait_until(lambda: attacked.queue("liars")["leased"] == 5, what="its leases")
            lease = next_delivery(dealer)
            dealer.send(header(22, lease, 5, [[0, 0, 9, 0]]))
            dealer.send(header(22, lease, 5, [[9, 0, 1, 0]]))
            dealer.send(header(22, lease, 5, [[0, 2, 2, 0]]))
            dealer.send(header(22, lease, 5, [[0, 0, 1, 0], [0, 0, 1, 0]]))
            counted(attacked, "stale", stale + 4)
        # Now what is no message at all; whether it may stay after that is the broker's to say.
        dealer.send(header(22, lease, 5, [[0, 0, 1, 77]]))
        dealer.send_multipart([header(32), b"\xc1"])
        dealer.send_multipart([header(22, lease, 5, [[0, 0, 1, 1]]), *[b""] * 150])
        dealer.send(header(5))
        wait_until(lambda: attacked.queue("liars")["leased"] == 0, what="its leaving")
    assert attacked.queue("liars")["ready"] >= 12, "most of it was never settled"


@contextlib.contextmanager
def bare_producer(broker):
    """A bare producer."""
    with bare(zmq.DEALER, broker.url) as dealer:
        yield BarePeer(dealer)


def next_delivery(dealer):
    """The lease of the next delivery."""
    while (message := receive(dealer)) is not None:
        head = msgpack.unpackb(message[0])
        if head[1] == 21:
            return head[2]
    raise AssertionError("no delivery")


# --- too much of it ---


def test_a_million_empty_frames_in_one_message(attacked):
    with bare(zmq.DEALER, attacked.url, SNDHWM=0) as dealer:
        before = cpu_s(attacked.pid)
        for _ in range(999_999):
            dealer.send(b"", zmq.SNDMORE)
        dealer.send(b"")
        counted(attacked, "garbage", 1)
        assert cpu_s(attacked.pid) - before < 10
        answer = receive(dealer)
        assert answer is not None, "it is told"


def test_a_frame_over_the_limit(attacked):
    with bare(zmq.DEALER, attacked.url) as dealer:
        BarePeer(dealer)
        dealer.send_multipart([header(PUBLISH, 1, "q", "", 0), bytes((16 << 20) + 1)])
        done = attacked.pair.done
        wait_until(lambda: attacked.pair.done > done + 20, what="work meanwhile")
    assert "q" not in attacked.info()["queues"]


def test_more_peers_than_there_may_be(attacked):
    with contextlib.ExitStack() as stack:
        answers = []
        for _ in range(120):
            dealer = stack.enter_context(bare(zmq.DEALER, attacked.url))
            dealer.send_multipart([header(HELLO, "observer", os.urandom(16)), msgpack.packb({})])
            answer = receive(dealer)
            assert answer is not None
            answers.append(msgpack.unpackb(answer[0])[1:3])
        refused = [code for kind, code in answers if kind == REFUSE]
        assert set(refused) == {"too-many-peers"}
        assert 20 <= len(refused) <= 30
        done = attacked.pair.done
        wait_until(lambda: attacked.pair.done > done + 20, what="work meanwhile")
    # The refused and the gone make room again.
    wait_until(lambda: _is_welcome(attacked), what="room for another")


def _is_welcome(broker):
    with bare(zmq.DEALER, broker.url) as dealer:
        dealer.send_multipart([header(HELLO, "observer", os.urandom(16)), msgpack.packb({})])
        answer = receive(dealer)
        assert answer is not None
        return msgpack.unpackb(answer[0])[1] == WELCOME


def test_a_peer_that_asks_and_never_reads(attacked):
    """Each small question has a long answer; nobody takes them."""
    with bare(zmq.DEALER, attacked.url, SNDHWM=0, RCVHWM=1) as dealer:
        before = rss_bytes(attacked.pid)
        for _ in range(3_000):
            dealer.send(header(30, "info"))
        highest = before
        done = attacked.pair.done

        def goes_on():
            nonlocal highest
            highest = max(highest, rss_bytes(attacked.pid))
            return attacked.pair.done >= done + 300

        wait_until(goes_on, what="work meanwhile")
        assert highest - before < RSS_GROWTH_MAX


def test_a_peer_that_sends_garbage_and_never_reads(attacked):
    with bare(zmq.DEALER, attacked.url, SNDHWM=0, RCVHWM=1) as dealer:
        before = rss_bytes(attacked.pid)
        total = 150_000
        for _ in range(total):
            dealer.send(b"garbage")
        highest = before

        def is_through():
            nonlocal highest
            highest = max(highest, rss_bytes(attacked.pid))
            return attacked.count("garbage") >= total

        wait_until(is_through, 40, every=0.2, what="the end of the flood")
        assert highest - before < RSS_GROWTH_MAX
