"""Waiting until one of several sockets or descriptors has something to say.

ZeroMQ's own poll asks the kernel four times for every wait, and pyzmq wraps it once more; a plain
poll on the sockets' descriptors asks once. The price is a rule: such a descriptor tells of a
*change* (it is edge-triggered). So before waiting, go on using a socket until it has nothing more
to give and you have nothing more to say; whatever happens after that wakes you.
"""

from __future__ import annotations

import select
from time import monotonic

import zmq


class Waiter:
    """Waits for changes of ZeroMQ sockets, and for input at other descriptors."""

    def __init__(self, *descriptors: int) -> None:
        self._poll = select.poll()
        self._poll_descriptors = select.poll()
        self._descriptors = descriptors
        for descriptor in descriptors:
            self._poll.register(descriptor, select.POLLIN)
            self._poll_descriptors.register(descriptor, select.POLLIN)

    def add(self, socket: zmq.Socket[bytes]) -> None:
        """Wait for this socket, too."""
        self._poll.register(int(socket.get(zmq.FD)), select.POLLIN)

    def remove(self, socket: zmq.Socket[bytes]) -> None:
        """Wait for this socket no more."""
        self._poll.unregister(int(socket.get(zmq.FD)))

    def watch(self, descriptor: int) -> None:
        """Wait for input at this descriptor, too. It does not end `gather`, nor is it told of."""
        self._poll.register(descriptor, select.POLLIN)

    def wait(self, until: float | None) -> bool:
        """Return when something changed, or at an instant of the monotonic clock.

        Says whether there is input at one of the descriptors.
        """
        left_ms = None if until is None else max(0.0, (until - monotonic()) * 1000 + 1)
        for descriptor, _ in self._poll.poll(left_ms):  # noqa: SIM110 - faster, and waited for
            if descriptor in self._descriptors:
                return True
        return False

    def gather(self, timeout_s: float) -> bool:
        """Let messages gather at the sockets for so many seconds.

        Says whether there is input at one of the descriptors, which ends it at once.
        """
        return bool(self._poll_descriptors.poll(timeout_s * 1000))
