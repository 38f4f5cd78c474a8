"""Outboxes: what peers are sent, in order, while their pipes have no room for it.

A peer that is too far behind is given up, and what waits for it is handed back: its own outbox is
bounded, and so are all of them together, where the fullest goes first. They count against the bytes
that the broker may hold. What is handed back tells whether the peer is gone. One that was only
behind is there still, and does not know what it will never be sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from ..core.ready import Budget

OUTBOX_BYTES_MAX = 64 << 20
"""What may wait for one peer whose pipe is full, bytes."""

SHARE = 4
"""What waits for all peers together is at most this part of what the broker may hold."""

LEAST_BYTES = 1 << 20
"""But that much may wait, however little it may hold. A producer whose answers have no room is
given up, greets anew, and sends all again that is not answered: for ever, if they never have."""


class Unsent(NamedTuple):
    """A message that is not sent any more."""

    peer: bytes
    frames: list[bytes]
    is_gone: bool
    """The peer is not there; otherwise it was too far behind."""


class Outboxes:
    """Sends to peers now, or when there is room.

    ``transmit`` sends a message, envelope included, and says False while there is no room for it;
    ``is_gone`` says whether what it raised means that the peer is not there.
    """

    def __init__(
        self,
        transmit: Callable[[list[bytes]], bool],
        is_gone: Callable[[Exception], bool],
        budget: Budget,
        *,
        least_bytes: int = LEAST_BYTES,
    ) -> None:
        self._transmit = transmit
        self._is_gone = is_gone
        self._budget = budget
        self._bytes_max = max(budget.bytes_max // SHARE, least_bytes)
        self._waiting: dict[bytes, deque[list[bytes]]] = {}
        self._bytes: dict[bytes, int] = {}
        self._lost: list[Unsent] = []

    def __bool__(self) -> bool:
        return bool(self._waiting or self._lost)

    def __repr__(self) -> str:
        return f"<Outboxes of {len(self._waiting)} peers, {self._budget.unsent} bytes>"

    def send(self, peer: bytes, frames: list[bytes]) -> bool:
        """Send, now or when there is room. False: the peer is gone."""
        waiting = self._waiting.get(peer)
        if waiting is None:
            try:
                if self._transmit([peer, *frames]):
                    return True
            except Exception as error:
                if not self._is_gone(error):
                    raise
                return False
            waiting = self._waiting[peer] = deque()
            self._bytes[peer] = 0
        waiting.append(frames)
        self._count(peer, sum(map(len, frames)))
        if self._bytes[peer] > OUTBOX_BYTES_MAX:
            self._give_up(peer, is_gone=False)
        while self._budget.unsent > self._bytes_max:
            self._give_up(max(self._bytes, key=self._bytes.__getitem__), is_gone=False)
        return True

    def retry(self) -> list[Unsent]:
        """Try what waits. Returns the messages whose peers are gone, or were too far behind."""
        for peer in list(self._waiting):
            waiting = self._waiting[peer]
            try:
                while waiting and self._transmit([peer, *waiting[0]]):
                    self._count(peer, -sum(map(len, waiting.popleft())))
            except Exception as error:
                if not self._is_gone(error):
                    raise
                self._give_up(peer, is_gone=True)
            else:
                if not waiting:
                    self._forget(peer)
        lost, self._lost = self._lost, []
        return lost

    def _give_up(self, peer: bytes, *, is_gone: bool) -> None:
        self._lost += [Unsent(peer, frames, is_gone) for frames in self._waiting[peer]]
        self._forget(peer)

    def _forget(self, peer: bytes) -> None:
        self._count(peer, -self._bytes[peer])
        del self._waiting[peer], self._bytes[peer]

    def _count(self, peer: bytes, nbytes: int) -> None:
        self._bytes[peer] += nbytes
        self._budget.unsent += nbytes
        self._budget.bytes += nbytes
