"""A dealer: the socket of every peer that talks to a broker.

Its pipe exists only while there is a connection, so a send either reaches the pipe at once or
waits in the outbox here. Not thread-safe: whoever shares a dealer holds a lock around each call
(that is enough for ZeroMQ, which wants a full memory barrier between threads).
"""

from __future__ import annotations

from collections import deque

import zmq

from ..config import Address
from .channel import Channel
from .sockets import make_socket

_IN = int(zmq.POLLIN)
_IN_OR_OUT = int(zmq.POLLIN | zmq.POLLOUT)


class Dealer:
    """A DEALER socket, connected to one broker, that never blocks."""

    def __init__(self, address: Address, *, frame_bytes_max: int, frames_max: int) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        socket = make_socket(self._context, zmq.DEALER, address, frame_bytes_max=frame_bytes_max)
        self._channel = Channel(socket, frames_max)
        self._outbox: deque[list[bytes]] = deque()
        socket.connect(address.url)

    @property
    def socket(self) -> zmq.Socket[bytes]:
        """To poll, in the thread that made the dealer."""
        return self._channel.socket

    @property
    def fd(self) -> int:
        """Becomes readable at a change: see `net.waiting` for what that asks of you."""
        return int(self.socket.getsockopt(zmq.FD))

    @property
    def wanted(self) -> int:
        """What to poll the socket for."""
        return _IN_OR_OUT if self._outbox else _IN

    def send(self, messages: list[list[bytes]], *, afresh: bool = False) -> None:
        """Send messages, in order, after what waits in the outbox, or (``afresh``) instead."""
        if afresh and messages:
            self._outbox.clear()
        if self._outbox:
            self._outbox.extend(messages)
            messages = []
        send = self._channel.send
        for i, frames in enumerate(messages):
            if not send(frames):
                self._outbox.extend(messages[i:])
                return

    def flush(self) -> None:
        """Send what waits in the outbox, as far as there is room."""
        while self._outbox and self._channel.send(self._outbox[0]):
            self._outbox.popleft()

    def receive(self) -> list[bytes] | None:
        """The next message, or None."""
        return self._channel.receive()

    def close(self) -> None:
        """Close the socket. What was not sent is dropped."""
        self._channel.close()
        self._context.term()
