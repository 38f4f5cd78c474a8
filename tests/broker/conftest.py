"""A broker's machine with somebody to talk to it, message by message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from zqueue.broker.machine import BrokerProtocol
from zqueue.config import Limits
from zqueue.wire.codec import pack
from zqueue.wire.headers import decode, encode, unpack_map
from zqueue.wire.messages import (
    REPLY,
    Ask,
    Confirm,
    Control,
    Credit,
    Deliver,
    Hello,
    Message,
    Publish,
    Settle,
    Tell,
)

Heard = tuple[bytes, Any, list[bytes]]


class Talk:
    """Says messages to a real `BrokerProtocol` under routing ids, and keeps what it answers."""

    def __init__(
        self,
        egress: frozenset[str] = frozenset(),
        *,
        id: bytes = b"broker-1",
        chance: Callable[[], float] = lambda: 1.0,
        **limits: Any,
    ) -> None:
        self.now = 1000.0
        self.broker = BrokerProtocol(
            id, Limits(**limits), first_lease=500, egress=egress, chance=chance
        )

    def say(self, peer: bytes, message: Message, *frames: bytes) -> list[Any]:
        """Say something. Returns what that peer hears by then, without frames."""
        self.broker.receive(peer, "", [encode(message), *frames], self.now)
        return [message for to, message, _ in self.hear() if to == peer]

    def info(self) -> dict[str, Any]:
        """What the broker tells when it is asked for ``info``."""
        self.broker.receive(b"asker", "", [encode(Ask("info"))], self.now)
        ((_, message, (frame,)),) = self.hear()
        assert message == Tell()
        return unpack_map(frame, nbytes_max=1 << 24)

    def hear(self) -> list[Heard]:
        """All that the broker sends now: peer, message, frames."""
        heard: list[Heard] = []
        while messages := self.broker.to_send():
            heard += [(peer, decode(frames[0]), frames[1:]) for peer, frames in messages]
        return heard

    def hello(self, role: str, peer: bytes, id: bytes | None = None, **about: Any) -> None:
        """Somebody joins; the Welcome is heard already."""
        self.broker.receive(peer, "", [encode(Hello(role, id or peer)), pack(about)], self.now)

    def producer(self, peer: bytes = b"p", id: bytes | None = None) -> bytes:
        """A producer joins."""
        self.hello("producer", peer, id)
        self.hear()
        return peer

    def worker(
        self, peer: bytes = b"w", queues: str = "q", credit: int = 0, id: bytes | None = None,
        **about: Any,
    ) -> bytes:  # fmt: skip
        """A worker joins; with credit, what it is delivered can be heard."""
        self.hello("worker", peer, id, queues=list(queues), **about)
        self.hear()
        if credit:
            self.broker.receive(peer, "", [encode(Credit(credit))], self.now)
        return peer

    def publish(
        self, peer: bytes, sequence: int, bodies: list[Any], queue: str = "q", *,
        reply: bool = False, **options: Any,
    ) -> None:  # fmt: skip
        """A batch comes in; nothing is heard yet."""
        flags = REPLY if reply else 0
        frames = [encode(Publish(sequence, queue, "t", flags)), pack(bodies)]
        if options:
            frames.append(pack(options))
        self.broker.receive(peer, "", frames, self.now)

    def settle(
        self, peer: bytes, lease: int, runs: list[list[int]], *frames: bytes, credit: int = 10
    ) -> None:
        """Tasks are over; nothing is heard yet."""
        self.broker.receive(peer, "", [encode(Settle(lease, credit, runs)), *frames], self.now)

    def control(self, action: str, queue: str = "q", peer: bytes = b"o") -> None:
        """Somebody does something to a queue; nothing is heard yet."""
        self.broker.receive(peer, "", [encode(Control(action, queue))], self.now)

    def ready(self, queue: str = "q") -> int:
        """Ready tasks of a queue."""
        return self.broker.book.queues[queue].ready.ready_tasks

    def leased(self, queue: str = "q") -> int:
        """Leased tasks of a queue."""
        return self.broker.book.queues[queue].ready.leased_tasks


def deliveries(heard: list[Heard]) -> list[tuple[bytes, Deliver, list[bytes]]]:
    """Only what goes to workers."""
    return [item for item in heard if isinstance(item[1], Deliver)]


def confirmed(heard: list[Heard], peer: bytes = b"p") -> list[int]:
    """The numbers that a producer hears confirmed."""
    numbers: list[int] = []
    for to, message, _ in heard:
        if to == peer and isinstance(message, Confirm):
            for first, last in zip(message.ranges[::2], message.ranges[1::2], strict=True):
                numbers += range(first, last + 1)
    return numbers


@pytest.fixture
def talk() -> Callable[..., Talk]:
    """Makes a `Talk`; arguments are the broker's limits."""
    return Talk


@pytest.fixture(name="deliveries")
def deliveries_() -> Any:
    """The function `deliveries`."""
    return deliveries


@pytest.fixture(name="confirmed")
def confirmed_() -> Any:
    """The function `confirmed`."""
    return confirmed
