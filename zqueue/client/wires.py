"""The wires of an exchange: a socket for each connection, and a way to wake who waits for them.

Not thread-safe but for `wait` and `wake`: the exchange holds its lock.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket as stdlib_socket
from collections.abc import Iterable
from time import monotonic

from ..config import Address
from ..errors import BrokerLost, ZQueueError
from ..net.dealer import Dealer
from ..seconds import WAIT_S_MAX
from ..wire.codec import FRAME_BYTES_MAX
from .connection import Connection
from .fleet import Fleet
from .publisher import Publisher

logger = logging.getLogger(__name__)

FRAMES_MAX = 4


class Wires:
    """Carries the messages of a publisher's connections, once it is open."""

    def __init__(self, fleet: Fleet, addresses: Iterable[Address]) -> None:
        self._fleet = fleet
        self._version = -1
        """Of the fleet, as the pairs are."""
        self._addresses = {address.url: address for address in addresses}
        self._dealers: dict[str, Dealer] = {}
        """By address."""
        self._pairs: list[tuple[Connection, Dealer]] = []
        self._reader: stdlib_socket.socket | None = None
        self._waker: stdlib_socket.socket | None = None
        self._poll = select.poll()
        self._void: list[object] = []
        """In a child process: the parent's sockets, which are not to be touched."""

    @property
    def is_open(self) -> bool:
        """Whether there are sockets, or will be as soon as it is known where brokers are."""
        return self._reader is not None

    @property
    def are_connected(self) -> bool:
        """Whether any socket has a connection, which ends long before its silence is noticed."""
        self.wake()  # Asking a socket takes its notice of news from who waits for that.
        return any(dealer.is_connected for _, dealer in self._pairs)

    @property
    def have_broker(self) -> bool:
        """Whether a broker is there, as far as we know."""
        self.wake()
        return any(c.link.is_ready and dealer.is_connected for c, dealer in self._pairs)

    def open(self) -> None:
        """Connect. Raises `BrokerLost` where the process has no means for it."""
        with contextlib.ExitStack() as stack:
            dealers = {}
            for url, address in self._addresses.items():
                dealers[url] = _dealer(address)
                stack.callback(dealers[url].close)
            try:
                reader, self._waker = stdlib_socket.socketpair()
            except OSError as error:
                raise BrokerLost(f"cannot connect: {error.strerror}") from None
            stack.pop_all()
        for end in (reader, self._waker):
            end.setblocking(False)
        self._poll.register(reader, select.POLLIN)
        self._reader, self._dealers = reader, dealers
        for dealer in dealers.values():
            self._poll.register(dealer.fd, select.POLLIN)

    def know(self, addresses: Iterable[Address]) -> None:
        """Brokers may be named that are here."""
        self._addresses |= {address.url: address for address in addresses}

    def _follow(self) -> None:
        """Have a socket for each connection of the fleet, and no others."""
        self._version = self._fleet.version
        names = {connection.name for connection in self._fleet.connections}
        for url in self._dealers.keys() - names:
            dealer = self._dealers.pop(url)
            self._poll.unregister(dealer.fd)
            dealer.close()
        for url in names - self._dealers.keys():
            try:
                self._dealers[url] = _dealer(self._addresses[url])
            except ZQueueError as error:
                logger.error("the broker at %s is left out: %s", url, error)
            else:
                self._poll.register(self._dealers[url].fd, select.POLLIN)
        self._addresses = {url: self._addresses[url] for url in names}
        self._pairs = [
            (connection, self._dealers[connection.name])
            for connection in self._fleet.connections
            if connection.name in self._dealers
        ]
        self.wake()  # Whoever waits knows the old ones.

    def pump(self, publisher: Publisher) -> tuple[bool, bool]:
        """Send and receive what there is.

        Says whether anything was received (if not, the last use of each socket found nothing, as
        `net.waiting` wants it), and whether anything changed.
        """
        if self._version != self._fleet.version:
            self._follow()
        has_received = has_changed = False
        for connection, dealer in self._pairs:
            if connection.is_cut == dealer.is_connected:
                publisher.cut(connection, not connection.is_cut, monotonic())
                has_changed = True
        publisher.form_batches(monotonic())
        for connection, dealer in self._pairs:
            messages = connection.to_send()
            if messages:
                dealer.send(messages, afresh=connection.link.is_greeting)
            dealer.flush()
            frames = dealer.receive()
            if frames is None:
                continue
            has_received = True
            now = monotonic()
            while frames is not None:
                connection.receive(frames, now)
                frames = dealer.receive()
            has_changed |= publisher.handle(connection, now)
        return has_received, has_changed

    def wait(self, until: float) -> None:
        """Return when there is input, at a `wake`, or at an instant of the monotonic clock."""
        reader, left = self._reader, min(until - monotonic(), WAIT_S_MAX)
        ready = self._poll.poll(max(0, left * 1000 + 1))
        if reader is not None and any(fd == reader.fileno() for fd, _ in ready):
            reader.recv(4096)

    def wake(self) -> None:
        """Let `wait` return. Takes no lock: a finalizer may call it."""
        waker = self._waker
        if waker is not None:
            with contextlib.suppress(OSError):  # It is full of wake-ups already, or closed.
                waker.send(b"\0")

    def detach(self) -> contextlib.ExitStack:
        """There are no sockets any more; what is returned closes them, once nobody waits."""
        stack = contextlib.ExitStack()
        for end in (self._reader, self._waker):
            if end is not None:
                stack.callback(end.close)
        for dealer in self._dealers.values():
            stack.callback(dealer.close)
        self._reader, self._dealers, self._pairs = None, {}, []
        return stack

    def forked(self) -> None:
        """In a child process: these are the parent's."""
        self._void = [self._dealers, self._pairs, self._reader, self._waker]
        self._dealers, self._pairs, self._reader, self._waker = {}, [], None, None


def _dealer(address: Address) -> Dealer:
    return Dealer(address, frame_bytes_max=FRAME_BYTES_MAX, frames_max=FRAMES_MAX)
