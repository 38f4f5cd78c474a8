"""The plain lane of a broker: its sockets, between any ZeroMQ peer and the machine."""

from __future__ import annotations

import functools
import logging
from time import monotonic

import zmq

from ..auth.files import KeyPair
from ..config import Address, BrokerConfig
from ..net.channel import Channel
from ..net.device import Egress, Ingress
from ..wire.codec import FRAME_BYTES_MAX
from .door import EGRESS, INGEST
from .intake import Ingest
from .machine import BrokerProtocol

logger = logging.getLogger(__name__)


class PlainLane:
    """Ingress and egresses, those that the configuration asks for."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], config: BrokerConfig,
        protocol: BrokerProtocol, pair: KeyPair | None = None,
    ) -> None:  # fmt: skip
        self._protocol = protocol
        self._ingress: Ingress | None = None
        self._egresses: list[Egress] = []
        if config.ingest is not None:
            address = Address.parse(config.ingest)
            self._ingress = Ingress(
                context, address, self._take, frame_bytes_max=FRAME_BYTES_MAX, pair=pair,
                domain=INGEST,
            )  # fmt: skip
            logger.info("plain lane in at %s", self._ingress.url)
        for name, url in config.egress.items():
            give = functools.partial(self._give, name)
            egress = Egress(
                context, Address.parse(url), give, frame_bytes_max=FRAME_BYTES_MAX, pair=pair,
                domain=EGRESS + name,
            )  # fmt: skip
            self._egresses.append(egress)
            logger.info("plain lane out of queue %r at %s", name, egress.url)

    def __bool__(self) -> bool:
        """Whether there is any."""
        return self._ingress is not None or bool(self._egresses)

    def __repr__(self) -> str:
        return f"<PlainLane of {len(self.channels())} sockets>"

    def channels(self) -> list[Channel]:
        """All its sockets."""
        channels = [egress.channel for egress in self._egresses]
        return channels if self._ingress is None else [*channels, self._ingress.channel]

    def move(self) -> int:
        """Move what can be moved. Returns how many messages that was."""
        moved = 0
        if self._ingress is not None:
            moved += self._ingress.pump(read=not self._protocol.intake.draining)
        return moved + sum(egress.pump() for egress in self._egresses)

    def held(self) -> int:
        """Batches that were taken from their queues and wait for a puller."""
        return sum(egress.is_held for egress in self._egresses)

    def _give(self, name: str) -> list[bytes] | None:
        return self._protocol.dispatch.take_egress(name, monotonic())

    def _take(self, frames: list[bytes]) -> bool:
        assert self._ingress is not None
        user = self._ingress.channel.user
        return self._protocol.ingest(frames, monotonic(), user) is not Ingest.FULL
