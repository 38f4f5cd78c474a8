"""Channels: whole messages, in and out, without waiting; and the same as pyzmq's own calls do."""

from __future__ import annotations

import os
import random
import resource
from collections.abc import Iterator
from time import monotonic

import pytest
import zmq

from zqueue.net.channel import DIRECT, Channel
from zqueue.wire.codec import COMPILED

PATIENCE_S = 20.0
URL = "inproc://here"
FRAMES_MAX = 4

SIZES = [0, 1, 28, 29, 30, 31, 32, 33, 34, 255, 256, 4096, 65_535, 200_000]
"""ZeroMQ keeps up to 33 bytes in the message itself, and announces 256 and more otherwise."""

Socket = zmq.Socket[bytes]


class Sockets:
    """What a test makes, closed in the end."""

    def __init__(self) -> None:
        self._context: zmq.Context[Socket] = zmq.Context()
        self._made: list[Channel] = []

    def make(self, kind: int) -> Channel:
        self._made.append(Channel(self._context.socket(kind), FRAMES_MAX))
        return self._made[-1]

    def link(self, bound: int, connected: int) -> tuple[Channel, Channel]:
        one, other = self.make(bound), self.make(connected)
        one.socket.bind(URL)
        other.socket.connect(URL)
        return one, other

    def close(self) -> None:
        for channel in self._made:
            channel.close()
        self._context.term()


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    sockets = Sockets()
    yield sockets
    sockets.close()


@pytest.fixture
def pair(sockets: Sockets) -> tuple[Channel, Channel]:
    return sockets.link(zmq.PAIR, zmq.PAIR)


def next_of(channel: Channel) -> list[bytes]:
    deadline = monotonic() + PATIENCE_S
    while (frames := channel.receive()) is None:
        assert monotonic() < deadline, "nothing came"
        channel.socket.poll(100)
    return frames


def test_calls_the_library_directly_where_it_is_compiled() -> None:
    assert DIRECT is COMPILED


@pytest.mark.parametrize("size", SIZES)
def test_frames_of_any_size_arrive_as_they_are(pair: tuple[Channel, Channel], size: int) -> None:
    one, other = pair
    frames = [b"head", os.urandom(size), b"", os.urandom(size)]
    assert other.send(frames)
    assert next_of(one) == frames
    assert one.receive() is None


@pytest.mark.parametrize("count", range(1, FRAMES_MAX + 1))
def test_messages_keep_their_borders_and_order(pair: tuple[Channel, Channel], count: int) -> None:
    one, other = pair
    messages = [[b"%d/%d" % (i, j) for j in range(count)] for i in range(50)]
    assert all(map(other.send, messages))
    assert [next_of(one) for _ in messages] == messages


def test_pyzmq_reads_what_it_sends_and_the_other_way_round(pair: tuple[Channel, Channel]) -> None:
    one, other = pair
    chance = random.Random(1)
    for _ in range(200):
        frames = [chance.randbytes(chance.choice(SIZES[:10])) for _ in range(chance.randint(1, 4))]
        assert other.send(frames)
        assert one.socket.poll(int(PATIENCE_S * 1000))
        assert one.socket.recv_multipart() == frames
        one.socket.send_multipart(frames)
        assert next_of(other) == frames


def test_nothing_is_none_at_once(pair: tuple[Channel, Channel]) -> None:
    for channel in pair:
        began = monotonic()
        assert channel.receive() is None
        assert monotonic() - began < PATIENCE_S / 4


@pytest.mark.parametrize("count", [FRAMES_MAX + 1, FRAMES_MAX + 2, 300])
def test_too_many_frames_are_cut_to_one_too_many(pair: tuple[Channel, Channel], count: int) -> None:
    one, other = pair
    frames = [b"%d" % i for i in range(count)]
    assert other.send(frames)
    assert other.send([b"next"])
    assert next_of(one) == frames[: FRAMES_MAX + 1]
    assert next_of(one) == [b"next"]


def test_full_is_an_answer_and_nothing_of_the_message_is_sent(sockets: Sockets) -> None:
    pull, push = sockets.make(zmq.PULL), sockets.make(zmq.PUSH)
    for channel in (pull, push):
        channel.socket.set_hwm(5)
    pull.socket.bind(URL)
    push.socket.connect(URL)
    sent = 0
    while push.send([b"%d" % sent, b"body"]):
        sent += 1
        assert sent <= 10
    assert not push.send([b"no", b"room"])
    assert [next_of(pull) for _ in range(sent)] == [[b"%d" % i, b"body"] for i in range(sent)]
    assert pull.receive() is None
    deadline = monotonic() + PATIENCE_S
    while not push.send([b"again"]):
        assert monotonic() < deadline, "there is room by now"
    assert next_of(pull) == [b"again"]


def test_nobody_there_is_no_room(sockets: Sockets) -> None:
    dealer = sockets.make(zmq.DEALER)
    dealer.socket.setsockopt(zmq.IMMEDIATE, 1)
    dealer.socket.connect("tcp://127.0.0.1:9")
    assert not dealer.send([b"hello", b"there"])


class TestRouter:
    def test_a_peer_has_a_name_and_is_answered_by_it(self, sockets: Sockets) -> None:
        router, dealer = sockets.link(zmq.ROUTER, zmq.DEALER)
        assert dealer.send([b"hello", b"there"])
        peer, *frames = next_of(router)
        assert frames == [b"hello", b"there"]
        assert router.send([peer, b"and", b"back"])
        assert next_of(dealer) == [b"and", b"back"]

    def test_a_peer_that_is_not_there_is_told(self, sockets: Sockets) -> None:
        router, dealer = sockets.link(zmq.ROUTER, zmq.DEALER)
        router.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        for _ in range(3):
            with pytest.raises(zmq.ZMQError) as caught:
                router.send([b"nobody", b"hello", b"there"])
            assert caught.value.errno == zmq.EHOSTUNREACH
        assert dealer.send([b"hello"])
        peer, _ = next_of(router)
        assert router.send([peer, b"fine"])
        assert next_of(dealer) == [b"fine"]


class TestClosed:
    def test_cannot_be_used(self, pair: tuple[Channel, Channel]) -> None:
        one, other = pair
        other.close()
        other.close()
        assert other.socket.closed
        for use in (other.receive, lambda: other.send([b"late"])):
            with pytest.raises(zmq.ZMQError) as caught:
                use()
            assert caught.value.errno == zmq.ENOTSOCK
        assert one.receive() is None

    def test_what_was_sent_before_may_still_leave(self, sockets: Sockets) -> None:
        pull, push = sockets.make(zmq.PULL), sockets.make(zmq.PUSH)
        port = pull.socket.bind_to_random_port("tcp://127.0.0.1")
        push.socket.connect(f"tcp://127.0.0.1:{port}")
        deadline = monotonic() + PATIENCE_S
        while not push.send([b"last words"]):
            assert monotonic() < deadline
        push.close(int(PATIENCE_S * 1000))
        assert next_of(pull) == [b"last words"]


def test_no_memory_is_kept(pair: tuple[Channel, Channel]) -> None:
    one, other = pair
    frames = [b"head", bytes(1 << 20)]

    def exchange(times: int) -> int:
        for _ in range(times):
            assert other.send(frames)
            assert next_of(one) == frames
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = exchange(20)
    assert exchange(300) - before < 50 << 10, "KiB; all that was sent is 300 MiB"


def test_unread_messages_are_let_go(sockets: Sockets) -> None:
    one, other = sockets.link(zmq.PAIR, zmq.PAIR)
    for _ in range(100):
        assert other.send([b"head", bytes(50_000)])
    one.close()
    other.close()
