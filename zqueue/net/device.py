"""The device: the plain lane's two sides, in front of whatever takes and gives batches.

Ingress is a PULL socket that is read only while there is room, so a full queue stops its
pushers by ZeroMQ's own back-pressure. Egress is a PUSH socket that is offered one message at a
time. What was read or taken and could not be passed on is held here, never dropped.
"""

from __future__ import annotations

from collections.abc import Callable

import zmq

from ..auth.files import KeyPair
from ..config import Address
from .channel import Channel
from .sockets import bind, make_socket

FRAMES = 2
"""``[queue, batch]``"""

TURN_MESSAGES = 100
"""Messages moved in one turn, so that neither lane starves the other."""


class Ingress:
    """Reads the plain lane into ``take``, which says False while there is no room."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: Address,
        take: Callable[[list[bytes]], bool],
        *,
        frame_bytes_max: int,
        pair: KeyPair | None = None,
        domain: str = "",
    ) -> None:
        socket = make_socket(
            context, zmq.PULL, address, frame_bytes_max=frame_bytes_max, pair=pair, domain=domain
        )
        self.channel = Channel(socket, FRAMES, asks_user=pair is not None)
        self.url = bind(socket, address)
        self._take = take
        self._held: list[bytes] | None = None

    def pump(self, *, read: bool = True) -> int:
        """Move what can be moved; only what was read before, if no more is to be read.

        Returns how many messages were moved.
        """
        for moved in range(TURN_MESSAGES):
            frames = self._held or (self.channel.receive() if read else None)
            if frames is None:
                return moved
            if not self._take(frames):
                self._held = frames
                return moved
            self._held = None
        return TURN_MESSAGES


class Egress:
    """Offers what ``give`` returns to pullers; ``give`` says None when there is nothing."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: Address,
        give: Callable[[], list[bytes] | None],
        *,
        frame_bytes_max: int,
        pair: KeyPair | None = None,
        domain: str = "",
    ) -> None:
        socket = make_socket(
            context, zmq.PUSH, address, frame_bytes_max=frame_bytes_max, pair=pair, domain=domain
        )
        self.channel = Channel(socket, FRAMES)
        self.url = bind(socket, address)
        self._give = give
        self._held: list[bytes] | None = None

    @property
    def is_held(self) -> bool:
        """Whether a batch that was taken waits for a puller."""
        return self._held is not None

    def pump(self) -> int:
        """Move what can be moved. Returns how many messages that was."""
        for moved in range(TURN_MESSAGES):
            frames = self._held or self._give()
            if frames is None:
                return moved
            if not self.channel.send(frames):
                self._held = frames
                return moved
            self._held = None
        return TURN_MESSAGES
