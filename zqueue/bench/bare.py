"""A bare producer and a bare worker: DEALER sockets that speak the protocol and do nothing else.

Bodies are packed beforehand and never unpacked, so what is measured is the broker.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter_ns
from typing import Any

import zmq

from ..errors import ZQueueError
from ..protocol.codec import FRAME_BYTES_MAX, pack
from ..protocol.messages import (
    DONE,
    Confirm,
    Credit,
    Deliver,
    Hello,
    Message,
    Publish,
    Refuse,
    Settle,
    Welcome,
    decode,
    encode,
)

QUEUE = "bare"
CREDIT = 1 << 24
"""So much that the broker never has to cut a batch."""

WINDOW_BATCHES = 256
PATIENCE_MS = 20_000


class Pair:
    """The two peers of one broker, in one thread."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], url: str) -> None:
        self.messages = 0
        """Sent and received by both so far."""
        self._sequence = 0
        self._producer = _dealer(context, url)
        self._worker = _dealer(context, url)
        self._hello(self._producer, "producer", {})
        self._hello(self._worker, "worker", {"queues": [QUEUE]})
        self._say(self._worker, Credit(CREDIT))
        self._poller = zmq.Poller()
        for socket in (self._producer, self._worker):
            self._poller.register(socket, zmq.POLLIN)

    def move(self, batch: bytes, batches: int) -> int:
        """Send a batch so many times, and settle what is delivered, until all is confirmed and
        settled. Returns the number of messages that this took."""
        before = self.messages
        published = settled = confirmed = 0
        while settled < batches or confirmed < batches:
            while published < batches and published - min(settled, confirmed) < WINDOW_BATCHES:
                self._publish(batch)
                published += 1
            if not self._poller.poll(PATIENCE_MS):
                raise ZQueueError("the broker says nothing")
            while (heard := self._hear(self._worker)) is not None:
                settled += self._settle(heard)
            while (heard := self._hear(self._producer)) is not None:
                confirmed += _confirmed(heard)
        return self.messages - before

    def time_deliveries(self, batch: bytes, times: int) -> list[int]:
        """One batch after the other: from its sending to its arrival, nanoseconds."""
        latencies: list[int] = []
        for _ in range(times):
            began = perf_counter_ns()
            self._publish(batch)
            if not self._worker.poll(PATIENCE_MS):
                raise ZQueueError("the broker says nothing")
            heard = self._hear(self._worker)
            latencies.append(perf_counter_ns() - began)
            assert heard is not None
            self._settle(heard)
            confirmed = 0
            while not confirmed:
                heard = self._hear(self._producer, 0)
                confirmed += _confirmed(heard) if heard is not None else 0
        return latencies

    def _publish(self, batch: bytes) -> None:
        self._sequence += 1
        self._say(self._producer, Publish(self._sequence, QUEUE, "noop", 0), batch)

    def _settle(self, message: Message) -> int:
        """Say that a delivery is done. Returns how many batches it had."""
        if not isinstance(message, Deliver):
            return 0
        runs = [[i, 0, batch[2], DONE] for i, batch in enumerate(message.batches)]
        self._say(self._worker, Settle(message.lease, CREDIT, runs))
        return len(runs)

    def _say(self, socket: zmq.Socket[bytes], message: Message, *frames: bytes) -> None:
        self.messages += 1
        socket.send_multipart([encode(message), *frames])

    def _hear(self, socket: zmq.Socket[bytes], flags: int = zmq.NOBLOCK) -> Message | None:
        try:
            header = socket.recv_multipart(flags)[0]
        except zmq.Again:
            return None
        self.messages += 1
        message = decode(header)
        if isinstance(message, Refuse):
            raise ZQueueError(f"the broker refuses: {message.text}")
        return message

    def _hello(self, socket: zmq.Socket[bytes], role: str, about: dict[str, Any]) -> None:
        self._say(socket, Hello(role, os.urandom(16)), pack(about))
        if not isinstance(self._hear(socket, 0), Welcome):
            raise ZQueueError("the broker does not welcome a bare peer")


def _dealer(context: zmq.Context[zmq.Socket[bytes]], url: str) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, FRAME_BYTES_MAX)
    socket.setsockopt(zmq.RCVTIMEO, PATIENCE_MS)
    socket.connect(url)
    return socket


def _confirmed(message: Message) -> int:
    """How many batches a message confirms."""
    if not isinstance(message, Confirm):
        return 0
    firsts, lasts = message.ranges[::2], message.ranges[1::2]
    return sum(last - first + 1 for first, last in zip(firsts, lasts, strict=True))


@contextmanager
def connected(url: str) -> Iterator[Pair]:
    """The two peers, gone afterwards."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        yield Pair(context, url)
    finally:
        context.destroy(0)
