"""The outlet: where tasks leave for the brokers. While none is there, it refuses at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..client.confirmation import Confirmation
from ..errors import BrokerLost
from ..producer import Producer

BROKER_S = 1.0
"""How long what is posted waits for a broker that is yet to be found, or was lost, seconds."""


class Outlet:
    """A producer, as a server needs it: whoever can be told so now does not wait."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer

    def __repr__(self) -> str:
        return f"<Outlet of {self._producer!r}>"

    def check(self) -> None:
        """Raises `BrokerLost` if it is known that no broker is there."""
        if self._producer.is_alone:
            raise BrokerLost("no broker answers: nothing of this was taken")

    def publish(
        self, queue: str, bodies: Iterable[Any], *, task: str = "", results: bool = False
    ) -> Confirmation:
        """`Producer.publish`; raises `BrokerLost` also if it is known that no broker is there."""
        self.check()
        return self._producer.publish(queue, bodies, task=task, results=results)

    def publish_packed(
        self, queue: str, frame: bytes, tasks: int, *, task: str, results: bool
    ) -> Confirmation:
        """The same for bodies that are packed."""
        self.check()
        return self._producer.publish_packed(queue, frame, tasks, task=task, results=results)
