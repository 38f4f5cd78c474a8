"""A dealer: the socket of every peer that talks to a broker.

Its pipe exists only while there is a connection, so a send either reaches the pipe at once or
waits in the outbox here. Not thread-safe: whoever shares a dealer holds a lock around each call
(that is enough for ZeroMQ, which wants a full memory barrier between threads).
"""

from __future__ import annotations

import os
import resource
import threading
from collections import deque

import zmq

from ..auth.files import read_client_key
from ..config import Address
from ..errors import BrokerLost
from .channel import Channel
from .curve import connect
from .sockets import make_socket

_IN = int(zmq.POLLIN)
_OUT = int(zmq.POLLOUT)

DESCRIPTORS_MIN = 16
"""File descriptors that must be left to open a socket: libzmq ends the process (SIGABRT) when it
needs one and there is none. A context and its first socket open 9, and our thread 2."""


class Dealer:
    """A DEALER socket, connected to one broker, that never blocks.

    Raises `BrokerLost` if the process has too few file descriptors left, and `ConfigError` if the
    address names a key file that cannot be used.
    """

    def __init__(self, address: Address, *, frame_bytes_max: int, frames_max: int) -> None:
        key = None if address.key_file is None else read_client_key(address.key_file)
        check_descriptors(address.url)
        try:
            context = _contexts.get()
            socket = make_socket(context, zmq.DEALER, address, frame_bytes_max=frame_bytes_max)
        except zmq.ZMQError as error:
            raise BrokerLost(f"cannot connect to {address.url}: {error.strerror}") from None
        self._channel = Channel(socket, frames_max)
        self._outbox: deque[list[bytes]] = deque()
        if key is None:
            socket.connect(address.url)
        else:
            connect(socket, address.url, key)

    @property
    def socket(self) -> zmq.Socket[bytes]:
        """To poll, in the thread that made the dealer."""
        return self._channel.socket

    @property
    def fd(self) -> int:
        """Becomes readable at a change: see `net.waiting` for what that asks of you."""
        return int(self.socket.getsockopt(zmq.FD))

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection. (Its pipe is never full: windows and credit are less.)"""
        return bool(int(self.socket.getsockopt(zmq.EVENTS)) & _OUT)

    @property
    def wanted(self) -> int:
        """What to poll the socket for."""
        return _IN | _OUT if self._outbox else _IN

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


def check_descriptors(url: str) -> None:
    """Raise `BrokerLost` if libzmq might not get the file descriptors it needs."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        used = len(os.listdir("/proc/self/fd"))
    except FileNotFoundError:
        return  # Not Linux: nobody can tell.
    except OSError:
        used = limit  # There is not even one to look with.
    if limit != resource.RLIM_INFINITY and limit - used < DESCRIPTORS_MIN:
        raise BrokerLost(
            f"cannot connect to {url}: {used} of {limit} file descriptors are in use, and a "
            f"connection needs {DESCRIPTORS_MIN}. Close some, or raise the limit (ulimit -n)"
        )


class _Contexts:
    """ZeroMQ's context, one for all dealers of a process: it runs two threads.

    It lasts as long as the process. A child process makes its own, and never touches that of the
    parent, whose threads it does not have.
    """

    def __init__(self) -> None:
        self._made: list[zmq.Context[zmq.Socket[bytes]]] = []
        self._pid = 0
        self._lock = threading.Lock()

    def get(self) -> zmq.Context[zmq.Socket[bytes]]:
        """That of this process."""
        with self._lock:
            if self._pid != os.getpid():
                self._made.append(zmq.Context())
                self._pid = os.getpid()
            return self._made[-1]

    def forked(self) -> None:
        """In a child process: another thread of the parent may have held the lock."""
        self._lock = threading.Lock()


_contexts = _Contexts()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_contexts.forked)
