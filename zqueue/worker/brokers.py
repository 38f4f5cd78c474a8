"""The brokers of a worker: a socket and a conversation each, as many as its list names now. What is
leased where is the business of `links`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from time import monotonic

from ..client.watcher import Watcher
from ..config import Address, BrokerList
from ..errors import ZQueueError
from ..net.dealer import Dealer
from ..net.waiting import Waiter
from ..wire.codec import FRAME_BYTES_MAX
from ..wire.link import State
from .leases import WorkerProtocol
from .links import Links

logger = logging.getLogger(__name__)

FRAMES_MAX = 66
"""A delivery has at most 64 batches."""

SILENCE_S = 2.0
SILENCE_AGAIN_S = 60.0
"""After so long without a broker the log says so, and then again and again."""


class Broker:
    """A worker's conversation with one broker, and the socket that it goes over."""

    def __init__(self, address: Address, protocol: WorkerProtocol) -> None:
        self.url = address.url
        self.protocol = protocol
        self.dealer = Dealer(address, frame_bytes_max=FRAME_BYTES_MAX, frames_max=FRAMES_MAX)
        self.silence_at = monotonic() + SILENCE_S
        """When the log says that nobody answers."""

    @property
    def is_here(self) -> bool:
        """Whether we have not taken leave of it."""
        return self.protocol.link.state is not State.LEFT

    def send(self) -> int:
        """Send what should go. Returns how many messages that was."""
        self.dealer.flush()
        messages = self.protocol.to_send()
        if messages:
            self.dealer.send(messages, afresh=self.protocol.link.is_greeting)
        return len(messages)

    def warn_of_silence(self, now: float) -> None:
        """Say that it does not answer, now and then."""
        if now < self.silence_at:
            return
        if self.protocol.link.twin is None:
            logger.warning("no broker answers at %s; waiting for it", self.url)
        else:
            logger.info("at %s is a broker that another address has, too", self.url)
        self.silence_at = now + SILENCE_AGAIN_S


class Brokers:
    """All of them. Raises `BrokerLost` where the process has no means to connect."""

    def __init__(
        self, brokers: BrokerList, make: Callable[[], WorkerProtocol], credit: int,
        wake: Callable[[], object],
    ) -> None:  # fmt: skip
        self._all = [Broker(address, make()) for address in brokers.addresses]
        self._make = make
        self._wake = wake
        self._named: list[Address] | None = None
        """What the watcher told last, if it is not followed yet."""
        self.links = Links([broker.protocol for broker in self._all], credit)
        self.watcher = Watcher(brokers, self._are_named, logger)
        self.waiter: Waiter | None = None

    def __repr__(self) -> str:
        return f"<Brokers {[broker.url for broker in self._all]}>"

    def __iter__(self) -> Iterator[Broker]:
        return iter(self._all)

    def wait_with(self, waiter: Waiter) -> None:
        """Let a waiter wait for what they say, whoever they are; and begin to ask who that is."""
        self.waiter = waiter
        for broker in self._all:
            waiter.add(broker.dealer.socket)
        self.watcher.start()

    def follow(self, now: float) -> list[Broker]:
        """Join those that are named, and leave the others as soon as nothing of theirs is leased.
        Returns those that were left."""
        if self._named is None and not self.links.leaving:
            return []
        gone = set(self.links.tick(now))
        left = [broker for broker in self._all if broker.protocol in gone]
        for broker in left:
            self._all.remove(broker)
            self._remove(broker)
        if self._named is not None and self._join(self._named):
            self._named = None
        return left

    def close(self) -> None:
        """Disconnect from all."""
        self.watcher.stop()
        for broker in self._all:
            broker.dealer.close()

    def _are_named(self, addresses: list[Address]) -> None:
        self._named = addresses
        self._wake()

    def _join(self, named: list[Address]) -> bool:
        """Says whether all is done: of a broker to which we say goodbye, that is first to end."""
        there = {broker.url: broker for broker in self._all}
        is_done = True
        for broker in self._all:
            self.links.leave(broker.protocol, broker.url not in {each.url for each in named})
        for address in named:
            if address.url not in there:
                self._connect(address)
            elif there[address.url].protocol.link.state in (State.LEAVING, State.LEFT):
                self.links.leave(there[address.url].protocol)
                is_done = False
        return is_done

    def _connect(self, address: Address) -> None:
        try:
            broker = Broker(address, self._make())
        except ZQueueError as error:
            logger.error("the broker at %s is left out: %s", address.url, error)
            return
        self._all.append(broker)
        self.links.join(broker.protocol)
        if self.waiter is not None:
            self.waiter.add(broker.dealer.socket)

    def _remove(self, broker: Broker) -> None:
        if self.waiter is not None:
            self.waiter.remove(broker.dealer.socket)
        broker.dealer.close()
        logger.info("left the broker at %s, which is named no more", broker.url)
